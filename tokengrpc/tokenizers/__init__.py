"""Tokenizers: count a model's tokens."""
