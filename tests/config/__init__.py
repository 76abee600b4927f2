"""Tests of tokengrpc.config."""
