"""Coverage-guided fuzzing of all that reads bytes of others: engines' streams and callers' requests."""
