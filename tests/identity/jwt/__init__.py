"""Callers with tokens of an issuer."""
