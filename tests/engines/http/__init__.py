"""Tests of tokengrpc.engines.http."""
