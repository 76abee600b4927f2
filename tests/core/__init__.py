"""Tests of tokengrpc.core."""
