"""deploy/Containerfile and tools/dist/image.sh, as text: what must hold before anything is built."""

from __future__ import annotations

import re
import subprocess
import tomllib
from datetime import UTC, datetime
from fnmatch import fnmatch

import pytest

from tests.support.containerfile import Copy, Run, parse
from tests.support.image import CONTAINERFILE, engine_arguments, stages
from tests.support.image_bases import ENVIRONMENTS
from tests.support.paths import ROOT
from tests.support.versions import VERSION

BUILDER, IMAGE = stages()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DIGEST = re.compile(r"[\w./:-]+@sha256:[0-9a-f]{64}")


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_base_images_are_pinned_by_digest():
    """By name, tag and digest."""
    for stage in (BUILDER, IMAGE):
        assert DIGEST.fullmatch(stage.base)
        assert stage.base.partition("@")[0] in ENVIRONMENTS


def test_the_settings_of_the_image():
    """No root, no shell, and the ports that the admin pages and the chart name."""
    config = IMAGE.config
    uid, gid = map(int, config.user.split(":"))
    assert min(uid, gid) > 10_000
    assert config.entrypoint == ["/opt/tokengrpc/bin/tokengrpc"]
    assert config.command == ["serve"]
    assert config.stop_signal == "SIGTERM"
    assert config.health_check[:2] == [*config.entrypoint, "probe"]
    listens = [value for name, value in config.environment.items() if name.endswith("_LISTEN")]
    assert [int(address.removeprefix("0.0.0.0:")) for address in listens] == config.ports


def test_the_image_does_not_allow_insecure_serving():
    """Whoever starts it without TLS and keys has to say so."""
    assert {name for name in IMAGE.config.environment if name.startswith("TOKENGRPC_")} == {
        "TOKENGRPC_LISTEN",
        "TOKENGRPC_ADMIN_LISTEN",
        "TOKENGRPC_ADMIN_GRPC_LISTEN",
    }


def test_labels_come_from_git():
    """So that a commit has the same labels whenever it is built."""
    committed = datetime.fromtimestamp(int(git("log", "-1", "--format=%ct")), UTC)
    labels = {
        name.removeprefix("org.opencontainers.image."): text for name, text in IMAGE.config.labels.items()
    }
    assert labels["version"] == VERSION
    assert labels["revision"].removesuffix("-dirty") == git("rev-parse", "HEAD")
    assert labels["created"] == committed.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert labels["base.name"] == IMAGE.base


def test_an_engine_builds_the_checkout():
    """With the version as the tag, and the root of the repository as the context."""
    words = engine_arguments()
    assert words[:3] == ["build", "--file", str(CONTAINERFILE.relative_to(ROOT))]
    assert words[words.index("--tag") + 1] == f"tokengrpc:{VERSION}"
    assert words[-1] == "."


def test_the_context_has_what_is_copied():
    """An engine leaves out what the ignore files name. Docker and Podman each read their own."""
    rules = (ROOT / ".containerignore").read_text().splitlines()
    assert rules == (ROOT / "deploy/Containerfile.dockerignore").read_text().splitlines()
    kept = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}
    copied = {source for step in BUILDER.steps if isinstance(step, Copy) for source in step.sources}
    assert copied == kept
    assert kept >= set(PROJECT["license-files"])
    assert all((ROOT / path).exists() for path in kept)
    assert any(fnmatch("tokengrpc/__pycache__", rule) for rule in rules)


def test_packages_have_the_checked_versions_and_are_not_compiled():
    """All that pip installs is constrained; the image's own packages come as wheels."""
    installs = [
        command
        for step in BUILDER.steps
        if isinstance(step, Run) and isinstance(step.command, str)
        for command in step.command.split("&&")
        if " install " in command and "apt-get" not in command
    ]
    assert len(installs) == 2
    assert all("--constraint constraints.txt" in command for command in installs)
    assert "--only-binary :all:" in installs[1]


def test_the_image_has_all_that_a_server_can_use():
    """It installs an extra that names every extra on top of `server`, except those for development."""
    extras = PROJECT["optional-dependencies"]
    (extra,) = re.findall(r"^ARG EXTRA=(\w+)$", CONTAINERFILE.read_text(), re.MULTILINE)
    (named,) = extras[extra]
    others = extras.keys() - {extra, "cli", "server", "bench", "browsers", "dev", "docs", "fuzz"}
    assert named == f"tokengrpc[{','.join(sorted(others))}]"


@pytest.mark.parametrize("line", ["ADD a b", "COPY --link a b", "RUN --mount=type=cache true"])
def test_unknown_instructions_are_refused(line):
    """The tests' own builder must not leave out what an engine would do."""
    with pytest.raises(ValueError, match="unknown"):
        parse(f"FROM scratch\n{line}\n", {}, {})
