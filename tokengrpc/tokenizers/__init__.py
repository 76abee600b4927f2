"""Tokenizers, which count the tokens of a model's input and output."""
