"""Tests of tokengrpc.engines.replay."""
