"""Links between pages of the site, and to files of the repository that are no pages.

The sources link to each other as files of the repository, so that they work on GitHub. On the site, some of
these files are pages; all others are shown by the repository's host.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASE.md": "release.md",
    "SECURITY.md": "reporting.md",
    "bench/README.md": "bench.md",
    "bench/profile.md": "profile.md",
    "clients/go/README.md": "clients/go.md",
    "clients/java/README.md": "clients/java.md",
    "clients/typescript/README.md": "clients/typescript.md",
    "examples/browser_bridge/README.md": "examples/browser_bridge.md",
    "tests/README.md": "tests/harness.md",
    "tests/interop/CASES.md": "tests/cases.md",
    "tests/interop/README.md": "tests/interop.md",
}
"""Files outside docs/ that are pages of the site."""

CONTRACT = "protos/tokenstreaming/v1"
"""Folder whose files are shown in the reference."""
REFERENCE = "reference/index.md"

# Code keeps its brackets: fenced blocks, and code within a line.
_CODE = re.compile(r"^(`{3,}).*?^\1`*\s*?$|(`+)(?!`).*?(?<!`)\2(?!`)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class MissingFile(Exception):
    """A link names no file of the repository."""


def rewrite(markdown: str, source: str, page: str, repository: str) -> str:
    """Returns a page's text with links that work on the site.

    `source` is the page's file in the repository, `page` its path on the site, `repository` the URL under
    which the repository's files are shown. Raises MissingFile.
    """

    def linked(match: re.Match[str]) -> str:
        return f"]({target(match[1], source, page, repository)})"

    parts, end = [], 0
    for code in _CODE.finditer(markdown):
        parts += [_LINK.sub(linked, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, _LINK.sub(linked, markdown[end:])])


def page_of(file: str) -> str | None:
    """Returns the path on the site of a file of the repository; None if it is not a part of the site."""
    if file.startswith("docs/") and (ROOT / file).is_file():
        return file.removeprefix("docs/").replace("README.md", "index.md")
    return PAGES.get(file)


def target(link: str, source: str, page: str, repository: str) -> str:
    """Returns the target of a link on the site: another page, or a file as the repository's host shows it."""
    path, mark, fragment = link.partition("#")
    if not path or re.match(r"[a-z]+:", link):
        return link
    file = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
    if not (ROOT / file).exists():
        raise MissingFile(f"{source}: there is no {file}, to which it links")
    if file == CONTRACT or posixpath.dirname(file) == CONTRACT:
        name = "" if file == CONTRACT else "#" + posixpath.basename(file).replace(".", "")
        return _relative(REFERENCE, page) + name
    known = page_of(file)
    if known is None:
        kind = "tree" if (ROOT / file).is_dir() else "blob"
        return f"{repository}/{kind}/main/{file}{mark}{fragment}"
    return _relative(known, page) + mark + fragment


def _relative(to: str, page: str) -> str:
    return posixpath.relpath(to, posixpath.dirname(page) or ".")
