"""`tokengrpc usage`: commands that read, export and maintain the usage ledger."""
