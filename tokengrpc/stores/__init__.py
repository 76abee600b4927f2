"""Usage ledgers, event sinks and spills."""
