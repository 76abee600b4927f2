"""Tests of tokengrpc.engines.openai.request.body."""
