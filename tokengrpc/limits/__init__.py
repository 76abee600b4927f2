"""Token budgets of callers."""
