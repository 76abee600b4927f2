"""Tests of tokengrpc.cli.top."""
