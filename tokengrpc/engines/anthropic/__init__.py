"""The engine for Anthropic's Messages API."""
