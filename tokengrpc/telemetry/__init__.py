"""Structured logs of the server. They never contain prompts, answers or secrets."""
