"""Tests of the ledger in a database."""
