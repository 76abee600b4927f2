"""A root for containers that shows this machine's programs and this checkout, read-only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT

_SYSTEM: Final = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ld.so.cache")


def make_root(folder: Path, environment: str) -> list[tuple[str, str, bool]]:
    """Makes an empty root, in which the virtual environment of the tests stands in for `environment`.

    Returns the volumes to mount on it.
    """
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    volumes = [(sys.prefix, environment, True)]
    for path in dict.fromkeys((*_SYSTEM, sys.base_prefix, str(ROOT))):
        if Path(path).is_symlink():
            (folder / path.lstrip("/")).symlink_to(Path(path).readlink())
        elif Path(path).exists():
            volumes.append((path, path, True))
    return volumes
