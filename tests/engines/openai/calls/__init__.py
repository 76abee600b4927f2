"""Tests of tokengrpc.engines.openai.calls."""
