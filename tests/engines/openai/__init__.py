"""Tests of tokengrpc.engines.openai."""
