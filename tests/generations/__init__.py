"""Tests of tokengrpc.generations."""
