"""Measures the cost of a relayed token, compared with the textbook way of relaying."""
