"""Tests of tokengrpc.engines.simulator."""
