"""Runs one attack on a server, as a process of its own, and prints its counts as JSON."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from attack.catalog import ATTACKS
from attack.raider import Raid


def main() -> None:
    """Runs the attack that the arguments name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attack", choices=ATTACKS)
    parser.add_argument("target", help="HOST:PORT")
    parser.add_argument("seconds", type=float)
    arguments = parser.parse_args()
    raid = Raid(arguments.target, arguments.seconds)
    try:
        ATTACKS[arguments.attack].run(raid)
    finally:
        raid.close()
    print(json.dumps(asdict(raid.counts)))


if __name__ == "__main__":
    main()
