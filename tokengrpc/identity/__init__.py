"""Authenticators: who calls."""
