"""Tests of tokengrpc.client."""
