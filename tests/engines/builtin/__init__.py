"""Tests of tokengrpc.engines.builtin."""
