"""Builds the Go modules of this checkout into dist/go, a tree for GOPROXY (https://go.dev/ref/mod#goproxy-protocol).

A module's zip has the files that `go` itself takes from the version's tag, LICENSE included, so it has the
same checksum. Uncommitted changes of tracked files are included.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIST = ROOT / "dist/go"
MODULES = ("generated/go", "clients/go")
REPOSITORY = "github.com/tokengrpc/tokengrpc"


def git(*arguments: str) -> str:
    """Runs git at the top of the repository. Returns its output."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def files(module: str) -> dict[str, Path]:
    """Returns the module's files by their names in it."""
    paths = [ROOT / name for name in git("ls-files", "-z", module).split("\0") if name]
    nested = [path.parent for path in paths if path.name == "go.mod" and path.parent != ROOT / module]
    own = [path for path in paths if path.is_file() and not any(folder in path.parents for folder in nested)]
    return {"LICENSE": ROOT / "LICENSE"} | {str(path.relative_to(ROOT / module)): path for path in own}


def check_requirements(module: str, version: str) -> None:
    """Ends the program if a module requires another version of ours than the one that is being built."""
    text = (ROOT / module / "go.mod").read_text(encoding="utf-8")
    for path, wanted in re.findall(rf"^\s*(?:require )?({REPOSITORY}/\S+) (v\S+)$", text, re.MULTILINE):
        if wanted != version:
            sys.exit(f"error: {module}/go.mod requires {path} {wanted}, but this is {version}: change it")


def main() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = "v" + tomllib.load(file)["project"]["version"]
    time = datetime.fromtimestamp(int(git("log", "-1", "--format=%ct")), UTC)
    shutil.rmtree(DIST, ignore_errors=True)
    for module in MODULES:
        check_requirements(module, version)
        folder = DIST / REPOSITORY / module / "@v"
        folder.mkdir(parents=True)
        info = {"Version": version, "Time": time.strftime("%Y-%m-%dT%H:%M:%SZ")}
        (folder / "list").write_text(f"{version}\n", encoding="utf-8")
        (folder / f"{version}.info").write_text(json.dumps(info), encoding="utf-8")
        shutil.copyfile(ROOT / module / "go.mod", folder / f"{version}.mod")
        with zipfile.ZipFile(folder / f"{version}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, path in sorted(files(module).items()):
                # Without the files' times, so that another build gives the same bytes.
                entry = zipfile.ZipInfo(f"{REPOSITORY}/{module}@{version}/{name}")
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
        print(f"{REPOSITORY}/{module}@{version}")


main()
