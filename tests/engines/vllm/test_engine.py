"""The vllm engine against a real gRPC server: what it sends, when it stops, how it connects."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from fuzz.dear_requests import unit, watching
from tests.support.engine_runs import answer, run, run_once
from tests.support.harness import collect, read_until, serving, upstream
from tests.support.model_files import model_files
from tests.support.script_steps import Pause
from tests.support.scripted_vllm import ScriptedVllm, id_of, ids_of
from tests.support.tls import make_certificate
from tests.support.vllm_steps import Accept, CutConnection, End, Fail, Forever, Ids, Raw, Say
from tokengrpc.config import ConfigError, engine_settings
from tokengrpc.core.model import Capability, FinishReason
from tokengrpc.core.request import GenerationRequest, Limits, Message, Role, Sampling, TextPart
from tokengrpc.engines.vllm.engine import VllmEngine, create
from tokengrpc.errors import (
    EngineLost,
    EngineProtocolError,
    EngineUnavailable,
    InvalidRequest,
    UnsupportedFeature,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ANSWER = (Say("Hello", " world"), End())
QUESTION = GenerationRequest(messages=(Message(role=Role.USER, parts=(TextPart(text="hello"),)),))


@pytest.fixture
async def vllm() -> AsyncIterator[ScriptedVllm]:
    async with ScriptedVllm() as scripted:
        scripted.script(*ANSWER)
        yield scripted


def made(vllm: ScriptedVllm, **settings: Any) -> VllmEngine:
    return create(
        engine_settings(**{"name": "v", "kind": "vllm", "base_url": vllm.base_url, **settings}), None
    )


def served(vllm: ScriptedVllm, **settings: Any) -> Any:
    return serving(upstream(vllm.base_url, kind="vllm", api="auto", **settings))


async def test_prompt_is_sent_as_token_ids(vllm: ScriptedVllm) -> None:
    """The engine tokenizes with the tokenizer that the server sent, and decodes what comes back."""
    deltas, error = await run_once(made(vllm), GenerationRequest(prompt="hello", max_output_token_count=9))
    assert error is None
    assert b"".join(delta.raw or b"" for delta in deltas) == b"Hello world"
    assert [delta.id for delta in deltas if delta.count] == ids_of("Hello world")
    (call,) = vllm.calls
    assert list(call.request.tokenized.input_ids) == ids_of("hello")
    assert call.request.stream
    assert call.request.sampling_params.max_tokens == 9
    assert vllm.served == ["GetModelInfo", "GetTokenizer"]


async def test_a_million_ids_do_not_hold_the_loop(vllm: ScriptedVllm) -> None:
    """They are converted on a thread, piece by piece. The last one is wrong, so that nothing is sent."""
    request = GenerationRequest(prompt_token_ids=(*range(1_000_000), 2**32))
    engine, works = made(vllm), []
    for _ in range(3):
        with watching(asyncio.get_running_loop()) as pauses:
            _, error = await run_once(engine, request)
        assert isinstance(error, InvalidRequest)
        works.append(pauses.work)
    assert min(works) < unit()


async def test_conversation_is_rendered_by_the_chat_template(vllm: ScriptedVllm) -> None:
    """The server applies no template: the engine renders the model's own."""
    _, error = await run_once(made(vllm), QUESTION)
    assert error is None
    start, end = id_of("<|start|>"), id_of("<|end|>")
    rendered = [start, start, *ids_of("user\nhello"), end, *ids_of("\n"), start, *ids_of("assistant\n")]
    assert list(vllm.calls[0].request.tokenized.input_ids) == rendered


async def test_usage_is_the_engines_own(vllm: ScriptedVllm) -> None:
    """Counts come from the engine, while tokens arrive and at the end."""
    async with served(vllm) as server:
        outcome = await collect(server.stream("u"))
    assert outcome.code is grpc.StatusCode.OK
    assert outcome.text == "Hello world"
    usages = [message.usage for message in outcome.events[1:]]
    count = len(ids_of("Hello world"))
    assert [u.input_token_count for u in usages] == [7] * len(usages)
    assert {u.source for u in usages} == {1}
    assert (usages[-1].output_token_count, usages[-1].cached_input_token_count) == (count, 2)


