"""From the bytes of a response to deltas: events, payloads, finish reasons and counts."""
