"""The documentation is correct: tables match the code, links lead to their targets, examples run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import NODEFAULT, inspect, to_builtins
from tokenstreaming.v1 import admin_service_pb2, token_stream_pb2, usage_service_pb2

from tests.support.commands import environment, serving
from tests.support.paths import ROOT
from tests.support.plugins import install
from tokengrpc import client, errors
from tokengrpc.client.delays import DEFAULT_PATIENCE
from tokengrpc.client.policy import ResumePolicy
from tokengrpc.client.status import CLASS_OF_REASON
from tokengrpc.config import (
    BudgetSettings,
    EngineSettings,
    FaultSettings,
    LimitSettings,
    ModelLimitSettings,
    ModelSettings,
    PriceSettings,
    RemoteEngineSettings,
    Settings,
    TenantSettings,
    TLSSettings,
    engine_settings,
    load,
)
from tokengrpc.config.keys import KEYS, variable
from tokengrpc.config.kinds import settings_types
from tokengrpc.config.models import ModelFields
from tokengrpc.core.model import Capability, FinishReason
from tokengrpc.engines.anthropic import engine as anthropic
from tokengrpc.engines.builtin.engine import BuiltinEngine
from tokengrpc.engines.openai.dialects.table import DIALECTS
from tokengrpc.engines.replay import engine as replay
from tokengrpc.engines.upstream.response.finish_reasons import ABORT_REASONS, FINISH_REASONS
from tokengrpc.engines.vllm import engine as vllm
from tokengrpc.wire.status import CODES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tokengrpc.engines.openai.dialects.row import Dialect

DOCS = sorted((ROOT / "docs").glob("**/*.md"))
PAGES = [
    *(
        ROOT / name
        for name in (
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "RELEASE.md",
            "SECURITY.md",
            "tests/README.md",
        )
    ),
    *DOCS,
]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
RUNS = "*(run by the tests)*"


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """Returns the text below a heading of the second level."""
    return page(name).split(f"\n## {heading}\n")[1].split("\n## ")[0]


def blocks(text: str, language: str) -> list[str]:
    return [block[2] for block in BLOCK.finditer(text) if block[1] == language]


def rows(text: str) -> dict[str, list[str]]:
    """Returns the cells of all table rows by their first cell, without its backticks."""
    found = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip(" `"): [cell.strip() for cell in cells[1:]] for cells in found}


# --- docs/contract.md


def advice_by_reason() -> dict[str, set[str]]:
    """Returns the advice of each reason in the error tree. Several errors may share a reason."""
    found: dict[str, set[str]] = {}
    waiting = errors.TokenGrpcError.__subclasses__()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if "reason" in vars(kind):
            found.setdefault(kind.reason, set()).add(kind.advice.value)
    return found


@pytest.mark.parametrize(("reason", "code"), CODES.items())
def test_the_error_table_has_each_reason(reason, code):
    """With the code in `wire/status.py`, the advice in `errors.py`, what happened and what to do."""
    told_code, told_advice, *words = rows(page("contract.md"))[reason]
    assert told_code == code.name
    assert set(re.findall(r"\b(?:RESUME|RETRY|NEVER)\b", told_advice)) == advice_by_reason()[reason]
    assert len(words) == 2
    assert all(words)


def test_the_error_table_has_no_unknown_reason():
    """Every row is a reason of the code."""
    assert advice_by_reason().keys() == CODES.keys()
    told = [key for key, cells in rows(page("contract.md")).items() if len(cells) == 4 and key.isupper()]
    assert sorted(told) == sorted(CODES)


@pytest.mark.parametrize("service", ["TokenStream", "UsageService", "AdminService"])
def test_all_rpcs_are_documented(service):
    """By name, on the contract's page."""
    files = (token_stream_pb2, usage_service_pb2, admin_service_pb2)
    (found,) = (
        file.DESCRIPTOR.services_by_name[service]
        for file in files
        if service in file.DESCRIPTOR.services_by_name
    )
    for method in found.methods:
        assert f"`{method.name}`" in page("contract.md")


def test_all_finish_reasons_are_documented():
    """On the contract's page with their status, and each engine's own reason with its mapping."""
    cells = re.findall(r"[A-Z_]{3,}", section("contract.md", "Ends"))
    assert {reason.value for reason in FinishReason} <= set(cells)
    table = section("engines.md", "Finish reasons")
    for word, reason in FINISH_REASONS.items():
        (line,) = [line for line in table.splitlines() if f"`{word}`" in line.split(" | ")[0]]
        assert reason.value in line
    assert all(f"`{word}`" in table for word in ABORT_REASONS)


