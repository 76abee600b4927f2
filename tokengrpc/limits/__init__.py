"""Budgets: how much a caller may still use."""
