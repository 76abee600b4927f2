"""Measures what a relayed token costs, beside the textbook way of relaying it."""
