"""`tokengrpc usage export`, `reprice` and `prune` against a real server, database and receiver."""

from __future__ import annotations

import csv
import io
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import serving, tokengrpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PRICES = '[[prices]]\nmodel = "builtin"\ninput = "1.5"\noutput = "{output}"\nversion = "{version}"\n'


def settings(directory: Path, output: str = "2.25", version: str = "v1") -> Path:
    file = directory / "settings.toml"
    file.write_text(f'data_dir = "{directory}"\n' + PRICES.format(output=output, version=version))
    return file


@pytest.fixture
def server(tmp_path: Path):
    with serving("--config", str(settings(tmp_path))) as started:
        for number in range(3):
            shown = started("stream", "hello", "--max-tokens", "10", "--id", f"g{number}")
            assert shown.returncode == 0, shown.stderr
            assert "cost 0.0000" in " ".join(shown.stderr.split()), shown.stderr
        yield started


class Receiver:
    """HTTP receiver that answers as planned, then 200, and keeps what it accepted and what it was sent."""

    def __init__(self, *plan: int) -> None:
        self.plan = list(plan)
        self.bodies: list[bytes] = []
        self.keys: list[str] = []
        self.types: list[str] = []
        self.authorizations: list[str | None] = []


@contextmanager
def receiving(*plan: int) -> Iterator[tuple[Receiver, str]]:
    """Serves a receiver; a planned 0 takes the body and cuts the connection without an answer."""
    receiver = Receiver(*plan)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            receiver.keys.append(self.headers["Idempotency-Key"])
            receiver.types.append(self.headers["Content-Type"])
            receiver.authorizations.append(self.headers["Authorization"])
            code = receiver.plan.pop(0) if receiver.plan else 200
            if code:
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        try:
            yield receiver, f"http://127.0.0.1:{served.server_port}/events"
        finally:
            served.shutdown()
            thread.join()


