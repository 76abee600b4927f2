"""The engine for servers that implement the OpenAI API, and the dialects of these servers."""
