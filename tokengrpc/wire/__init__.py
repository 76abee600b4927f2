"""Conversions between the domain and protobuf, and between errors and statuses: one table per mapping."""
