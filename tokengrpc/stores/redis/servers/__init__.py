"""Servers of a store: their addresses, connections, calls and scripts."""