async def test_cancel_reaches_the_engine_as_an_abort(vllm: ScriptedVllm) -> None:
    """When the caller cancels, the call ends and Abort names its id; only then is a new request sent."""
    vllm.script(Say("Hello"), Forever(Ids()))
    async with served(vllm) as server:
        stream = server.stream("c")
        await read_until(stream, lambda message: message.tokens)
        call = await vllm.called()
        await server.cancel("c")
        await vllm.noted(f"abort {call.request.request_id}")
        await vllm.noted(f"cancelled {call.request.request_id}")
        assert vllm.aborted == [call.request.request_id]
        vllm.script(*ANSWER)
        assert (await collect(server.stream("d"))).text == "Hello world"
    assert len(vllm.aborted) == 1, "a whole answer is not aborted"


async def test_cancel_in_prefill_reaches_the_engine(vllm: ScriptedVllm) -> None:
    """Nothing was generated yet, and vLLM has not even sent headers."""
    vllm.script(Forever(_Nothing()))
    async with served(vllm) as server:
        stream = server.stream("p")
        call = await vllm.called()
        stream.cancel()
        await vllm.noted(f"abort {call.request.request_id}")
        await vllm.noted(f"cancelled {call.request.request_id}")


async def test_deadline_reaches_the_engine_as_an_abort(vllm: ScriptedVllm) -> None:
    """A deadline stops the engine as a cancel does."""
    vllm.script(Say("Hello"), Forever(Ids()))
    async with served(vllm) as server:
        outcome = await collect(server.stream("t", timeout=1))
        assert outcome.code is grpc.StatusCode.DEADLINE_EXCEEDED
        await vllm.noted(f"abort {vllm.calls[0].request.request_id}")


async def test_a_garbled_stream_is_aborted(vllm: ScriptedVllm) -> None:
    """The engine would go on with what nobody can read."""
    vllm.script(Raw(b"\xff\xff"), Forever(Ids()))
    _, error = await run_once(made(vllm), GenerationRequest(prompt="hello"))
    assert isinstance(error, EngineProtocolError)
    assert vllm.aborted == [vllm.calls[0].request.request_id]


async def test_request_ids_are_unique(vllm: ScriptedVllm) -> None:
    """VLLM refuses an id that is in use, and a retry has the generation's id too."""
    engine = made(vllm)
    await engine.start()
    for _ in range(2):
        await run(engine, GenerationRequest(generation_id="same", prompt="hello"))
    await engine.close()
    first, second = (call.request.request_id for call in vllm.calls)
    assert first != second
    assert first.startswith("same-")
    assert second.startswith("same-")


async def test_stop_sequence_is_cut_from_the_text(vllm: ScriptedVllm) -> None:
    """VLLM's ids include the stop sequence. Text that could begin one waits for the next token."""
    vllm.script(Say("Hello w"), Say("orld"), End("stop", matched_stop_str=" world"))
    request = GenerationRequest(prompt="hello", sampling=Sampling(stop_sequences=(" world",)))
    deltas, error = await run_once(made(vllm), request)
    assert error is None
    assert answer(deltas) == "Hello"
    finish = deltas[-1].finish
    assert finish is not None
    assert (finish.reason, finish.matched_stop) == (FinishReason.STOP_SEQUENCE, " world")
    assert list(vllm.calls[0].request.sampling_params.stop) == [" world"]
    assert vllm.aborted == [], "the engine had stopped by itself"


