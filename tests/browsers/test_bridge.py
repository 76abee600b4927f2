"""A bridge without a browser: its paths, events and refusals."""

from __future__ import annotations

import json
import subprocess
from http.client import HTTPConnection

import pytest

from tests.browsers.conftest import bridging
from tests.support.commands import serving
from tests.support.toolchains import BUILD_TIMEOUT, for_running

# The first test of each bridge builds it.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT + 120)


def call(bridge, method: str, path: str, body: str | None = None, **headers: str):
    connection = HTTPConnection("127.0.0.1", bridge.port, timeout=60)
    connection.request(method, path, body, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response, text


def begin(bridge, **body) -> str:
    response, text = call(bridge, "POST", "/generations", json.dumps({"prompt": "What is a token?", **body}))
    assert response.status == 201, text
    return json.loads(text)["cursor"]


def events(bridge, cursor: str, **headers: str) -> list[dict]:
    """Reads a stream to its end."""
    response, text = call(bridge, "GET", f"/stream?cursor={cursor}", **headers)
    assert response.status == 200, text
    assert response.getheader("Content-Type").startswith("text/event-stream")
    blocks = [[line.split(": ", 1) for line in block.splitlines()] for block in text.strip().split("\n\n")]
    found = [{name: value for name, value in block if name} for block in blocks]
    assert found[0] == {"retry": "500"}
    return [event | {"data": json.loads(event["data"])} for event in found[1:] if event]


def test_a_stream_has_each_token_and_the_end(bridge):
    """The texts are the engine's, the counts are the usage's, and the ids are cursors that rise."""
    cursor = begin(bridge, max_tokens=12)
    *messages, end = events(bridge, cursor)
    assert "".join(event["data"]["text"] for event in messages) == bridge.engine_text(cursor)
    tokens = [token for event in messages for token in event["data"]["tokens"]]
    assert sum(token["count"] for token in tokens) == end["data"]["output_tokens"] == 12
    times = [token["at"] for token in tokens]
    assert times == sorted(times)
    assert (end["event"], end["data"]["finish_reason"]) == ("finished", "MAX_TOKENS")
    assert end["data"]["input_tokens"] > 0
    assert end["data"]["first_token_ms"] > 0
    sequences = [int(event["id"].split(".")[1]) for event in [*messages, end]]
    assert sequences == sorted(set(sequences))


def test_the_last_id_counts_instead_of_the_address(bridge):
    """A browser repeats the address of its first request, and sends the last id in a header."""
    cursor = begin(bridge, max_tokens=12)
    everything = events(bridge, cursor)
    for index, event in enumerate(everything):
        rest = events(bridge, cursor, **{"Last-Event-ID": event["id"]})
        text = "".join(event["data"].get("text", "") for event in rest)
        assert text == "".join(event["data"].get("text", "") for event in everything[index + 1 :])
        assert rest[-1] == everything[-1]


def test_a_failure_is_an_event_without_an_id(bridge):
    """So the page can stop, and a browser that reconnects anyway does not skip anything."""
    (event,) = events(bridge, "tg1.0...nobody-knows-it")
    assert event["event"] == "failed"
    assert event["data"]["reason"] == "GENERATION_NOT_FOUND"
    assert "id" not in event


def test_wrong_requests_are_refused(bridge):
    """400 with reason and message: an invalid cursor, also in the header, and a body without a prompt."""
    valid = "tg1.0...x"
    for method, path, body, headers in (
        ("GET", "/stream?cursor=nonsense", None, {}),
        ("GET", f"/stream?cursor={valid}", None, {"Last-Event-ID": "nonsense"}),
        ("POST", "/cut?cursor=nonsense", None, {}),
        ("POST", "/generations", "{}", {}),
        ("POST", "/generations", '{"prompt": ""}', {}),
        ("POST", "/generations", '{"prompt": "a", "max_tokens": 0}', {}),
        ("POST", "/generations", '{"prompt": "a", "max_tokens": 3000000000}', {}),
        ("POST", "/generations", "no JSON", {}),
    ):
        response, text = call(bridge, method, path, body, **headers)
        assert response.status == 400, (path, text)
        assert all(json.loads(text)[name] for name in ("reason", "message"))


def test_a_failed_start_is_an_answer(command):
    """502 with the reason, here of an engine that refuses every request."""
    with serving("--faults", '{"status": 500}') as server, bridging(command, server) as bridge:
        response, text = call(bridge, "POST", "/generations", '{"prompt": "a"}')
    assert (response.status, json.loads(text)["reason"]) == (502, "ENGINE_UNAVAILABLE")


@pytest.mark.parametrize("port", ["taken", "70000", "abc"])
def test_a_wrong_port_is_one_line(command, bridge, port):
    """Which says what to set: a port that is in use, too large or no number."""
    environ = for_running(PORT=str(bridge.port) if port == "taken" else port)
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(": set PORT to a free port")


def test_the_files_of_the_page_are_served(bridge):
    """With their types, which modules need. Nothing outside the folder is served."""
    for path, kind in (
        ("/", "text/html"),
        ("/page.js", "javascript"),
        ("/plot.js", "javascript"),
        ("/page.css", "text/css"),
    ):
        response, _ = call(bridge, "GET", path)
        assert response.status == 200
        assert kind in response.getheader("Content-Type")
    for path in ("/../README.md", "/%2e%2e/README.md", "/nothing.js"):
        assert call(bridge, "GET", path)[0].status == 404
