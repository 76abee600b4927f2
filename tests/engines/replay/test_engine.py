"""Recordings: written by `tokengrpc stream --record`, replayed by the replay engine."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.support.commands import PROGRAM, environment, serving
from tests.support.harness import collect, upstream
from tests.support.harness import serving as serving_in_process
from tests.support.scripted_engine import (
    Done,
    Drop,
    Finish,
    Reasoning,
    ScriptedEngine,
    Text,
    ToolCall,
    UsageChunk,
)
from tokengrpc.config import ConfigError, ModelSettings, engine_settings
from tokengrpc.core.ports.engine import Continuation
from tokengrpc.core.request import GenerationRequest
from tokengrpc.engines.replay.engine import create
from tokengrpc.engines.replay.recording import read_recording
from tokengrpc.engines.replay.settings import ReplaySettings
from tokengrpc.errors import UnsupportedFeature

if TYPE_CHECKING:
    from pathlib import Path

# Without it the server counts the reasoning, and counts it again when the recording is replayed.
REASONING = {"completion_tokens_details": {"reasoning_tokens": 2}}
HEADER = {"transcript": 1, "model": "m"}


def replaying(file: Path, **options: Any) -> ReplaySettings:
    return ReplaySettings(name="again", kind="replay", options={"file": str(file), "speed": 0, **options})


def served(file: Path) -> ModelSettings:
    return ModelSettings(name="again", engines=(replaying(file),))


def written(path: Path, *lines: dict[str, Any]) -> Path:
    file = path / "stream.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in (HEADER, *lines)))
    return file


def message(at: float, **fields: Any) -> dict[str, Any]:
    return {"at": at, "message": fields}


def token(text: str) -> dict[str, Any]:
    return {"count": 1, "text": text}


END = message(9.0, finished={"finish_reason": "FINISH_REASON_END", "engine_finish_reason": "stop"})


async def record(target: str, file: Path, *options: str) -> int:
    """Runs `tokengrpc stream --record` as a process and returns its exit code."""
    process = await asyncio.create_subprocess_exec(
        *(*PROGRAM, "stream", "Say it", "--target", target, "--record", str(file), *options),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
    )
    return await process.wait()


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ((Finish("tool_calls"), UsageChunk(7, 9, details=REASONING), Done()), grpc.StatusCode.OK),
        ((Drop(),), grpc.StatusCode.UNAVAILABLE),
    ],
    ids=["well", "lost"],
)
async def test_a_recording_is_replayed(tmp_path: Path, steps: tuple[Any, ...], code: grpc.StatusCode):
    """Text, reasoning, tool calls, usage and the end or failure are replayed. The prompt is not recorded."""
    file = tmp_path / "stream.jsonl"
    async with ScriptedEngine() as engine:
        engine.script(
            Reasoning("h", "m"),
            Text("Hel", "lo 🦜"),
            ToolCall(0, "c", "f", '{"a":'),
            ToolCall(0, None, None, "1}"),
            *steps,
        )
        async with serving_in_process(upstream(engine.base_url)) as server:
            first = await collect(server.stream(prompt="Say it"))
            assert (await record(server.target, file) == 0) is (code is grpc.StatusCode.OK)
    assert "Say it" not in file.read_text()
    async with serving_in_process(served(file)) as server:
        again = await collect(server.stream(prompt="whatever"))
    assert (first.code, again.code) == (code, code)
    assert again.text == first.text == "Hello 🦜"
    assert [t.reasoning_text for t in again.tokens] == [t.reasoning_text for t in first.tokens]
    arguments = [f.arguments_fragment for m in again.messages for f in m.tool_call_fragments]
    assert "".join(arguments) == '{"a":1}'
    assert again.finished is not None
    assert first.finished is not None
    assert again.finished.finish_reason == first.finished.finish_reason
    if code is grpc.StatusCode.OK:
        assert again.messages[-1].usage == first.messages[-1].usage
    else:
        assert again.info is not None
        assert first.info is not None
        assert again.info.reason == first.info.reason == "ENGINE_LOST"


def test_a_recording_of_the_command_line(tmp_path: Path):
    """Times increase, the prompt is recorded on request only, and a file is never overwritten."""
    file = tmp_path / "stream.jsonl"
    with serving("--pace", "100") as server:
        options = ("--max-tokens", "5", "--record", str(file))
        assert server("stream", "Say it", *options, "--record-prompt").returncode == 0
        again = server("stream", "Say it", *options)
        alone = server("stream", "Say it", "--record-prompt")
    header, *lines = lines_of(file)
    assert (header["transcript"], header["prompt"]) == (1, "Say it")
    times = [line["at"] for line in lines]
    assert times == sorted(times)
    assert len(times) >= 6
    assert (again.returncode, alone.returncode) == (2, 2)
    assert "exists; name another file" in again.stderr
    assert "only with --record FILE" in alone.stderr


def test_a_call_that_failed_is_recorded(tmp_path: Path):
    """The recording of a call without events has its failure."""
    file = tmp_path / "stream.jsonl"
    with serving() as server:
        assert server("stream", "Say it", "--model", "nobody", "--record", str(file)).returncode == 1
    assert lines_of(file)[1]["failure"]["reason"] == "MODEL_NOT_FOUND"


class TestTiming:
    """The timing of a replay."""

    async def take(self, file: Path, speed: float) -> list[float]:
        """Returns the time of each batch, in seconds."""
        engine = create(replaying(file, speed=speed), None)
        await engine.start()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        return [loop.time() - begin async for _ in engine.generate(GenerationRequest(prompt="a"))]

    async def test_speed(self, tmp_path: Path):
        """Each step's time is divided by the speed. At speed 0 there is no delay."""
        steps = (
            message(0.1, started={}),
            message(0.2, tokens=[token("a")]),
            message(0.6, tokens=[token("b")]),
        )
        file = written(tmp_path, *steps, {**END, "at": 0.6})
        slow = await self.take(file, 1.0)
        fast = await self.take(file, 4.0)
        # A loop's timers may be a millisecond early.
        recorded = (0.1, 0.2, 0.6, 0.6)
        assert [late >= at * 0.95 for late, at in zip(slow, recorded, strict=True)] == [True] * 4
        assert [late >= at / 4 * 0.95 for late, at in zip(fast, recorded, strict=True)] == [True] * 4
        assert fast[-1] < slow[-1]
        assert (await self.take(file, 0))[-1] < fast[-1]


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (
            {"reason": "ENGINE_STALLED", "message": "silent", "metadata": {"clock": "inter_token"}},
            "ENGINE_STALLED",
        ),
        ({"reason": "CANCELLED"}, "ENGINE_ABORTED"),
        ({}, "ENGINE_ABORTED"),
    ],
)
async def test_failures(tmp_path: Path, failure: dict[str, Any], reason: str):
    """An engine's failure is replayed with its metadata. Any other failure becomes ENGINE_ABORTED."""
    file = written(
        tmp_path, message(0.0, started={}), message(0.1, tokens=[token("a")]), {"at": 0.2, "failure": failure}
    )
    async with serving_in_process(served(file)) as server:
        outcome = await collect(server.stream())
    assert outcome.text == "a"
    assert outcome.info is not None
    assert outcome.info.reason == reason
    assert failure.get("metadata", {}).items() <= outcome.info.metadata.items()


