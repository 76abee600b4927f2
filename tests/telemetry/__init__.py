"""Logs: escaping, and the writer thread."""
