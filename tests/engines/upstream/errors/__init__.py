"""Tests of tokengrpc.engines.upstream.errors.mapping."""
