"""The usage ledger in a database: SQLite or PostgreSQL, by the same statements."""
