"""h2spec against the server and against a bare grpc.aio server, in the same run."""

from __future__ import annotations

import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from bench.run import ROOT, Server

if TYPE_CHECKING:
    from collections.abc import Sequence

_H2SPEC = ROOT / ".tools" / "bin" / "h2spec"
_TIMEOUT_S = 600
_WAIT_S = "1"
"""How long h2spec waits for an answer that does not come, in seconds."""
_BARE = ("-m", "attack.bare_server")
_OURS = ("-m", "tokengrpc", "serve", "--listen", "127.0.0.1:0")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The cases that each server failed, of so many."""

    cases: int
    ours: frozenset[str]
    bare: frozenset[str]

    @property
    def worse(self) -> list[str]:
        """Cases that only our server failed."""
        return sorted(self.ours - self.bare)

    @property
    def summary(self) -> str:
        """One line with both counts."""
        return (
            f"h2spec: {len(self.ours)} of {self.cases} cases failed; a bare grpc.aio server: {len(self.bare)}"
        )


def compare(*sections: str) -> Comparison | None:
    """Runs h2spec on both servers. `sections`, such as `http2/6.5`, select some cases.

    Returns None if h2spec was not built.
    """
    if not _H2SPEC.exists():
        return None
    # At once, because most of the time h2spec waits.
    with ThreadPoolExecutor(2) as threads:
        running = [
            threads.submit(_failed, *each, sections) for each in (("tokengrpc", _OURS), ("bare", _BARE))
        ]
        (cases, ours), (_, bare) = (each.result() for each in running)
    return Comparison(cases=cases, ours=ours, bare=bare)


def _failed(name: str, command: Sequence[str], sections: Sequence[str]) -> tuple[int, frozenset[str]]:
    """Returns the number of cases, and the names of those that a server failed."""
    server = Server(name, list(command))
    try:
        host, _, port = server.address.rpartition(":")
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            subprocess.run(
                [str(_H2SPEC), "-h", host, "-p", port, "-o", _WAIT_S, "-j", str(report), *sections],
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
            cases = ET.parse(report).getroot().iter("testcase")
            named = [(f"{case.get('package')} {case.get('classname')}", case) for case in cases]
    finally:
        server.stop()
    failed = {
        name for name, case in named if case.find("failure") is not None or case.find("error") is not None
    }
    return len(named), frozenset(failed)