async def test_an_engine_that_misses_the_stop_is_aborted(vllm: ScriptedVllm) -> None:
    """The answer ends at the stop sequence, whatever the engine goes on with."""
    vllm.script(Say("Hello world"), Forever(Say(" and")))
    engine = made(vllm)
    await engine.start()
    request = GenerationRequest(prompt="hello", sampling=Sampling(stop_sequences=(" world",)))
    deltas, error = await run(engine, request)
    assert error is None
    assert answer(deltas) == "Hello"
    assert deltas[-1].usage is not None
    assert deltas[-1].usage.output == len(ids_of("Hello world"))
    await vllm.noted(f"abort {vllm.calls[0].request.request_id}")
    await engine.close()


async def test_held_back_text_is_released_at_the_end(vllm: ScriptedVllm) -> None:
    """The text ends like a stop sequence begins, but none came."""
    vllm.script(Say("Hello wor"), End("length"))
    request = GenerationRequest(prompt="hello", sampling=Sampling(stop_sequences=(" world",)))
    deltas, error = await run_once(made(vllm), request)
    assert error is None
    assert answer(deltas) == "Hello wor"
    finish = deltas[-1].finish
    assert finish is not None
    assert finish.reason is FinishReason.MAX_TOKENS


async def test_key_is_sent_as_a_bearer_token(vllm: ScriptedVllm, monkeypatch: pytest.MonkeyPatch) -> None:
    """VLLM has no keys of its own; a proxy before it may."""
    monkeypatch.setenv("VLLM_KEY", "s3cret")
    vllm.script(Fail(grpc.StatusCode.UNAUTHENTICATED, "the key s3cret is wrong"))
    _, error = await run_once(made(vllm, api_key_env="VLLM_KEY"), GenerationRequest(prompt="hello"))
    assert vllm.authorizations == ["Bearer s3cret"]
    assert error is not None
    assert "s3cret" not in error.message


async def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With https the engine's certificate must be one that OpenSSL trusts."""
    certificate = make_certificate(tmp_path)
    async with ScriptedVllm(certificate=certificate) as vllm:
        vllm.script(*ANSWER)
        _, error = await run_once(made(vllm), GenerationRequest(prompt="hello"))
        assert isinstance(error, EngineUnavailable)
        assert vllm.served == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate.with_suffix(".crt")))
        deltas, error = await run_once(made(vllm), GenerationRequest(prompt="hello"))
    assert error is None
    assert b"".join(delta.raw or b"" for delta in deltas) == b"Hello world"


