"""Tests of tokengrpc.engines.upstream."""
