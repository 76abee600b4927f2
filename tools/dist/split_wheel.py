"""Splits the wheel of the whole package into `tokengrpc`, the client, and `tokengrpc-server`, the rest.

    python tools/dist/split_wheel.py tokengrpc-1.2.3-py3-none-any.whl FOLDER

The extras that include the server require `tokengrpc-server` of the same version. What that needs is in the
extras. The same wheel gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from collections import defaultdict
from pathlib import Path
from zipfile import ZipFile, ZipInfo

CLIENT = re.compile(
    r"tokenstreaming/.*|tokengrpc/((certificates|errors|escaping|extras|interfaces|__init__|__main__)\.py"
    # The core's says which extra is missing.
    r"|py\.typed|core/__init__\.py|(cli|client|testing)/.*)"
)
"""The files of the client and of the commands. Those that need the server say so when they are run."""

_REQUIREMENT = re.compile(r"Requires-Dist: (.*?)(?:; | and )\(?extra == '([\w-]+)'")


def split(whole: Path, folder: Path) -> None:
    """Writes both wheels into the folder."""
    with ZipFile(whole) as packed:
        (place,) = {name.partition("/")[0] for name in packed.namelist() if ".dist-info/" in name}
        files = {info: packed.read(info) for info in packed.infolist() if info.filename != f"{place}/RECORD"}
    version = place.removeprefix("tokengrpc-").removesuffix(".dist-info")
    for name in ("tokengrpc", "tokengrpc_server"):
        client = name == "tokengrpc"
        own_place = f"{name}-{version}.dist-info"
        with ZipFile(folder / whole.name.replace("tokengrpc", name, 1), "w") as packed:
            record = ""
            for info, content in files.items():
                inside = info.filename.removeprefix(f"{place}/")
                if inside == info.filename and bool(CLIENT.fullmatch(inside)) != client:
                    continue
                written = content
                if inside == "METADATA":
                    written = (_of_client if client else _of_server)(content.decode(), version).encode()
                if inside == "entry_points.txt":
                    written = _entry_points(content.decode(), client=client).encode()
                path = inside if inside == info.filename else f"{own_place}/{inside}"
                _write(packed, info, path, written)
                digest = base64.urlsafe_b64encode(hashlib.sha256(written).digest()).decode().rstrip("=")
                record += f"{path},sha256={digest},{len(written)}\n"
            path = f"{own_place}/RECORD"
            _write(packed, info, path, f"{record}{path},,\n".encode())


def _write(packed: ZipFile, like: ZipInfo, path: str, content: bytes) -> None:
    info = ZipInfo(path, like.date_time)
    info.compress_type, info.external_attr = like.compress_type, like.external_attr
    packed.writestr(info, content)


def _of_client(metadata: str, version: str) -> str:
    """Returns the metadata; each extra that includes the server requires `tokengrpc-server` in it."""
    requirements = defaultdict[str, set[str]](set)
    for requirement, extra in _REQUIREMENT.findall(metadata):
        requirements[extra].add(requirement)
    for extra, required in requirements.items():
        if required >= requirements["server"]:
            line = f"Provides-Extra: {extra}\n"
            metadata = metadata.replace(
                line, f"{line}Requires-Dist: tokengrpc-server=={version}; extra == '{extra}'\n", 1
            )
    return metadata


def _of_server(metadata: str, version: str) -> str:
    """Returns metadata for the server's files. What they need is in the extra of the client's wheel."""
    header = metadata.partition("\n\n")[0].splitlines()
    kept = [line for line in header if not line.startswith(("Provides-", "Requires-Dist", "Description"))]
    kept[kept.index("Name: tokengrpc")] = "Name: tokengrpc-server"
    return "\n".join(
        (
            *kept,
            f"Requires-Dist: tokengrpc[server]=={version}",
            "Description-Content-Type: text/markdown",
            "",
            "The server of [tokengrpc](https://github.com/tokengrpc/tokengrpc):",
            "`pip install 'tokengrpc[server]'`.",
            "",
        )
    )


def _entry_points(text: str, *, client: bool) -> str:
    """Returns the sections of one of the wheels: the command is the client's, plugins are the server's."""
    sections = re.split(r"\n(?=\[)", text)
    return "\n".join(section for section in sections if section.startswith("[console_scripts]") == client)


if __name__ == "__main__":
    split(Path(sys.argv[1]), Path(sys.argv[2]))
