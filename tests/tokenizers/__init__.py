"""Tests of tokengrpc.tokenizers."""
