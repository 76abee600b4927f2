"""Tests of tokengrpc.engines, a package each."""
