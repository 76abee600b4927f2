"""Tests of tokengrpc.engines.upstream.answers."""
