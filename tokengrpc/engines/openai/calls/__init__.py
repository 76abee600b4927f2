"""Assembly of tool calls that arrive in pieces."""
