"""`python -m tokengrpc` is the command line."""

from __future__ import annotations

from tokengrpc.cli import main

if __name__ == "__main__":
    main()