# --- docs/settings.md


def settings() -> Iterator[tuple[str, inspect.Field, str]]:
    """Yields every setting with its path in the table, and the kinds of engines that read it."""
    tables = {"": Settings, "tls.": TLSSettings, "limits.": LimitSettings, "models[].": ModelFields}
    for prefix, struct in tables.items():
        for field in fields_of(struct):
            if field.name not in {"limits", "models", "prices", "tenants", "tls"}:
                yield f"{prefix}{field.name}", field, ""
    common = {field.name for field in fields_of(EngineSettings)}
    for field in fields_of(EngineSettings):
        if field.name not in {"name", "context_token_count"}:
            yield f"models[].{field.name}", field, ""
    told: dict[str, tuple[inspect.Field, list[str]]] = {}
    for kind, struct in settings_types().items():
        for field in fields_of(struct):
            if field.name not in common:
                told.setdefault(field.name, (field, []))[1].append(kind)
    for name, (field, kinds) in told.items():
        yield f"models[].{name}", field, ", ".join(kinds)
    (engines,) = (field for field in fields_of(ModelSettings) if field.name == "engines")
    yield "models[].engines", engines, ""
    for field in fields_of(EngineSettings):
        if field.name in {"name", "context_token_count"}:
            yield f"models[].engines[].{field.name}", field, ""
    tables_of_lists = (
        ("tenants", TenantSettings),
        ("tenants[].model_limits", ModelLimitSettings),
        ("tenants[].budgets", BudgetSettings),
        ("prices", PriceSettings),
    )
    for name, struct in tables_of_lists:
        for field in fields_of(struct):
            yield f"{name}[].{field.name}", field, ""


def fields_of(struct: type) -> tuple[inspect.Field, ...]:
    return inspect.type_info(struct).fields  # type: ignore[union-attr] # they are structs


def default_of(field: inspect.Field) -> str:
    """Returns the default as in TOML."""
    if field.required:
        return "required" if field.name != "engines" else "`[]`"
    value: Any = field.default if field.default is not NODEFAULT else field.default_factory()
    if isinstance(value, FaultSettings):
        value = to_builtins(value)
    if isinstance(value, dict) or value == ():
        assert not value
        return "`[]`" if isinstance(value, tuple) else "`{}`"
    return f"`{json.dumps(value)}`"


@pytest.mark.parametrize(("path", "field", "kinds"), [pytest.param(*row, id=row[0]) for row in settings()])
def test_the_settings_table_matches_the_schema(path, field, kinds):
    """Each setting has its default, its meaning, the kinds of engines that read it, and its variable."""
    default, meaning, told_kinds, told_variable = rows(page("settings.md"))[path]
    assert default == default_of(field)
    assert meaning.lower() == field.type.extra_json_schema["description"].lower()
    assert told_kinds == kinds
    places = {place.path.replace("[0]", "[]"): key for key, place in KEYS.items()}
    expected = f"`{variable(places[path])}`" if path in places else ""
    assert told_variable.rstrip(" |") == expected


def test_the_settings_table_has_no_unknown_setting():
    """The rows are the settings of the schema, in order."""
    assert list(rows(page("settings.md")))[1:] == [path for path, _, _ in settings()]


def toml_files() -> list[Any]:
    """Returns every example of a settings file."""
    found = [(path.name, text) for path in PAGES for text in blocks(path.read_text("utf-8"), "toml")]
    return [pytest.param(text, id=name) for name, text in found if "[project" not in text]


@pytest.mark.parametrize("text", toml_files())
def test_examples_of_settings_load(text, tmp_path):
    """All keys that they name can be read."""
    raw = tomllib.loads(text)
    named = [table.get("api_key_env") or table.get("key_env") for table in _tables(raw)]
    environ = {name: "secret" for name in named if name}
    file = tmp_path / "tokengrpc.toml"
    file.write_text(text, encoding="utf-8")
    loaded = load(file, environ, {})
    for engine in (engine for model in loaded.models for engine in model.engines):
        if isinstance(engine, RemoteEngineSettings):
            assert engine.read_api_key(environ) == ("secret" if engine.api_key_env else None)
    for tenant in loaded.tenants:
        assert tenant.key_file or tenant.read_key(environ) == ("secret" if tenant.has_key else "")


