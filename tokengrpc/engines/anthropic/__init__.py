"""The engine for servers that implement Anthropic's Messages API."""
