"""The table of the dialects, and what is derived from a dialect's row."""
