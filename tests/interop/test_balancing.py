"""Clients of other languages balance by the servers' load reports, without a proxy."""

from __future__ import annotations

import json
import re
from collections import deque
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.support.commands import running, serving
from tests.support.paths import ROOT
from tests.support.toolchains import GO, JAVA, build, require

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

SECONDS: Final = 10
CALLERS: Final = 16
WINDOW: Final = 100
"""Number of calls of which a share is computed."""
SHARE: Final = 0.7
EVEN: Final = 0.5 + CALLERS / 2 / WINDOW
"""Largest share of a server that gets every second call: calls that have not begun yet do not count."""

# Tokens per second. Utilization is counted by generations alone, whatever else runs on the machine.
PACES: Final = {"fast": "400", "slow": "20"}
LIMITS: Final = {
    "TOKENGRPC_LIMITS_MAX_GENERATIONS": "64",
    "TOKENGRPC_LIMITS_MAX_LOOP_LAG": "0",
    "TOKENGRPC_LIMITS_MAX_CORE_SHARE": "0",
    "TOKENGRPC_LIMITS_MAX_CORE_WAIT": "0",
    "TOKENGRPC_LIMITS_MAX_START_WAIT": "0",
}


def policy(**changes: Any) -> str:
    """Returns the service config of docs/load-balancing.md, with changes of its policy."""
    page = (ROOT / "docs/load-balancing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    config = json.loads(block)
    config["loadBalancingConfig"][0]["weighted_round_robin"].update(changes)
    return json.dumps(config)


@contextmanager
def two_servers(*arguments: str) -> Iterator[dict[str, str]]:
    """Starts a fast and a slow server. Yields their addresses by name."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(serving("--pace", pace, *arguments, **LIMITS)).target
            for name, pace in PACES.items()
        }


def lines(
    program: tuple[str | Path, ...], config: str, servers: dict[str, str]
) -> Generator[tuple[str, str]]:
    """Runs a program, and yields its lines: a word, and what follows it."""
    arguments = (config, str(SECONDS), str(CALLERS), *servers.values())
    with running(*arguments, prefix=tuple(map(str, program)), stderr=None) as process:
        assert process.stdout is not None
        for line in process.stdout:
            word, _, rest = line.decode().strip().partition(" ")
            yield word, rest


def shares(program: tuple[str | Path, ...], config: str, servers: dict[str, str]) -> Generator[float]:
    """Yields the fast server's share of the last calls, after each call."""
    last: deque[bool] = deque(maxlen=WINDOW)
    for word, rest in lines(program, config, servers):
        if word == "begun":
            last.append(rest == servers["fast"])
            if len(last) == WINDOW:
                yield sum(last) / WINDOW


@pytest.fixture(scope="module")
def go() -> tuple[Path, ...]:
    """The program in Go."""
    require(GO)
    folder = ROOT / "tests/interop/balancing/go"
    build(("go", "build", "-o", "target/balancing", "."), folder=folder)
    return (folder / "target/balancing",)


@pytest.fixture(scope="module")
def java() -> tuple[str | Path, ...]:
    """The program in Java."""
    require(JAVA)
    module = "../../tests/interop/balancing/java"
    build(
        ("mvn", "-q", "-B", "-Pbalancing", "-DskipTests", "-pl", module, "-am", "package"),
        folder=ROOT / "clients/java",
    )
    jar = ROOT / "tests/interop/balancing/java/target/balancing.jar"
    return ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-jar", jar)


def test_go_moves_its_calls_to_the_faster_server(go: tuple[Path, ...]) -> None:
    """Within ten seconds, by reports on a stream of their own. Without reports, half of the calls each."""
    with two_servers() as servers, closing(shares(go, policy(), servers)) as even:
        assert EVEN < SHARE
        assert [share for share in islice(even, CALLERS) if share > EVEN] == []
    with two_servers("--load-reports", "true") as servers:
        assert any(share >= SHARE for share in shares(go, policy(), servers))


def test_go_balances_by_the_reports_in_trailers(go: tuple[Path, ...]) -> None:
    """Short calls need no stream of reports."""
    with two_servers("--load-reports", "true") as servers:
        config = policy(enableOobLoadReport=False)
        assert any(share >= SHARE for share in shares(go, config, servers))
        with closing(lines(go, config, servers)) as told:
            report = json.loads(next(rest for word, rest in told if word == "report"))
    assert report["rpsFractional"] > 0
    assert report["applicationUtilization"] > 0
    assert report["namedMetrics"].keys() == {
        "num_requests_running",
        "num_requests_waiting",
        "tokens_per_second",
    }


def test_java_moves_its_calls_to_the_faster_server(java: tuple[str | Path, ...]) -> None:
    """Its policy is part of grpc-xds, but needs no control plane."""
    with two_servers("--load-reports", "true") as servers:
        assert any(share >= SHARE for share in shares(java, policy(), servers))
