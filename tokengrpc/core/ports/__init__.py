"""The ports: protocols of what lies outside the core, such as engines, event sinks and ledgers."""
