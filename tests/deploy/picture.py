"""Writes the picture of a dashboard in the documentation: a busy server, as a real Prometheus saw it.

    python -m tests.deploy.picture overview 60 > docs/images/overview.svg

The number is that of the rounds of the load, each of which takes about two seconds.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.deploy.busy_server import BusyServer
from tests.support.commands import serving
from tests.support.paths import ROOT
from tests.support.prometheus import scraping


def main(dashboard: str, rounds: int) -> int:
    """Returns the exit code of the program that draws."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        busy = BusyServer(folder)
        with (
            serving("--config", str(busy.config)) as server,
            scraping(folder, busy.admin) as prometheus,
        ):
            begin = time.monotonic()
            asyncio.run(busy.load(server.target, rounds))
            seconds = f"{time.monotonic() - begin:.0f}"
            url = f"http://127.0.0.1:{prometheus.port}"
            command = [sys.executable, str(ROOT / "tools/render_dashboard.py"), dashboard, url, seconds]
            return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
