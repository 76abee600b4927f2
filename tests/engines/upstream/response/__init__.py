"""Tests of tokengrpc.engines.upstream.response."""
