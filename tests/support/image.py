"""The image of deploy/Containerfile, without a container engine: its files and its settings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from tests.support import containers
from tests.support.containerfile import parse
from tests.support.image_bases import ENVIRONMENTS
from tests.support.image_build import ImageBuild
from tests.support.machine_root import make_root
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from tests.support.containerfile import Config, Stage

CONTAINERFILE: Final = ROOT / "deploy/Containerfile"
# Settings with which the image serves without TLS and keys.
INSECURE: Final = {"TOKENGRPC_INSECURE": "true"}
_ENVIRONMENT: Final = "/opt/tokengrpc"
_BASES: Final = ROOT / ".tools/image"
# A container engine that only tells how it was called.
_ENGINE: Final = f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def engine_arguments() -> list[str]:
    """Returns the arguments with which tools/dist/image.sh calls a container engine."""
    with TemporaryDirectory() as folder:
        engine = Path(folder) / "engine"
        engine.write_text(_ENGINE, encoding="utf-8")
        engine.chmod(0o755)
        script = ROOT / "tools/dist/image.sh"
        variables = os.environ | {"CONTAINER_ENGINE": str(engine)}
        done = subprocess.run([script], env=variables, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


def build_arguments() -> dict[str, str]:
    """Returns the build arguments of tools/dist/image.sh."""
    words = engine_arguments()
    given = [words[place + 1] for place, word in enumerate(words) if word == "--build-arg"]
    return dict(word.split("=", 1) for word in given)


def stages() -> list[Stage]:
    """Returns the stages of the image, with the build arguments of tools/dist/image.sh."""
    return parse(CONTAINERFILE.read_text(encoding="utf-8"), build_arguments(), ENVIRONMENTS)


@dataclass(frozen=True, kw_only=True)
class Image:
    """Files and settings of an image."""

    root: Path
    config: Config
    volumes: list[tuple[str, str, bool]]
    """What to mount on the root so that it is whole."""

    def start(self, *arguments: str, **options: Any) -> AbstractContextManager[containers.Container]:
        """Starts a container, as `containers.starting()` does."""
        volumes = [*self.volumes, *options.pop("volumes", ())]
        return containers.starting(self.root, self.config, *arguments, volumes=volumes, **options)


def on_this_machine(folder: Path) -> Image:
    """Returns an image of the checkout and this machine's Python, with the settings of the real one."""
    return Image(root=folder, config=stages()[-1].config, volumes=make_root(folder, _ENVIRONMENT))


def built(folder: Path) -> Image:
    """Builds the image in some minutes. Base images are made once and kept below .tools."""
    found = stages()
    return Image(root=ImageBuild(folder, _BASES, ROOT).build(found), config=found[-1].config, volumes=[])
