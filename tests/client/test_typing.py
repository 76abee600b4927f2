"""Types that a user of the installed package sees, messages of the contract included."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

USER = """
from tokenstreaming.v1.token_stream_pb2 import StreamTokensRequest
from tokengrpc import TokenStreamClient

reveal_type(StreamTokensRequest(prompt="hello").prompt)
reveal_type(TokenStreamClient("host:1").stream("hello").usage.output_token_count)
StreamTokensRequest(promt="hello")
"""


def test_mypy_knows_the_types_of_messages(tmp_path: Path) -> None:
    """In a project outside this repository, mypy infers fields and finds a misspelled one."""
    (tmp_path / "user.py").write_text(USER)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "user.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert 'Revealed type is "str"' in done.stdout
    assert 'Revealed type is "int"' in done.stdout
    assert 'did you mean "prompt"?' in done.stdout
    assert "Found 1 error in 1 file" in done.stdout
