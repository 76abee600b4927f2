"""Faults on demand: wraps any engine and spoils its output byte by byte."""
