"""Installs plugins into a folder for a server's PYTHONPATH: modules, and metadata with entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def install(
    folder: Path,
    modules: Mapping[str, str],
    groups: Mapping[str, Mapping[str, str]],
    *,
    package: str = "plugins",
) -> Path:
    """Writes modules by file name, and entry points by group and name. Returns the folder."""
    for name, source in modules.items():
        (folder / name).write_text(source, encoding="utf-8")
    info = folder / f"{package}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    with (info / "entry_points.txt").open("w") as file:
        for group, names in groups.items():
            file.writelines([f"[{group}]\n", *(f"{name} = {target}\n" for name, target in names.items())])
    return folder
