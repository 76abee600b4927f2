"""All tests of tokengrpc. README.md explains the harness."""