async def test_a_recording_without_an_end(tmp_path: Path):
    """A recording that is empty or has no end fails with ENGINE_TRUNCATED."""
    for lines in ([message(0.0, started={}), message(0.1, tokens=[token("a")])], []):
        file = written(tmp_path, *lines)
        async with serving_in_process(served(file)) as server:
            outcome = await collect(server.stream())
        assert outcome.info is not None
        assert outcome.info.reason == "ENGINE_TRUNCATED"


async def test_any_request(tmp_path: Path):
    """The recording answers any request except a continuation."""
    file = written(tmp_path, message(0.0, started={}), message(0.1, tokens=[token("a")]), END)
    async with serving_in_process(served(file)) as server:
        for fields in ({"prompt_token_ids": {"ids": [1]}}, {"output_constraint": {"regex": "a+"}}):
            assert (await collect(server.stream(**fields))).text == "a"
    engine = create(replaying(file), None)
    await engine.start()
    with pytest.raises(UnsupportedFeature):
        await anext(engine.generate(GenerationRequest(prompt="a"), Continuation(token_ids=None, text="b")))


@pytest.mark.parametrize(
    ("text", "message_part"),
    [
        ("", "line 1 is not the header"),
        ('{"transcript":2}', "version 2 is not supported"),
        ('{"transcript":1}\n{"at":"soon"}', "line 2"),
        ('{"transcript":1}\n\n{"at":0,"message":{"tokens":[{"count":"x"}]}}', "line 3"),
        ('{"transcript":1}\n{"at":0,"message":{"tokens":[{"raw_bytes":"%%%"}]}}', "line 2"),
        ('{"transcript":1}\n{"at":0,"message":{"finished":{"finish_reason":"FINISH_REASON_X"}}}', "line 2"),
        (
            '{"transcript":1}\n{"at":0,"message":{"finished":{"finish_reason":"FINISH_REASON_ERROR"}}}',
            "line 2",
        ),
        ('{"transcript":1}\n{"at":-1,"message":{}}', "line 2"),
        ('{"transcript":1}\n{"at":0,"message":{"tokens":[{"count":-1}]}}', "line 2"),
        ('{"transcript":1}\n{"at":0,"message":{"tokens":[{"id":2147483648}]}}', "line 2"),
        (
            '{"transcript":1}\n{"at":0,"message":{"tool_call_fragments":[{"call_index":-1}]}}',
            "line 2",
        ),
        ('{"transcript":1}\n{"at":0,"message":{"usage":{"output_token_count":-1}}}', "line 2"),
        ('{"transcript":1}\n{"at":0,"message":{"started":' + '{"a":' * 3000, "line 2"),
    ],
    ids=itertools.count(),
)
def test_invalid_recordings(text: str, message_part: str):
    """The error names the line."""
    with pytest.raises(ValueError, match=message_part):
        read_recording(text.encode())


async def test_files_that_cannot_be_read(tmp_path: Path):
    """The engine does not start, and the error says why in one line."""
    broken = tmp_path / "broken.jsonl"
    broken.write_text("hello")
    for file, what in (
        (tmp_path / "none.jsonl", "cannot be read: No such file"),
        (broken, "line 1 is not the header"),
    ):
        with pytest.raises(ConfigError, match=what):
            await create(replaying(file), None).start()
    with pytest.raises(ConfigError, match=r"options\.file: required: a recording's path"):
        create(engine_settings(name="again", kind="replay"), None)
