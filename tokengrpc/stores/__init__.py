"""Event logs and usage ledgers: in memory for one process."""
