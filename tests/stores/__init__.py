"""Tests of stores beyond the contract of their ports."""
