"""Kills a server at random while hundreds of connections use it, and audits its ledger."""
