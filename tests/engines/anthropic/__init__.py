"""Tests of tokengrpc.engines.anthropic."""
