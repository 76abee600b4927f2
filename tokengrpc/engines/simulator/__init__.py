"""Fault injection: wraps any engine and corrupts its output, delays it or breaks it off as planned."""
