"""Tests of `tokengrpc.testing`, which use it as a stranger would."""