def _tables(raw: dict[str, Any]) -> list[dict[str, Any]]:
    engines = [engine for model in raw.get("models", ()) for engine in model.get("engines", ())]
    return [*raw.get("models", ()), *engines, *raw.get("tenants", ())]


# --- docs/engines.md, docs/client.md, docs/resuming.md


def test_all_capabilities_are_documented():
    """In the table of engines."""
    told = re.findall(r"[A-Z_]+", section("engines.md", "Capabilities"))
    assert {capability.value for capability in Capability} <= set(told)


def test_the_table_of_capabilities_matches_the_code():
    """The capabilities of each kind of engine."""
    told = rows(section("engines.md", "Capabilities"))
    made = {
        "anthropic": anthropic.create(engine_settings(name="m", kind="anthropic"), None),
        "replay": replay.create(engine_settings(name="m", kind="replay", options={"file": "x"}), None),
        "vllm": vllm.create(engine_settings(name="m", kind="vllm", base_url="http://x"), None),
    }
    can = {"builtin": BuiltinEngine.capabilities} | {kind: made[kind].capabilities for kind in made}
    for capability in Capability:
        cells = [cell.rstrip(" |") for cell in told[capability.value]]
        assert cells == ["yes" if capability in can[kind] else "no" for kind in told["Capability"]]


def test_the_table_of_dialects_matches_the_code():
    """The capabilities of each API of each dialect, and the field for the output token limit."""
    told = rows(page("dialects.md"))
    assert told.keys() >= DIALECTS.keys()
    for capability in Capability:
        cells = [cell.rstrip(" |") for cell in told[capability.value]]
        assert cells == [_over(capability, dialect) for dialect in DIALECTS.values()]
    names = [cell.strip("` |") for cell in told["Output token limit (chat)"]]
    assert names == [dialect.chat.max_tokens for dialect in DIALECTS.values()]


def _over(capability: Capability, dialect: Dialect) -> str:
    apis = ("chat", "completions")
    able = [api for api in apis if capability in getattr(dialect, api).capabilities]
    return "both" if len(able) == 2 else "".join(able) or "no"


def test_all_commands_of_the_engines_page_are_valid():
    """The settings accept their flags and values."""
    commands = re.findall(r"`?tokengrpc serve (--[^`\n]+)", page("engines.md"))
    assert len(commands) > 5
    for command in commands:
        words = command.split()
        flags = [name.removeprefix("--").replace("-", "_") for name in words[::2]]
        load(None, {}, dict(zip(flags, words[1::2], strict=True)))


def test_exceptions_and_limits_of_the_client_are_documented():
    """Each class with the reasons that it is raised for, each limit with its default."""
    table = rows(page("client.md"))
    for reason, kind in CLASS_OF_REASON.items():
        assert f"`{reason}`" in table[kind.__name__][0]
    exceptions = [name for name in client.__all__ if name.endswith("Error") and name != "TokenStreamError"]
    assert all(f"`{name}`" in page("client.md") for name in exceptions)
    policy, table = ResumePolicy(), rows(page("resuming.md"))
    assert policy.patience is None
    assert table["patience"][0] == f"until the `timeout`; without one, {DEFAULT_PATIENCE:g} s"
    assert table["retry_attempts"][0] == f"{policy.retry_attempts}"
    assert table["cancel_timeout"][0] == f"{policy.cancel_timeout:g} s"
    backoff = f"{policy.initial_backoff:g} s, {policy.backoff_factor:g}, {policy.max_backoff:g} s"
    assert table["initial_backoff`, `backoff_factor`, `max_backoff"][0] == backoff


def python_blocks() -> list[Any]:
    found = [(path.name, text) for path in PAGES for text in blocks(path.read_text("utf-8"), "python")]
    return [pytest.param(text, id=name) for name, text in found]


