"""Programs that write tiny models, each for the Python of its engine."""
