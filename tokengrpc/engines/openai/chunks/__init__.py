"""Decoding of chunks, the events of a response, into deltas."""
