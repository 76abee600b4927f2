"""docs/tenants.md runs as it stands, and the tables of docs/credentials.md are those of the code."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from msgspec import inspect

from tests.support.commands import PROGRAM, environment, serving
from tests.support.paths import ROOT
from tests.support.shown_output import matches
from tests.support.tls import Authority
from tokengrpc.core.ports.auth import CredentialKind, Peer
from tokengrpc.core.tenant import Scope
from tokengrpc.identity.certificates import CertificateRow
from tokengrpc.identity.credentials import kind_of
from tokengrpc.identity.jwt.settings import JwtSettings
from tokengrpc.rpc.scopes import SCOPES

if TYPE_CHECKING:
    from collections.abc import Iterator


def sections(page: str) -> dict[str, str]:
    """Returns the text below each heading of the second level."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))


PAGE = (ROOT / "docs" / "tenants.md").read_text(encoding="utf-8")
SECTIONS, CREDENTIALS = sections("tenants.md"), sections("credentials.md")
_CODE = re.compile(
    r"(?:^`(?P<file>[\w.]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
STEPS = [name for name, text in SECTIONS.items() if "$ tokengrpc serve" in text]


def rows(text: str) -> dict[str, list[str]]:
    """Returns the cells of the rows of all tables, by the first cell."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {cells[0].strip("` "): [cell.strip() for cell in cells[1:]] for cells in found}


@pytest.mark.parametrize("struct", [JwtSettings, CertificateRow])
def test_the_settings_are_those_of_the_code(struct):
    """With their defaults and meanings."""
    name, section = (
        ("[plugins.jwt]", "Tokens")
        if struct is JwtSettings
        else ("[[plugins.certificate.names]]", "Client certificates")
    )
    table = rows(CREDENTIALS[section].split(f"| `{name}` |")[1])
    for field in inspect.type_info(struct).fields:  # type: ignore[union-attr] # it is a struct
        default, meaning = table.pop(field.name)
        value = list(field.default) if isinstance(field.default, tuple) else field.default
        if field.required:
            assert default == "required"
        elif default == "`{}`":
            assert field.default_factory() == {}
        else:
            assert default == f"`{json.dumps(value)}`"
        assert meaning.lower() == field.type.extra_json_schema["description"].lower()  # type: ignore[union-attr]
    assert not [row for row in table if not row.startswith("-")]


def test_the_scopes_are_those_of_the_code():
    """Each with the services that it opens."""
    table = rows(CREDENTIALS["What a credential may do"])
    assert [row for row in table if row in [*Scope]] == [*Scope]
    for scope in Scope:
        for service, scopes in SCOPES.items():
            assert (service.rpartition(".")[2] in table[scope][0]) == (scope in scopes)


def test_the_forms_of_credentials_are_those_of_the_code():
    """A row for each kind, but for one for what nobody takes."""
    table = rows(CREDENTIALS["Which authenticator answers"])
    told = {"JWT": "eyJh.e30.x", "key in the database": "tg_x", "another key": "x"}
    kinds = [kind_of((("authorization", f"Bearer {text}"),), Peer()) for text in told.values()]
    assert kinds == [CredentialKind.JWT, CredentialKind.DATABASE_KEY, CredentialKind.KEY]
    assert [row for row in table if row in told] == list(told)


def commands(section: str) -> Iterator[tuple[str, list[str]]]:
    """Yields the commands of a section, each with the lines that it shows."""
    for block in _CODE.finditer(SECTIONS[section]):
        if block["language"] != "console":
            continue
        command, shown = "", []
        for line in block["text"].splitlines():
            if line.startswith("$ "):
                if command:
                    yield command, shown
                command, shown = line.removeprefix("$ "), []
            else:
                shown.append(line)
        yield command, shown


def prepare(section: str, folder: Path) -> None:
    """Writes the files that a section shows or supposes."""
    for block in _CODE.finditer(SECTIONS[section]):
        if block["language"] == "toml":
            (folder / "tokengrpc.toml").write_text(block["text"])
    for block in _CODE.finditer(PAGE):
        if block["file"]:  # of an earlier step
            (folder / block["file"]).write_text(block["text"])
    if "client.crt" in SECTIONS[section]:
        authority = Authority(folder)
        authority.issue("server", "localhost", "127.0.0.1")
        authority.issue("client", "search.example")


@pytest.mark.parametrize("section", STEPS)
def test_each_step_does_what_it_shows(section, tmp_path):
    """In one shell, on a free port. `…` leaves something out."""
    prepare(section, tmp_path)
    variables: dict[str, str] = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def shell(script: str) -> tuple[str, int]:
        done = subprocess.run(
            ["sh", "-c", script],
            cwd=tmp_path,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout, done.returncode

    with ExitStack() as stack:
        for command, shown in commands(section):
            if command.startswith("export "):
                name = command.removeprefix("export ").partition("=")[0]
                value, code = shell(f'exec 2>/dev/null; {command}; printf %s "${name}"')
                assert (code, bool(value)) == (0, True), value
                variables[name] = value
            elif command.startswith("tokengrpc serve "):
                program = ("sh", "-c", f'cd {tmp_path} && exec {" ".join(PROGRAM)} "$@"', "tokengrpc")
                flags = command.split()[2:]
                target = stack.enter_context(serving(*flags, program=program, **variables)).target
                variables["TOKENGRPC_TARGET"] = target
            else:
                output, _ = shell(command)
                assert matches(output, shown), f"{command}\n{output}"
