"""The version of the project, from the one place where it is set."""

from __future__ import annotations

import tomllib
from typing import Final

from tests.support.paths import ROOT

VERSION: Final[str] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
    "version"
]
