"""Tests of `tokengrpc/limits`."""