async def test_only_the_certificates_of_ca_file_are_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `ca_file`, the certificates of the system are not trusted any more."""
    certificate = make_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    other = make_certificate(tmp_path / "other").with_suffix(".crt")
    trusted = certificate.with_suffix(".crt")
    async with ScriptedVllm(certificate=certificate) as vllm:
        vllm.script(*ANSWER)
        _, error = await run_once(made(vllm, ca_file=str(trusted)), GenerationRequest(prompt="hello"))
        assert error is None
        vllm.served.clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        _, error = await run_once(made(vllm, ca_file=str(other)), GenerationRequest(prompt="hello"))
    assert isinstance(error, EngineUnavailable)
    assert vllm.served == []


async def test_a_ca_file_without_certificates_is_refused(tmp_path: Path) -> None:
    """The engine does not start, and one line names the setting and the file. It is for https only."""
    file = tmp_path / "ca.pem"
    for content, expected in ((None, "cannot be read: No such file"), ("text", "must contain certificates")):
        if content is not None:
            file.write_text(content)
        engine = create(
            engine_settings(name="e", kind="vllm", base_url="https://e:1", ca_file=str(file)), None
        )
        with pytest.raises(ConfigError, match=re.escape(f"engine e: ca_file: the file {file} {expected}")):
            await engine.start()
    with pytest.raises(ConfigError, match="ca_file: requires a base_url that begins with https:"):
        engine_settings(name="e", kind="vllm", base_url="http://e:1", ca_file=str(file))


async def test_check_asks_the_engine(vllm: ScriptedVllm) -> None:
    """An engine that says that it is not well, or is away, fails its check."""
    engine = made(vllm)
    await engine.start()
    await engine.check()
    assert vllm.served[-1] == "HealthCheck"
    vllm.healthy = False
    with pytest.raises(EngineUnavailable, match="Engine is not alive"):
        await engine.check()
    await vllm.hang_up()
    with pytest.raises(EngineUnavailable):
        await engine.check()
    await engine.close()


async def test_an_engine_that_is_away_at_the_start(vllm: ScriptedVllm) -> None:
    """The server starts all the same; the first request that finds the engine loads its model."""
    await vllm.hang_up()
    engine = made(vllm)
    await engine.start()
    assert vllm.served == []
    with pytest.raises(EngineUnavailable):
        await anext(engine.generate(GenerationRequest(prompt="hello")))
    await vllm.proxy.listen()
    deltas, error = await run(engine, GenerationRequest(prompt="hello"))
    assert error is None
    assert deltas
    assert vllm.served == ["GetModelInfo", "GetTokenizer"]
    await engine.close()


async def test_a_new_connection_asks_for_the_model_again(vllm: ScriptedVllm) -> None:
    """An engine that restarts may serve another model: its files are loaded again only then."""
    engine = made(vllm)
    await engine.start()
    await lose(vllm, engine)
    vllm.served.clear()
    await vllm.proxy.listen()
    await run(engine, QUESTION)
    assert vllm.served == ["GetModelInfo"]
    await lose(vllm, engine)
    vllm.served.clear()
    vllm.info["served_model_name"] = "another"
    vllm.files = model_files(template="{{ messages[0]['content'] }}")
    await vllm.proxy.listen()
    await run(engine, QUESTION)
    assert vllm.served == ["GetModelInfo", "GetTokenizer"]
    assert list(vllm.calls[-1].request.tokenized.input_ids) == ids_of("hello")
    await engine.close()


async def test_tokenizer_of_a_folder(vllm: ScriptedVllm, tmp_path: Path) -> None:
    """VLLM sends no tokenizer of a model that it took from a hub: its folder is named."""
    vllm.files = {}
    for name, data in model_files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other.jinja").write_text("Q: {{ messages[-1].content }}\nA:")
    settings = {"tokenizer_path": str(tmp_path), "chat_template": str(tmp_path / "other.jinja")}
    _, error = await run_once(made(vllm, **settings), QUESTION)
    assert error is None
    assert vllm.served == ["GetModelInfo"]
    assert list(vllm.calls[0].request.tokenized.input_ids) == ids_of("Q: hello\nA:")


async def test_an_engine_without_a_tokenizer_says_what_to_set(vllm: ScriptedVllm) -> None:
    """What vLLM says of a model of a hub becomes advice to the operator."""
    vllm.files = {}
    engine = made(vllm)
    await engine.start()
    with pytest.raises(EngineProtocolError, match=r"No tokenizer files found.*set tokenizer_path"):
        await anext(engine.generate(GenerationRequest(prompt="hello")))
    await engine.close()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("tokenizer_path", "/nowhere/at/all", "there is no tokenizer.json"),
        ("api_key_env", "NO_SUCH_KEY", "is not set or is empty"),
    ],
)
async def test_wrong_files_and_keys_stop_the_start(
    vllm: ScriptedVllm, name: str, value: str, problem: str
) -> None:
    """What the settings name must be there."""
    with pytest.raises(ConfigError, match=problem):
        await made(vllm, **{name: value}).start()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:8000/v1"])
def test_base_url_is_a_host_and_a_port(url: str) -> None:
    """The path of an HTTP API shows that the kind is wrong."""
    with pytest.raises(ConfigError, match="base_url"):
        engine_settings(name="v", kind="vllm", base_url=url)


async def test_a_model_without_a_template_has_no_conversations(vllm: ScriptedVllm) -> None:
    """A base model takes prompts; conversations are refused by capability, as soon as that is known."""
    vllm.files = model_files(template=None)
    engine = made(vllm)
    assert Capability.CONVERSATION in engine.capabilities
    await engine.start()
    assert Capability.CONVERSATION not in engine.capabilities
    with pytest.raises(UnsupportedFeature, match="chat template"):
        await anext(engine.generate(QUESTION))
    await engine.close()


async def test_tools_images_and_reasoning_are_refused(vllm: ScriptedVllm) -> None:
    """The service returns ids alone: nobody parses calls and reasoning out of them."""
    missing = {Capability.TOOLS, Capability.IMAGES, Capability.REASONING}
    assert not missing & made(vllm).capabilities


async def test_started_comes_with_the_headers(vllm: ScriptedVllm) -> None:
    """A server that sends headers at once has accepted the request before its first token."""
    vllm.script(Accept(), Forever(_Nothing()))
    engine = made(vllm)
    await engine.start()
    async with aclosing(engine.generate(GenerationRequest(prompt="hello"))) as batches:
        assert await anext(batches) == ()
    await vllm.noted(f"abort {vllm.calls[0].request.request_id}")
    await engine.close()


async def test_a_lost_connection_is_no_end(vllm: ScriptedVllm) -> None:
    """The engine worked on an answer that nobody can complete."""
    pause = Pause()
    vllm.script(Say("Hello"), pause, CutConnection())
    engine = made(vllm)
    await engine.start()
    async with aclosing(engine.generate(GenerationRequest(prompt="hello"))) as batches:
        assert await anext(batches) == ()
        (identity,) = await anext(batches)
        assert identity.response_id == vllm.calls[0].request.request_id
        assert await anext(batches)
        pause.release()
        with pytest.raises(EngineLost):
            await anext(batches)
    assert engine.healthy is False
    await engine.close()


async def test_a_new_connection_leaves_the_calls_of_the_old_one(vllm: ScriptedVllm) -> None:
    """A generation that has not heard of its loss yet ends with that loss, whoever dials anew meanwhile."""
    vllm.script(Say("Hello"), Forever(_Nothing()))
    engine = made(vllm)
    await engine.start()
    async with aclosing(engine.generate(GenerationRequest(prompt="hello"))) as batches:
        assert await anext(batches) == ()
        assert await anext(batches)
        await lose(vllm, engine)
        await vllm.proxy.listen()
        await engine.check()
        with pytest.raises(EngineLost):
            await anext(batches)
        # The engine that did not notice is told to stop, over the new connection.
        await vllm.noted(f"abort {vllm.calls[0].request.request_id}")
    await engine.close()


async def test_connect_timeout_of_the_request(vllm: ScriptedVllm) -> None:
    """Nobody accepts the connection: the request's own clock ends the wait."""
    engine = made(vllm)
    await engine.start()
    await lose(vllm, engine)
    sockets = await vllm.go_deaf()
    try:
        request = GenerationRequest(prompt="hello", limits=Limits(connect_timeout=0.3))
        with pytest.raises(EngineUnavailable) as caught:
            await anext(engine.generate(request))
    finally:
        for sock in sockets:
            sock.close()
    assert caught.value.metadata == {"clock": "connect", "limit_seconds": "0.3"}
    await engine.close()


def test_other_engines_do_not_load_it() -> None:
    """The stubs, the tokenizer and Jinja are loaded where a model has such an engine, and nowhere else."""
    script = (
        "import sys, tokengrpc.server as s, tokengrpc.config as c\n"
        "s.Server(c.Settings(models=(c.model_settings(name='m'),)))\n"
        "c.engine_settings(name='v', kind='vllm', base_url='http://x')\n"
        "print([m for m in ('smg_vllm', 'tokenizers', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


async def lose(vllm: ScriptedVllm, engine: VllmEngine) -> None:
    """The engine goes away, and its connection is known to be broken."""
    await vllm.hang_up()
    while True:
        with suppress(EngineUnavailable):
            await engine.check()
            continue
        return


class _Nothing:
    """A step without output."""

    async def run(self, call: object) -> None:
        await asyncio.sleep(0)
