"""Builds the documentation site: collects its pages, then runs Zensical on them.

The pages are those in docs/, some files from outside (`links.PAGES`), and the reference of the contract.
Broken links and pages that are not in the navigation fail the build.
`python -m tools.site.build FOLDER` makes FOLDER/site.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.site import links, reference
from tools.site.links import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
REPOSITORY = "https://github.com/tokengrpc/tokengrpc"


def main(folder: Path) -> int:
    """Builds the site. Returns the exit code."""
    contract = reference.make()
    try:
        pages = {page: links.rewrite(text, source, page, REPOSITORY) for page, source, text in sources()}
    except links.MissingFile as missing:
        print(f"error: {missing}: correct the link", file=sys.stderr)
        return 1
    pages |= {f"reference/{page}": text for page, text in contract.pages().items()}
    nav = navigation(contract)
    if wrong := differences(pages, nav):
        print("\n".join(wrong), file=sys.stderr)
        return 1
    write(folder, pages, nav)
    return zensical(folder)


def sources() -> Iterator[tuple[str, str, str]]:
    """Yields each page, its file in the repository, and the text."""
    for file in sorted(ROOT.glob("docs/**/*.md")):
        source = file.relative_to(ROOT).as_posix()
        yield links.page_of(source) or "", source, file.read_text(encoding="utf-8")
    for source, page in links.PAGES.items():
        yield page, source, (ROOT / source).read_text(encoding="utf-8")


def navigation(contract: reference.Reference) -> list[Any]:
    """Returns the navigation, with the reference, and with the decisions in the order of their index."""
    nav: list[Any] = tomllib.loads((HERE / "nav.toml").read_text(encoding="utf-8"))["nav"]
    kinds = [{title: [f"reference/{page}" for page in pages]} for title, pages in contract.sections().items()]
    of_contract = next(entry["Contract"] for entry in nav if "Contract" in entry)
    of_contract.append({"Reference": ["reference/index.md", *kinds]})
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| \[(.+?)\]\(\1\)", index, re.MULTILINE)
    nav.append({"Decisions": ["decisions/index.md", *(f"decisions/{name}" for name in names)]})
    return nav


def differences(pages: Mapping[str, str], nav: list[Any]) -> list[str]:
    """Returns an error for each page that the navigation lacks or repeats, and each entry that is none."""
    named = Counter(_named(nav))
    where = "tools/site/nav.toml"
    return [
        *(f"error: no section of {where} has {page}: add it" for page in pages if page not in named),
        *(f"error: {where} has {page} more than once" for page, count in named.items() if count > 1),
        *(f"error: there is no {page}, which {where} names" for page in named if page not in pages),
    ]


def write(folder: Path, pages: Mapping[str, str], nav: list[Any]) -> None:
    """Writes the sources of the site into a folder, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for page, text in pages.items():
        path = folder / "pages" / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    shutil.copytree(
        ROOT / "docs", folder / "pages", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.md")
    )
    settings = (HERE / "zensical.toml").read_text(encoding="utf-8")
    settings = settings.replace("[project]\n", f"[project]\nnav = {_toml(nav)}\n", 1)
    (folder / "zensical.toml").write_text(settings, encoding="utf-8")


def zensical(folder: Path) -> int:
    """Makes a site of the sources in a folder. Returns the exit code."""
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    return subprocess.run(command, cwd=folder, check=False).returncode


def _named(nav: Any) -> Iterator[str]:  # noqa: ANN401 - lists, tables and strings
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _named(entry)


def _toml(value: Any) -> str:  # noqa: ANN401 - as above
    """Returns a value in one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(entry)}" for key, entry in value.items()) + "}"
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else json.dumps(value)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
