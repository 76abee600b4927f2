"""Compares answers with their requests: cuts stop sequences, checks schemas, logprobs and token ids."""
