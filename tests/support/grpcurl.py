"""grpcurl and grpc-health-probe themselves, as people run them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.shown_calls import messages
from tests.support.toolchains import for_running, go_program

SERVICE = "tokenstreaming.v1.TokenStream"


class Answer:
    """What a call of grpcurl gave."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.exit_code = done.returncode
        self.out = done.stdout
        self.err = done.stderr

    @property
    def messages(self) -> list[Any]:
        """Its messages."""
        return messages(self.out)

    @property
    def status(self) -> Any:
        """The error as JSON, where `-format-error` asked for it."""
        return json.loads(self.err)

    def detail(self, name: str) -> Any:
        """The error's detail of this type."""
        (found,) = [detail for detail in self.status["details"] if detail["@type"].endswith(f"/{name}")]
        return found


def run(program: str, *words: str) -> Answer:
    """Runs one of them with these words."""
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
    """Runs grpcurl."""
    return run("grpcurl", *words)


def call(target: str, method: str, *options: str, **fields: Any) -> Answer:
    """Calls a method of TokenStream with a request."""
    request = ("-d", json.dumps(fields))
    return grpcurl("-plaintext", "-format-error", *options, *request, target, f"{SERVICE}/{method}")