def entries(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_have_every_entry_in_order(server) -> None:
    """With costs: 1.5 millionths for a token of input, 2.25 for one of output, rounded half to even."""
    done = server("usage", "export")
    assert done.returncode == 0
    assert done.stderr == "exported up to sequence 6\n"
    found = entries(done.stdout)
    assert [int(entry["sequence"]) for entry in found] == [1, 2, 3, 4, 5, 6]
    record = found[1]["usage_record"]
    exact = 1.5 * record["usage"]["input_token_count"] + 2.25 * record["usage"]["output_token_count"]
    assert record["cost"] == {
        "amount_micros": str(round(exact)),
        "currency": "USD",
        "price_version": "v1",
    }
    rest = entries(server("usage", "export", "--after", "4").stdout)
    assert [int(entry["sequence"]) for entry in rest] == [5, 6]
    finished = json.loads(server("get", "g0", "--json").stdout)["finished"]
    assert finished["cost"] == record["cost"]


def test_csv_and_focus_are_tables(server) -> None:
    """CSV has a row for each entry, FOCUS one for each charge."""
    rows = list(csv.DictReader(io.StringIO(server("usage", "export", "--format", "csv").stdout)))
    assert [row["kind"] for row in rows] == ["BEGIN", "FINISH"] * 3
    charges = list(csv.DictReader(io.StringIO(server("usage", "export", "--format", "focus").stdout)))
    assert [row["x_Sequence"] for row in charges] == ["2", "4", "6"]
    assert {row["BilledCost"] for row in charges} == {f"0.{int(rows[1]['cost_micros']):06}"}
    assert {row["ChargeCategory"] for row in charges} == {"Usage"}


def test_a_receiver_that_fails_and_cuts_gets_everything(server, tmp_path) -> None:
    """A batch is posted again under the same key; the state file continues where the last export ended."""
    state = tmp_path / "state"
    with receiving(503, 0, 429) as (receiver, url):
        call = ("usage", "export", "--format", "cloudevents", "--to", url, "--state", str(state))
        done = server(*call, "--to-token-env", "RECEIVER", RECEIVER="secret")
        assert done.returncode == 0, done.stderr
        assert receiver.keys == ["tokengrpc-1-6"] * 4
        assert set(receiver.types) == {"application/cloudevents-batch+json"}
        assert set(receiver.authorizations) == {"Bearer secret"}
        events = json.loads(receiver.bodies[-1])
        assert [event["id"] for event in events] == ["2", "4", "6"]
        assert events[0]["specversion"] == "1.0"
        assert events[0]["subject"] == "default"
        assert events[0]["data"]["output_token_count"] == 10
        assert state.read_text() == "6\n"
        assert server(*call).returncode == 0
        assert len(receiver.bodies) == 4
        server("stream", "more", "--max-tokens", "1")
        assert server(*call).returncode == 0
        assert [event["id"] for event in json.loads(receiver.bodies[-1])] == ["8"]


def test_a_receiver_that_refuses_ends_the_export(server, tmp_path) -> None:
    """In one line, which says where to continue. The state stays as it was."""
    state = tmp_path / "state"
    with receiving(400) as (receiver, url):
        done = server("usage", "export", "--to", f"{url}?key=hidden", "--state", str(state))
    assert done.returncode == 1
    assert done.stderr == (
        f"error: {url} refused the entries 1 to 6: it answered 400; continue with --after 0\n"
    )
    assert len(receiver.bodies) == 1
    assert not state.exists()


def test_new_prices_are_applied_once(server, tmp_path) -> None:
    """While the server runs. Each cost that changes is an ADJUST with what it replaces."""
    config = str(settings(tmp_path, output="3.25", version="v2"))
    call = ("usage", "reprice", "--since", "2020-01-01", "--config", config)
    before = entries(server("usage", "export").stdout)[1]["usage_record"]["cost"]
    said = "the cost of 3 records: +30 millionths USD\n"
    assert tokengrpc(*call, "--dry-run").stdout == f"would change {said}"
    assert tokengrpc(*call).stdout == f"changed {said}"
    assert tokengrpc(*call).stdout == "changed the cost of 0 records\n"
    adjusts = entries(server("usage", "export", "--after", "6").stdout)
    assert [int(entry["sequence"]) for entry in adjusts] == [7, 8, 9]
    assert {entry["kind"] for entry in adjusts} == {"USAGE_ENTRY_KIND_ADJUST"}
    assert adjusts[0]["previous_cost"] == before
    assert adjusts[0]["usage_record"]["cost"]["price_version"] == "v2"
    corrections = list(
        csv.DictReader(io.StringIO(server("usage", "export", "--format", "focus", "--after", "6").stdout))
    )
    assert [(row["ChargeClass"], row["BilledCost"]) for row in corrections] == [
        ("Correction", "0.000010")
    ] * 3


def test_pruned_records_are_gone(server, tmp_path) -> None:
    """With their entries. Later entries continue the sequence."""
    config = ("--config", str(settings(tmp_path)))
    assert tokengrpc("usage", "prune", "--before", "2020-01-01", *config).stdout == "removed 0 records\n"
    assert tokengrpc("usage", "prune", "--tenant", "other", *config).stdout == "removed 0 records\n"
    call = ("usage", "prune", "--tenant", "default", *config)
    assert tokengrpc(*call, "--dry-run").stdout == "would remove 3 records\n"
    assert tokengrpc(*call).stdout == "removed 3 records\n"
    assert server("usage", "export").stdout == ""
    server("stream", "more", "--max-tokens", "1")
    assert [int(entry["sequence"]) for entry in entries(server("usage", "export").stdout)] == [7, 8]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (("prune",), "pass --before DATE, --tenant NAME or both"),
        (("reprice", "--since", "soon"), "must be a date such as 2026-01-31"),
        (("export", "--to", "ftp://x"), "must be http://HOST/PATH or https://HOST/PATH"),
        (("reprice", "--since", "2026-01-01"), "ledger: `memory` has no database"),
    ],
)
def test_wrong_calls_are_refused(call, message) -> None:
    """In one line."""
    done = tokengrpc("usage", *call)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
