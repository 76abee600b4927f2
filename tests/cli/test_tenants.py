"""`tokengrpc tenants` and `tokengrpc keys` against a real server."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.commands import Server, serving, tokengrpc

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

KEY = re.compile(r"tg_[0-9A-Za-z]{8}_[0-9A-Za-z]{38}\n")
DATABASE = {"TOKENGRPC_AUTHENTICATOR": "database"}


class Admin:
    """The commands of an admin."""

    def __init__(self, server: Server, key: str) -> None:
        self.server = server
        self.key = key

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.server(*arguments, **{"TOKENGRPC_TOKEN": self.key, **options})

    def made(self, *arguments: str) -> str:
        """Returns what a command prints, which succeeds."""
        done = self(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def admin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Admin]:
    """A server whose database had an admin key before it started."""
    directory = str(tmp_path_factory.mktemp("data"))
    made = tokengrpc("keys", "bootstrap", TOKENGRPC_DATA_DIR=directory, **DATABASE)
    assert made.returncode == 0, made.stderr
    with serving("--data-dir", directory, **DATABASE) as server:
        yield Admin(server, made.stdout.strip())


def test_a_tenant_from_the_first_key_to_its_deletion(admin: Admin) -> None:
    """Created with limits, shown, changed and deleted. Its key works, and is revoked with it."""
    limits = ("--max-generations", "4", "--budget", "5EUR/month", "--budget", "1000000tokens/day@label:team")
    shown = admin.made("tenants", "create", "acme", *limits, "--model-limit", "builtin:requests=600")
    assert "1000000tokens/day@label:team" in shown
    assert "builtin:requests=600" in shown
    key = admin.made("keys", "create", "acme", "--name", "CI", "--expires", "90d")
    assert KEY.fullmatch(key)
    done = admin("stream", "hello", "--max-tokens", "2", TOKENGRPC_TOKEN=key.strip())
    assert done.returncode == 0, done.stderr
    admin.made("tenants", "update", "acme", "--max-generations", "1", "--clear", "budgets")
    tenant = json.loads(admin.made("tenants", "show", "acme", "--json"))["tenant"]
    assert tenant["max_generations"] == 1
    assert "budgets" not in tenant
    header, acme, _ = admin.made("tenants", "list").splitlines()
    assert header.split()[:2] == ["tenant", "models"]
    assert acme.split()[:3] == ["acme", "all", "interactive"]
    assert admin.made("tenants", "delete", "acme") == "deleted acme\n"
    refused = admin("stream", "hello", TOKENGRPC_TOKEN=key.strip())
    assert refused.stderr.startswith("error: UNAUTHENTICATED: the key is unknown, expired or revoked")
    actions = [json.loads(line) for line in admin.made("tenants", "audit", "--json").splitlines()]
    assert [entry["action"] for entry in actions if entry["tenant"] == "acme"] == [
        "DeleteTenant",
        "UpdateTenant",
        "CreateApiKey",
        "CreateTenant",
    ]
    assert not any(key.strip() in json.dumps(entry) for entry in actions)


def test_a_leaked_key_is_found_and_revoked(admin: Admin) -> None:
    """By its beginning. The list does not have the key itself."""
    admin.made("tenants", "create", "leaky")
    key = admin.made("keys", "create", "leaky", "--scope", "generate").strip()
    listed = admin.made("keys", "list", "--prefix", key, "--json")
    assert key not in listed
    mistaken = admin("keys", "revoke", key)
    assert mistaken.returncode == 2
    assert key not in mistaken.stderr
    (found,) = map(json.loads, listed.splitlines())
    assert admin.made("keys", "revoke", found["id"]) == f"revoked {found['prefix']}… of leaky\n"
    assert "revoked" in admin.made("keys", "list", "--tenant", "leaky")
    assert admin("models", TOKENGRPC_TOKEN=key).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tenants", "create", "x", "--budget", "5euro"), "must be such as 5EUR/month"),
        (("tenants", "create", "x", "--budget", "1.5tokens/day"), "must be such as 5EUR/month"),
        (("tenants", "create", "x", "--budget", "9999999999999EUR/day"), "has a number that is too large"),
        (("tenants", "create", "x", "--model-limit", "m:speed=2"), "must be such as large:generations=2"),
        (("tenants", "create", "x", "--priority-ceiling", "high"), "interactive, standard or batch"),
        (("tenants", "update", "x"), "nothing is to be changed"),
        (("tenants", "update", "x", "--clear", "name"), "must be one of: models, model-limits, budgets"),
        (("tenants", "update", "x", "--clear", "models", "--model", "m"), "leave one of them out"),
        (("keys", "create", "x", "--scope", "root"), "generate, read_usage or admin"),
        (("keys", "create", "x", "--expires", "soon"), "must be a time such as"),
        (("tenants", "show", "nobody"), "NOT_FOUND TENANT_NOT_FOUND: there is no tenant `nobody`"),
        (("tenants", "create", "a b"), "INVALID_ARGUMENT INVALID_REQUEST: tenant.name"),
        (("keys", "revoke", "nothing"), "NOT_FOUND API_KEY_NOT_FOUND"),
        (("keys", "revoke", "tg_1234abcdEFGH"), "with `tokengrpc keys list --prefix tg_1234abcd`."),
    ],
)
def test_errors_are_one_line(admin: Admin, arguments: tuple[str, ...], message: str) -> None:
    """What is wrong, and what to write instead."""
    done = admin(*arguments)
    (line,) = done.stderr.splitlines()
    assert done.returncode in {1, 2}
    assert line.startswith("error: ")
    assert message in line


def test_bootstrap_makes_the_first_key_alone(tmp_path: Path) -> None:
    """A second one needs --force, a static tenant cannot have one, and a server may not take it yet."""
    where = {"TOKENGRPC_DATA_DIR": str(tmp_path / "new"), **DATABASE}
    assert KEY.fullmatch(tokengrpc("keys", "bootstrap", **where).stdout)
    again = tokengrpc("keys", "bootstrap", **where)
    assert (again.returncode, again.stdout) == (2, "")
    assert re.fullmatch(r"error: keys: there is an admin key already, tg_\w{8}…: .* --force\n", again.stderr)
    forced = tokengrpc("keys", "bootstrap", "--force", "--tenant", "ops", **where)
    assert KEY.fullmatch(forced.stdout)
    without = tokengrpc("keys", "bootstrap", **DATABASE)
    assert "has no database" in without.stderr
    quiet = tokengrpc("keys", "bootstrap", TOKENGRPC_DATA_DIR=str(tmp_path / "other"))
    assert "no server takes it until its authenticator names database" in quiet.stderr
    (tmp_path / "settings.toml").write_text('[[tenants]]\nname = "admin"\n')
    static = tokengrpc("keys", "bootstrap", "--config", str(tmp_path / "settings.toml"), **where)
    assert "is a tenant of the settings" in static.stderr


def test_a_server_without_tenants_says_what_it_needs(tmp_path: Path) -> None:
    """Instead of the bare code."""
    with serving("--data-dir", str(tmp_path)) as server:
        done = server("tenants", "list")
    assert done.returncode == 1
    assert done.stderr.startswith("error: UNIMPLEMENTED: this server has no database of tenants")
