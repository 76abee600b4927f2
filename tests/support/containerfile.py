"""Reads a Containerfile: its stages, and what the last one tells a container engine.

It knows the instructions and forms that deploy/Containerfile uses, and refuses all others.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_OPTION = re.compile(r"--(?P<name>[a-z-]+)=(?P<value>\S+)\s+")
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)\}|\$")
# Which options an instruction has.
_OPTIONS = {
    "RUN": {"network"},
    "COPY": {"from", "chown"},
    "HEALTHCHECK": {"interval", "timeout", "start-period", "retries"},
}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A command to run: a shell's text, or words."""

    command: str | list[str]
    user: str
    folder: str
    environment: Mapping[str, str]
    """With the build arguments."""
    offline: bool


@dataclass(frozen=True, kw_only=True)
class Copy:
    """Files to copy. The target names a folder if it ends with a slash, or if there are several sources."""

    sources: list[str]
    target: str
    stage: str
    """The stage that has the sources; empty for the build context."""
    owner: str


@dataclass(kw_only=True)
class Config:
    """What an image tells a container engine."""

    environment: dict[str, str] = field(default_factory=dict)
    user: str = "0"
    folder: str = "/"
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_check: list[str] = field(default_factory=list)
    health_options: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    ports: list[int] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class Stage:
    """An image that is built."""

    name: str
    base: str
    steps: list[Run | Copy] = field(default_factory=list)
    config: Config = field(default_factory=Config)


class Parser:
    """Reads instructions one after another. `given` are the values of build arguments."""

    def __init__(self, given: Mapping[str, str], environments: Mapping[str, Mapping[str, str]]) -> None:
        self.stages: list[Stage] = []
        self._given = given
        self._environments = environments
        self._global: dict[str, str] = {}
        self._arguments: dict[str, str] = {}

    @property
    def _config(self) -> Config:
        return self.stages[-1].config

    def read(self, name: str, text: str) -> None:
        """Reads one instruction. Raises ValueError if it is not known."""
        options: dict[str, str] = {}
        while match := _OPTION.match(text):
            options[match["name"]] = self._fill(match["value"])
            text = text[match.end() :]
        reader = getattr(self, f"read_{name.lower()}", None)
        if reader is None or not options.keys() <= _OPTIONS.get(name, set()) or text.startswith("--"):
            raise ValueError(f"unknown instruction: {name} {text}")
        reader(text, **{key.replace("-", "_"): value for key, value in options.items()})

    def read_from(self, text: str) -> None:
        """FROM: begins a stage."""
        base, *named = _filled(text, self._global).split()
        if named and named[0] != "AS":
            raise ValueError(f"FROM: {text}")
        stage = Stage(name=named[1] if named else "", base=base)
        image = base.partition("@")[0]
        stage.config.environment = dict(self._environments.get(image, {}))
        self.stages.append(stage)
        self._arguments = {}

    def read_arg(self, text: str) -> None:
        """ARG: before the first stage, one that FROM may use; a stage has to name it again."""
        name, _, default = text.partition("=")
        if not self.stages:
            self._global[name] = self._given.get(name, default)
        else:
            self._arguments[name] = self._given.get(name, self._fill(default) or self._global.get(name, ""))

    def read_env(self, text: str) -> None:
        """ENV: variables of later commands, and of the container."""
        self._config.environment |= self._assignments(text)

    def read_label(self, text: str) -> None:
        """LABEL: metadata."""
        self._config.labels |= self._assignments(text)

    def read_run(self, text: str, network: str = "default") -> None:
        """RUN: a shell's text, or words as JSON."""
        config = self._config
        command = json.loads(text) if text.startswith("[") else text
        environment = config.environment | self._arguments
        self.stages[-1].steps.append(
            Run(
                command=command,
                user=config.user,
                folder=config.folder,
                environment=environment,
                offline=network == "none",
            )
        )

    def read_copy(self, text: str, **options: str) -> None:
        """COPY: from the context or from another stage."""
        *sources, target = (self._fill(word) for word in shlex.split(text))
        if not target.startswith("/"):
            target = f"{self._config.folder.rstrip('/')}/{target.removeprefix('./')}"
        self.stages[-1].steps.append(
            Copy(
                sources=sources,
                target=target,
                stage=options.get("from", ""),
                owner=options.get("chown", "0:0"),
            )
        )

    def read_user(self, text: str) -> None:
        """USER: of later commands, and of the container."""
        self._config.user = text

    def read_workdir(self, text: str) -> None:
        """WORKDIR: absolute."""
        self._config.folder = text

    def read_expose(self, text: str) -> None:
        """EXPOSE: ports."""
        self._config.ports += map(int, text.split())

    def read_stopsignal(self, text: str) -> None:
        """STOPSIGNAL: a signal's name."""
        self._config.stop_signal = text

    def read_healthcheck(self, text: str, **options: str) -> None:
        """HEALTHCHECK: words as JSON, after CMD."""
        name, _, words = text.partition(" ")
        if name != "CMD":
            raise ValueError(f"HEALTHCHECK {text}")
        self._config.health_check, self._config.health_options = json.loads(words), options

    def read_entrypoint(self, text: str) -> None:
        """ENTRYPOINT: words as JSON, so that no shell is process 1."""
        self._config.entrypoint = json.loads(text)

    def read_cmd(self, text: str) -> None:
        """CMD: words as JSON."""
        self._config.command = json.loads(text)

    def _assignments(self, text: str) -> dict[str, str]:
        return dict(self._fill(word).split("=", 1) for word in shlex.split(text))

    def _fill(self, text: str) -> str:
        return _filled(text, self._arguments | self._config.environment if self.stages else self._global)


def _filled(text: str, variables: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: variables[match["name"]], text)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yields the name of each instruction and what follows it, with continued lines joined."""
    lines = deque(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    while lines:
        line = lines.popleft()
        while line.endswith("\\"):
            line = f"{line[:-1].rstrip()} {lines.popleft().strip()}"
        name, _, rest = line.partition(" ")
        yield name, rest.strip()


def parse(
    text: str, arguments: Mapping[str, str], environments: Mapping[str, Mapping[str, str]]
) -> list[Stage]:
    """Returns the stages of a Containerfile.

    `arguments` are build arguments, and `environments` the variables that base images set. Raises ValueError
    for an instruction that is not known, KeyError for a variable that is not set.
    """
    parser = Parser(arguments, environments)
    for name, rest in instructions(text):
        parser.read(name, rest)
    return parser.stages
