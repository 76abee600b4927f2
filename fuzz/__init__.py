"""Coverage-guided fuzzing of all code that reads bytes of others: engines' streams and callers' requests."""
