"""Tests of tokengrpc.engines.openai.chunks.decoder."""
