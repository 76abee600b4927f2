"""Records a stream in a file for the replay engine: lines of JSON, each with its time."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Self

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from tokenstreaming.v1.token_stream_pb2 import StreamTokensResponse

    from tokengrpc.client import TokenStreamError

# Version of the file format, which `tokengrpc/engines/replay/recording.py` reads.
VERSION = 1


class Recorder:
    """Recording in progress. Times are in seconds since the recorder was created, just before the call."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        """Creates the file. Raises BadParameter if it exists or cannot be created."""
        try:
            # Mode "x" never overwrites an existing recording.
            self._file = path.open("x", encoding="utf-8")
        except FileExistsError:
            raise typer.BadParameter(f"{path} exists; name another file", param_hint="--record") from None
        except OSError as error:
            raise typer.BadParameter(
                f"{path} cannot be written: {error.strerror}", param_hint="--record"
            ) from None
        self._begin = time.monotonic()
        self._finished = False
        self._write({"transcript": VERSION, **header})

    def record_message(self, message: StreamTokensResponse) -> None:
        """Writes a message."""
        from google.protobuf.json_format import MessageToDict  # noqa: PLC0415 - slow import, as in cli.output

        self._finished = self._finished or message.HasField("finished")
        self._write_timed({"message": MessageToDict(message, preserving_proto_field_name=True)})

    def record_failure(self, error: TokenStreamError) -> None:
        """Writes the error of a failed call, unless a `finished` event was recorded."""
        if not self._finished:
            self._write_timed(
                {"failure": {"reason": error.reason or error.code.name, "message": error.message}}
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _write_timed(self, line: dict[str, Any]) -> None:
        self._write({"at": round(time.monotonic() - self._begin, 6), **line})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
