"""Encoding of a request into the body that a dialect's server accepts."""
