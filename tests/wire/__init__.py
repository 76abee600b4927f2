"""Tests of tokengrpc.wire."""
