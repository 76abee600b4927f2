"""Runs the programs grpcurl and grpc-health-probe."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.shown_calls import messages
from tests.support.toolchains import for_running, go_program

SERVICE = "tokenstreaming.v1.TokenStream"


class Answer:
    """The exit code and output of a run."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.exit_code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def messages(self) -> list[Any]:
        """The JSON messages of the output."""
        return messages(self.out)

    @property
    def status(self) -> Any:
        """The error as JSON. The run must have used `-format-error`."""
        return json.loads(self.err)

    def detail(self, name: str) -> Any:
        """Returns the error detail of this type."""
        (found,) = [detail for detail in self.status["details"] if detail["@type"].endswith(f"/{name}")]
        return found


def run(program: str, *words: str) -> Answer:
    """Runs a program with these arguments."""
    done = subprocess.run(
        [str(go_program(program)), *words],
        env=for_running(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Answer(done)


def grpcurl(*words: str) -> Answer:
    """Runs grpcurl with these arguments."""
    return run("grpcurl", *words)


def call(target: str, method: str, *options: str, **fields: Any) -> Answer:
    """Calls a method of TokenStream. `fields` are the request's."""
    request = ("-d", json.dumps(fields))
    return grpcurl("-plaintext", "-format-error", *options, *request, target, f"{SERVICE}/{method}")
