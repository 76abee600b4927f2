"""Tests of event logs in Redis and Valkey, on real servers."""
