"""The documentation site: all pages, anchors as on GitHub, and nothing that browsers fetch elsewhere."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from tokenstreaming.v1 import (
    generation_pb2,
    input_pb2,
    model_pb2,
    token_stream_pb2,
    usage_pb2,
    usage_service_pb2,
)

from tests.support.paths import ROOT
from tools.site import build, descriptors, links
from tools.site.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path

FILES = (generation_pb2, input_pb2, model_pb2, token_stream_pb2, usage_pb2, usage_service_pb2)
DEPRECATED_PROTO = """
syntax = "proto3";
package p;
// Does old things.
service Old { option deprecated = true; rpc Do(Request) returns (stream Request); }
// A request. See KIND_FIRST.
message Request {
  // Not read | at all.
  string gone = 1 [deprecated = true];
  map<string, Nested> parts = 7;
  oneof choice { int32 number = 9; }
  optional bool maybe = 10;
  message Nested { Kind kind = 1; }
}
enum Kind { KIND_UNSPECIFIED = 0; KIND_FIRST = 1 [deprecated = true]; }
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as by `make docs`."""
    folder = tmp_path_factory.mktemp("docs")
    assert build.main(folder) == 0
    return folder / "site"


def pages(site: Path) -> dict[str, str]:
    return {str(path.relative_to(site)): path.read_text("utf-8") for path in site.glob("**/*.html")}


def anchor(heading: str) -> str:
    """Returns the anchor that GitHub creates for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_headings_have_the_anchors_of_github(site: Path) -> None:
    """So that a link with an anchor works at both places."""
    for source in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md"):
        text = re.sub(r"^```.*?^```", "", source.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        page = site / (source.relative_to(ROOT / "docs") if source.parent != ROOT else "index")
        page = page.with_name("index") if page.stem == "README" else page
        shown = page.with_suffix(".html").read_text(encoding="utf-8")
        for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
            assert f'id="{anchor(heading)}"' in shown, f"{source.name}: {heading}"


def test_images_are_a_part_of_the_site(site: Path) -> None:
    """Each image of a page."""
    for name, text in pages(site).items():
        for image in re.findall(r"<img\b[^>]*\bsrc=\"?([^\"\s>]+)", text):
            assert ((site / name).parent / image).is_file(), f"{name}: {image}"


def test_browsers_fetch_nothing_from_elsewhere(site: Path) -> None:
    """No script, style, font, image or frame. Diagrams would load a script, so there are none."""
    for name, text in pages(site).items():
        loaded = re.findall(
            r"<(?:script|img|iframe|source|video|link)\b[^>]*\b(?:src|href)=\"?([^\"\s>]+)", text
        )
        assert [url for url in loaded if re.match(r"([a-z]+:)?//", url)] == [], name
        assert 'class="mermaid"' not in text, name
    styles = "".join(path.read_text("utf-8") for path in site.glob("assets/**/*.css"))
    assert re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//[^)\"']*", styles) == []


def test_the_reference_shows_the_whole_contract(site: Path) -> None:
    """A page per service, message and enum, with an anchor for each method, field and value."""
    count = 0
    for descriptor in (module.DESCRIPTOR for module in FILES):
        members = {
            **{s.name: s.methods for s in descriptor.services_by_name.values()},
            **{m.name: m.fields for m in descriptor.message_types_by_name.values()},
            **{e.name: e.values for e in descriptor.enum_types_by_name.values()},
        }
        for name, named in members.items():
            shown = (site / f"reference/{name}.html").read_text(encoding="utf-8")
            assert [each.name for each in named if f'id="{each.name}"' not in shown] == []
            count += len(named)
    assert count > 200
    assert "reference/index.html" in (site / "contract.html").read_text(encoding="utf-8")


def test_comments_of_the_contract_can_be_searched(site: Path) -> None:
    """The index of the search is a part of the site."""
    index = (site / "search.json").read_text(encoding="utf-8")
    assert "Starts a generation and streams its events" in index
    assert "reference/TokenStream.html" in json.dumps(json.loads(index))


def test_types_and_deprecations_are_shown(tmp_path: Path) -> None:
    """Of services, fields and values; a map, a field of a oneof, a nested message; and links in comments."""
    (tmp_path / "old.proto").write_text(DEPRECATED_PROTO)
    shown = Reference(descriptors.contract(tmp_path)).pages()
    assert shown.keys() == {"index.md", "Old.md", "Request.md", "Request.Nested.md", "Kind.md"}
    assert "**Deprecated.**" in shown["Old.md"].split("| RPC")[0]
    assert "| [`Do`](#Do) | [Request](Request.md) → stream [Request](Request.md) |" in shown["Old.md"]
    request = shown["Request.md"]
    assert "A request. See [KIND_FIRST](Kind.md#KIND_FIRST)." in request
    assert "| 1 | [`gone`](#gone) (deprecated) | `string` |" in request
    assert "| 7 | [`parts`](#parts) | map of `string` to [Request.Nested](Request.Nested.md) |" in request
    assert "`int32`, number 9, one of `choice`" in request
    assert "`bool`, number 10, optional" in request
    assert "Used by: [Old.Do](Old.md#Do)" in request
    assert "| 1 | [`KIND_FIRST`](#KIND_FIRST) (deprecated) |" in shown["Kind.md"]


def test_links_lead_to_pages_or_to_the_repository() -> None:
    """A file that is no page is shown by the repository's host. Code stays as it is."""
    expected = {
        "[a](operations.md#stores)": "[a](operations.md#stores)",
        "[b](../README.md)": "[b](index.md)",
        "![c](images/overview.svg)": "![c](images/overview.svg)",
        "[c](../Makefile)": "[c](https://host/blob/main/Makefile)",
        "[d](../clients)": "[d](https://host/tree/main/clients)",
        "[e](https://x/y.md)": "[e](https://x/y.md)",
        "[f](#g)": "[f](#g)",
        "[h](../protos/tokenstreaming/v1/usage.proto)": "[h](reference/index.md#usageproto)",
        "`[i](../Makefile)`": "`[i](../Makefile)`",
        "```md\n[k](../Makefile)\n```": "```md\n[k](../Makefile)\n```",
    }
    text = links.rewrite("\n\n".join(expected), "docs/vllm.md", "vllm.md", "https://host")
    assert text.split("\n\n") == list(expected.values())
    with pytest.raises(links.MissingFile, match=r"docs/vllm.md: there is no docs/none.md, to which it links"):
        links.rewrite("[a](none.md)", "docs/vllm.md", "vllm.md", "https://host")


def test_a_page_outside_the_navigation_is_named() -> None:
    """And one that is in it twice, and an entry that is no page."""
    assert build.differences({"a.md": "", "b.md": ""}, [{"S": ["a.md", {"T": ["c.md", "a.md"]}]}]) == [
        "error: no section of tools/site/nav.toml has b.md: add it",
        "error: tools/site/nav.toml has a.md more than once",
        "error: there is no c.md, which tools/site/nav.toml names",
    ]


@pytest.mark.parametrize(("link", "good"), [("b.md#there", True), ("b.md#elsewhere", False), ("c.md", False)])
def test_a_broken_link_fails_the_build(tmp_path: Path, link: str, good: bool) -> None:
    """Also one to a heading that does not exist."""
    pages = {"a.md": f"# A\n\n[l]({link})\n", "b.md": "# B\n\n## There\n"}
    build.write(tmp_path, pages, [{"S": list(pages)}])
    assert (build.zensical(tmp_path) == 0) is good
