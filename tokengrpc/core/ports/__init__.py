"""The ports: what the core needs of engines, logs, ledgers and observers, as protocols."""
