"""The engine for servers that speak OpenAI's API, and the dialects of it."""
