"""Generates the stubs into a temporary folder and compares them with the committed ones."""

import filecmp
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "generated"


def files(folder: Path) -> set[Path]:
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["buf", "generate", "--output", folder], cwd=ROOT, check=True)
        fresh = Path(folder, "generated")
        stale = sorted(files(fresh) ^ files(COMMITTED))
        stale += [
            path
            for path in sorted(files(fresh) & files(COMMITTED))
            if not filecmp.cmp(fresh / path, COMMITTED / path, shallow=False)
        ]
    for path in stale:
        print(f"error: generated/{path} is not what protos/ gives: run make generate", file=sys.stderr)
    return 1 if stale else 0


sys.exit(main())
