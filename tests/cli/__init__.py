"""Tests of tokengrpc.cli."""
