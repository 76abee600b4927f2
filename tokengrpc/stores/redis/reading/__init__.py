"""Followed streams: one read serves all followers."""
