"""The settings of docs/providers.md work with servers that imitate the providers, and with nothing else.

The hosts of the page are reached through a proxy that connects to loopback, with certificates for their
names. So the settings are used as they stand, and TLS, the Host header and the proxy are real.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trustme
from msgspec import structs

from tests.support.engine_runs import answer, run_once
from tests.support.forward_proxy import ForwardProxy
from tests.support.paths import ROOT
from tests.support.provider import Provider, Rules
from tests.support.provider_rules import KEY, RULES
from tests.support.tls import server_context
from tokengrpc.config import load
from tokengrpc.core.request import (
    GenerationRequest,
    Message,
    ReasoningPart,
    Role,
    Sampling,
    TextPart,
    Tool,
    ToolChoice,
)
from tokengrpc.engines.openai.engine import OpenAIEngine
from tokengrpc.errors import EngineAuthFailed, InvalidRequest, ModelNotFound

if TYPE_CHECKING:
    from pathlib import Path

    from tokengrpc.core.model import Delta
    from tokengrpc.errors import TokenGrpcError

PAGE = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
EXAMPLES = dict(
    re.findall(r"^### ([^\n]+)\n(?:(?!^###).)*?^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
)

# A second turn, whose first one had reasoning: some providers refuse that.
REQUEST = GenerationRequest(
    messages=(
        Message(role=Role.SYSTEM, parts=(TextPart(text="Be short."),)),
        Message(role=Role.USER, parts=(TextPart(text="Hi"),)),
        Message(
            role=Role.ASSISTANT, parts=(ReasoningPart(text="A greeting.", opaque=b""), TextPart(text="Hi!"))
        ),
        Message(role=Role.USER, parts=(TextPart(text="What time is it?"),)),
    ),
    max_output_token_count=64,
    sampling=Sampling(temperature=0.2, top_p=0.9, stop_sequences=("\n\n",)),
    tools=(Tool(name="clock", description="the time"),),
    tool_choice=ToolChoice(mode="required"),
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


class House:
    """Runs the request with an example's settings, against a provider with the given rules."""

    def __init__(self, authority: trustme.CA, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._authority = authority
        self._folder = folder
        self._monkeypatch = monkeypatch

    async def run(
        self, name: str, rules: Rules, **changes: Any
    ) -> tuple[list[Delta], TokenGrpcError | None, Provider]:
        """Returns the deltas, the error, and the provider. `changes` are made to the settings."""
        file = self._folder / "tokengrpc.toml"
        file.write_text(EXAMPLES[name], encoding="utf-8")
        for variable in re.findall(r'env = "(\w+)"', EXAMPLES[name]):
            self._monkeypatch.setenv(variable, KEY)
        for variable in re.findall(r'api_key_env = "(\w+)"', EXAMPLES[name]):
            self._monkeypatch.setenv(variable, KEY)
        (model,) = load(file, {}, {}).models
        (settings,) = model.served_engines
        url = urlsplit(settings.base_url)  # type: ignore[attr-defined] # an engine over HTTP
        secure = url.scheme == "https"
        context = server_context(self._authority, str(url.hostname)) if secure else None
        certificate = self._folder / "ca.pem"
        self._authority.cert_pem.write_to_path(str(certificate))
        self._monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        place = f"{url.hostname}:{url.port or (443 if secure else 80)}"
        async with Provider(rules, tls=context) as provider, ForwardProxy({place: provider.port}) as proxy:
            # Loopback addresses are reached through a proxy of the settings only.
            self._monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            changed = structs.replace(settings, **({} if secure else {"proxy": proxy.url}), **changes)
            deltas, error = await run_once(OpenAIEngine(changed), REQUEST)  # type: ignore[arg-type] # as above
        return deltas, error, provider


@pytest.fixture
def house(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return House(authority, tmp_path, monkeypatch)


def test_each_example_has_its_rules():
    """No example of the page is without a test, and no rules are without an example."""
    assert EXAMPLES.keys() == RULES.keys()


@pytest.mark.parametrize("name", RULES)
async def test_the_example_works(house: House, name: str):
    """The first request is accepted: nothing has to be learned from a refusal."""
    deltas, error, provider = await house.run(name, RULES[name])
    assert (answer(deltas), error) == ("Hello", None)
    assert len(provider.calls) == 1
    assert [delta.usage.output for delta in deltas if delta.usage] == [1]


@pytest.mark.parametrize("name", RULES)
async def test_other_requests_are_refused(house: House, name: str):
    """The imitated provider refuses another model, another query, and a field that it does not know."""
    for changes, expected in (
        ({"upstream_model": "other"}, ModelNotFound),
        ({"query": {"api-version": "other"}}, ModelNotFound),
        ({"body": {"no_such_field": 1}}, InvalidRequest),
    ):
        _, error, _ = await house.run(name, RULES[name], **changes)
        assert isinstance(error, expected), (changes, error)


@pytest.mark.parametrize("name", [name for name in RULES if RULES[name].headers])
async def test_another_key_is_refused(house: House, name: str):
    """A wrong key is an error that says so."""
    headers = dict.fromkeys(RULES[name].headers, "other")
    without_key = {"api_key_env": "", "headers": headers}
    _, error, _ = await house.run(name, RULES[name], **without_key)
    assert isinstance(error, EngineAuthFailed)


@pytest.mark.parametrize("name", ["Gemini", "Groq", "Mistral", "Together"])
async def test_the_exceptions_of_an_example_are_needed(house: House, name: str):
    """Without them, the provider refuses the request at first; the dialect `generic` then repeats it."""
    changes = {"omit_fields": (), "dialect": "generic"}
    _, error, provider = await house.run(name, RULES[name], **changes)
    assert error is None
    assert len(provider.calls) > 1
