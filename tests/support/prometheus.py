"""Prometheus and promtool of the machine: real ones, on a free port."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import quote

import pytest

from tests.support.admin_pages import fetch
from tests.support.commands import running, until
from tests.support.ports import reserved_port
from tests.support.toolchains import REQUIRE_ALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_CONFIG = """
global: {{scrape_interval: {interval}, evaluation_interval: {interval}}}
rule_files: {rules}
scrape_configs:
  - job_name: tokengrpc
    static_configs: [{{targets: {targets}}}]
"""


def require(program: str) -> str:
    """Returns the path of a program of Prometheus. Without it, the test is skipped with the reason.

    Fails it if all toolchains are required.
    """
    path = shutil.which(program)
    if path is None:
        (pytest.fail if REQUIRE_ALL else pytest.skip)(
            f"{program} is not installed: apt-get install prometheus"
        )
    return path


def promtool(*arguments: str | Path, stdin: bytes = b"") -> str:
    """Runs promtool, which must succeed. Returns what it wrote."""
    command = [require("promtool"), *map(str, arguments)]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str) -> Any:
        """Returns the data of an answer of the API; None while it does not answer. Fails on an error."""
        try:
            status, text = fetch(self.port, f"/api/v1/{path}")
        except (URLError, ConnectionError):
            return None
        assert status in {200, 503}, f"{path}: {text}"
        return json.loads(text)["data"] if status == 200 else None

    def query(self, expression: str) -> list[Any]:
        """Returns the samples that an expression has now; none while Prometheus does not answer."""
        data = self.get(f"query?query={quote(expression)}")
        return list(data["result"]) if data else []


@contextmanager
def scraping(
    folder: Path, *admin_ports: int, rules: tuple[Path, ...] = (), interval: str = "1s"
) -> Iterator[Prometheus]:
    """Starts a Prometheus that scrapes these admin ports, and yields it once it is ready."""
    program, port = require("prometheus"), reserved_port()
    config = folder / "prometheus.yml"
    targets = json.dumps([f"127.0.0.1:{admin}" for admin in admin_ports])
    files = json.dumps([str(path) for path in rules])
    config.write_text(_CONFIG.format(interval=interval, rules=files, targets=targets))
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as errors, running(*options, prefix=(program,), stderr=errors):
        prometheus = Prometheus(port)
        until(lambda: prometheus.get("query?query=1"), f"Prometheus is ready, see {log}")
        yield prometheus
