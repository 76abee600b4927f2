"""Generates the stubs into a temporary folder and compares them with the committed ones.

Without the generators of Go, Java and TypeScript, only Python's stubs are compared, unless
TOKENGRPC_REQUIRE_ALL=1.
"""

import filecmp
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMMITTED = ROOT / "generated"
MARK = "  # What follows needs the generators"
ROOTS = ("python", "go/tokenstreaming", "java/src", "typescript/src")
"""The generated folders. Files beside them make each folder a module of its ecosystem."""


def files(folder: Path) -> set[Path]:
    found = (path for root in ROOTS for path in (folder / root).rglob("*") if path.is_file())
    return {path.relative_to(folder) for path in found if "__pycache__" not in path.parts}


def main() -> int:
    template = (ROOT / "buf.gen.yaml").read_text()
    everything = (ROOT / ".tools" / "stamp").exists()
    if not everything:
        if os.environ.get("TOKENGRPC_REQUIRE_ALL") == "1":
            print("error: the generators are missing: run make generators", file=sys.stderr)
            return 1
        print("note: only Python's stubs are compared; make generators installs the others' generators")
        template = template.split(MARK)[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "buf.gen.yaml").write_text(template)
        for path in (Path(folder, "buf.gen.yaml"), ROOT / "buf.gen.third_party.yaml"):
            command = ["buf", "generate", "--template", str(path), "--output", folder]
            subprocess.run(command, cwd=ROOT, check=True)
        fresh = Path(folder, "generated")
        committed = files(COMMITTED)
        if not everything:
            committed = {path for path in committed if path.parts[0] == "python"}
        stale = sorted(files(fresh) ^ committed)
        stale += [
            path
            for path in sorted(files(fresh) & committed)
            if not filecmp.cmp(fresh / path, COMMITTED / path, shallow=False)
        ]
    for path in stale:
        print(
            f"error: generated/{path} is not what the .proto files give: run make generate", file=sys.stderr
        )
    return 1 if stale else 0


sys.exit(main())
