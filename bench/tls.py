"""What TLS costs: CPU per token of a server with TLS and of one in plaintext, under the same load.

The servers alternate in front of a scripted engine. Takes about half a minute. Prints a table, and exits
with 1 if a stream differed from what the engine had sent.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import trustme
from rich.console import Console
from rich.table import Table

from bench import machine, report
from bench.pair import ROUNDS, figures, servers
from bench.run import SCENARIOS, Bench

PLAINTEXT, TLS = "plaintext", "TLS"


def certificate(folder: Path) -> tuple[Path, Path]:
    """Writes a certificate for 127.0.0.1 with its key, and that of its authority. Returns both files."""
    authority = trustme.CA()
    server, trusted = folder / "server.pem", folder / "ca.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(server))
    authority.cert_pem.write_to_path(str(trusted))
    return server, trusted


def main() -> int:
    """Runs the load on both servers, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=("bursts", "paced"), help="run only this scenario")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else ["bursts", "paced"]
    jobs = {name: SCENARIOS[name][""] for name in names}
    console = Console(width=None if sys.stdout.isatty() else 120)
    facts = machine.facts()
    with TemporaryDirectory() as folder, console.status("starting") as status:
        pair, trusted = certificate(Path(folder))
        with servers({PLAINTEXT: [], TLS: ["--tls-cert-file", str(pair)]}) as (engine, relays):
            bench = Bench(engine, relays, status.update)
            found = {
                name: figures(bench, {PLAINTEXT: job, TLS: job | {"ca_file": str(trusted)}})
                for name, job in jobs.items()
            }
    table = Table(title="CPU µs a token, server alone")
    for heading in ("", PLAINTEXT, TLS, "TLS / plaintext"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, by_server in found.items():
        plain, secure = (by_server[server]["cpu_us_per_token"] for server in (PLAINTEXT, TLS))
        table.add_row(name, f"{plain:.1f}", f"{secure:.1f}", f"{secure / plain:.2f}")
    console.print(table)
    console.print(f"{ROUNDS} rounds; load average {facts['loadavg'][0]} before", style="dim")
    return 1 if report.checks(found)["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
