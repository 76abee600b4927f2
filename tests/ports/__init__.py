"""Contract tests: one suite per port, which runs over every implementation."""
