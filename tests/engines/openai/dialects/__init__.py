"""Tests of tokengrpc.engines.openai.dialects.table."""