@pytest.mark.parametrize("text", python_blocks())
def test_python_examples_compile(text):
    """Including those that are not run. A README's example may await at the top level."""
    compile(text, "example", "exec", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT


def test_python_examples_run():
    """Marked examples run against a real server."""
    text = page("client.md") + page("resuming.md") + page("usage.md")
    marked = [part for part in text.split(RUNS)[1:] if "```python" in part]
    programs = [blocks(part, "python")[0] for part in marked]
    assert len(programs) >= 7
    with serving("--pace", "40") as server:
        for program in programs:
            run_python(program.replace("127.0.0.1:50051", server.target))


@pytest.fixture
def installed_plugins(tmp_path: Path) -> Path:
    """A folder with the plugins of docs/plugins.md, which appear to be installed."""
    text = page("plugins.md")
    modules = re.findall(r"^`(\w+\.py)`:\n\n```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    assert [name for name, _ in modules] == [
        "echo_engine.py",
        "print_observer.py",
        "initials_authenticator.py",
        "json_ledger.py",
    ]
    (entry_points,) = (block for block in blocks(text, "toml") if "entry-points" in block)
    return install(tmp_path, dict(modules), tomllib.loads(entry_points)["project"]["entry-points"])


def test_the_plugins_of_the_page_run(installed_plugins: Path):
    """All four at once, found by their entry points."""
    file, ledger = installed_plugins / "tokengrpc.toml", installed_plugins / "usage.jsonl"
    file.write_text(
        f"""
        ledger = "jsonl:{ledger}"
        observers = ["log", "print"]
        authenticator = "initials"
        [plugins.initials]
        al = "lovelace"
        [[models]]
        name = "parrot"
        kind = "echo"
        options = {{ pause = 0.001 }}
        """
    )
    with serving("--config", str(file), PYTHONPATH=str(installed_plugins)) as server:
        run_python(CALL_WITH_INITIALS, server.target)
        refused = server("stream", "--raw", "say it back")
        assert refused.returncode == 1
        assert "UNAUTHENTICATED: who are you?" in refused.stderr
        assert "lovelace: END, 3 tokens" in server.log()
    records = [json.loads(line) for line in ledger.read_text().splitlines()]
    finished = [record for record in records if record.get("finish_reason")]
    assert [(r["tenant"], r["usage"]["output"]) for r in finished] == [("lovelace", 3)]


CALL_WITH_INITIALS = """
import sys
import grpc
from tokenstreaming.v1 import token_stream_pb2 as pb, token_stream_pb2_grpc

with grpc.insecure_channel(sys.argv[1]) as channel:
    stub = token_stream_pb2_grpc.TokenStreamStub(channel)
    call = stub.StreamTokens(pb.StreamTokensRequest(prompt="say it back"), metadata=[("initials", "al")])
    assert "".join(token.text for message in call for token in message.tokens) == "say it back"
"""


def test_a_plugin_that_is_not_installed_is_named(tmp_path):
    """The error also lists the installed ones."""
    done = subprocess.run(
        [sys.executable, "-m", "tokengrpc", "serve", "--ledger", "postgress://x"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "ledger: `postgress` is not installed; installed are: memory" in done.stderr


def run_python(program: str, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{program}\n{done.stderr}"


# --- all pages


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub creates for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links() -> list[Any]:
    found = []
    for path in PAGES:
        text = BLOCK.sub("", path.read_text(encoding="utf-8"))
        targets = re.findall(r"\]\(([^)\s]+)\)", text)
        found += [pytest.param(path, target, id=f"{path.name}:{target}") for target in targets]
    return found


@pytest.mark.parametrize(("source", "target"), links())
def test_links_lead_to_their_targets(source, target):
    """Files and headings of this repository. Other sites are not requested."""
    if target.startswith(("http://", "https://", "mailto:")):
        return
    name, _, fragment = target.partition("#")
    file = (source.parent / name) if name else source
    assert file.exists(), f"there is no {name}"
    if fragment:
        headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert fragment in map(anchor, headings)


def test_the_index_of_decisions_names_each_page():
    """And nothing else."""
    folder = ROOT / "docs" / "decisions"
    named = re.findall(r"^\| \[(.+?)\]\(\1\)", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted([*named, "README.md"]) == sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_files_that_are_named_exist(path):
    """Modules and tests, anywhere in the repository. Each page has at most 260 lines."""
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 260
    files = [
        file
        for room in ("tokengrpc", "tests", "fuzz", "attack", "bench", "soak", "tools")
        for file in ROOT.glob(f"{room}/**/*.py")
    ]
    known = [str(file.relative_to(ROOT)) for file in files]
    if path.name == "comparison.md":
        return  # it names files of other projects
    for name in re.findall(r"`([\w/]+\.py)`", text):
        shown = f"`{name}`:\n\n```python" in text
        assert shown or any(f"/{file}".endswith(f"/{name}") for file in known), name
