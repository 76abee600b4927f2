"""Builds what deploy/Containerfile says, without a container engine."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from tests.support.containerfile import Copy, Run
from tests.support.containers import Spec
from tests.support.image_bases import base
from tests.support.machine_network import environment, volumes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.containerfile import Stage


class ImageBuild:
    """Roots of stages below `folder`. `bases` keeps base images, and `context` has the files to copy."""

    def __init__(self, folder: Path, bases: Path, context: Path) -> None:
        self._folder = folder
        self._bases = bases
        self._context = context
        self._roots: dict[str, Path] = {}

    def build(self, stages: list[Stage]) -> Path:
        """Builds all stages. Returns the root of the last one."""
        for number, stage in enumerate(stages):
            root = self._folder / f"{number}-{stage.name or 'image'}"
            subprocess.run(["cp", "-a", base(stage.base, self._bases), root], check=True)
            self._roots[stage.name] = root
            for step in stage.steps:
                match step:
                    case Run():
                        self._run(root, step)
                    case Copy():
                        self._copy(root, step)
        return root

    def _run(self, root: Path, step: Run) -> None:
        command = step.command if isinstance(step.command, list) else ["/bin/sh", "-c", step.command]
        (root / step.folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
        spec = Spec(
            root=root,
            command=command,
            user=step.user,
            folder=step.folder,
            environment=dict(step.environment) | ({} if step.offline else environment()),
            volumes=[] if step.offline else volumes(),
            read_only=False,
            offline=step.offline,
        )
        code = spec.start().wait()
        assert code == 0, f"exit code {code}: {command}"

    def _copy(self, root: Path, step: Copy) -> None:
        origin = self._roots[step.stage] if step.stage else self._context
        target = root / step.target.lstrip("/")
        into = step.target.endswith("/") or len(step.sources) > 1
        (target if into else target.parent).mkdir(parents=True, exist_ok=True)
        owner, _, group = step.owner.partition(":")
        for source in (origin / source.lstrip("/") for source in step.sources):
            copied = target / source.name if into else target
            if source.is_dir():
                ignored = None if step.stage else shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, copied, symlinks=True, ignore=ignored, dirs_exist_ok=True)
            else:
                shutil.copy2(source, copied)
            subprocess.run(
                ["chown", "--recursive", "--no-dereference", f"{owner}:{group}", copied], check=True
            )
