"""Kills, pauses and cuts off servers that share an event store, and checks what their readers saw."""
