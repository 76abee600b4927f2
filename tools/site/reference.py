"""The reference of the contract: a page per service, message and enum, made of their comments."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    MethodDescriptorProto,
)

from tools.site import descriptors
from tools.site.descriptors import MEMBERS, SYNTAX, Element, comment, elements

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor_pb2 import FileDescriptorProto

    from tools.site.descriptors import Member

KINDS = {"ServiceDescriptorProto": "service", "DescriptorProto": "message", "EnumDescriptorProto": "enum"}
SECTIONS = {"service": "Services", "message": "Messages", "enum": "Enums"}
DEPRECATED = "**Deprecated.**"

# A name in running text: several words in camel case, or the name of a value of an enum.
_NAME = re.compile(r"`[^`]*`|\b(?:[A-Z][a-z]+){2,}\b|\b[A-Z]+(?:_[A-Z]+)+\b")


class Reference:
    """Pages of the reference by their paths in a folder."""

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._files = list(files)
        self._elements = {each.full_name: each for file in self._files for each in elements(file)}
        self._targets = dict(self._anchors())
        self._uses = self._find_uses()

    def sections(self) -> dict[str, list[str]]:
        """Returns the pages of each kind, in order of their names."""
        found: dict[str, list[str]] = {title: [] for title in SECTIONS.values()}
        for element in sorted(self._elements.values(), key=lambda each: each.name):
            found[SECTIONS[kind_of(element)]].append(page_of(element))
        return found

    def pages(self) -> dict[str, str]:
        """Returns the Markdown of each page."""
        return {"index.md": self._index()} | {
            page_of(each): "\n".join(self._page(each)) + "\n" for each in self._elements.values()
        }

    def _anchors(self) -> Iterator[tuple[str, str]]:
        """Yields what text may name, and where that is: elements, methods, and values of enums."""
        for element in self._elements.values():
            yield element.name, page_of(element)
            if kind_of(element) != "message":
                for member in _members(element):
                    yield member.name, f"{page_of(element)}#{member.name}"

    def _find_uses(self) -> dict[str, set[str]]:
        uses: dict[str, set[str]] = {}
        for element in self._elements.values():
            if kind_of(element) == "enum":
                continue
            for member in _members(element):
                link = f"[{element.name}.{member.name}]({page_of(element)}#{member.name})"
                for used in _types_of(element, member):
                    uses.setdefault(used, set()).add(link)
        return uses

    def _index(self) -> str:
        lines = ["# Reference of the contract", ""]
        for file in self._files:
            name = PurePosixPath(file.name).name
            lines += [
                f"## {name}",
                "",
                self._prose(comment(file, SYNTAX)),
                "",
                "| Name | Kind | |",
                "|---|---|---|",
            ]
            for element in elements(file):
                first = re.split(r"(?<=[.:]) |\n\n", comment(file, *element.path).replace("\n", " "))[0]
                lines.append(
                    f"| [{element.name}]({page_of(element)}) | {kind_of(element)} | {_cell(first)} |"
                )
            lines.append("")
        return "\n".join(lines)

    def _page(self, element: Element) -> Iterator[str]:
        name = PurePosixPath(element.file.name).name
        yield f"# {element.name}\n"
        anchor = name.replace(".", "")
        yield f"{kind_of(element).capitalize()} `{element.full_name}`, in [{name}](index.md#{anchor})\n"
        if element.described.options.deprecated:
            yield f"{DEPRECATED}\n"
        yield self._prose(comment(element.file, *element.path)) + "\n"
        if members := _members(element):
            yield from self._table(element, members)
        for number, member in enumerate(members):
            yield f'## `{member.name}` {{ #{member.name} data-toc-label="{member.name}" }}\n'
            yield f"{self._signature(element, member)}\n"
            if member.options.deprecated:
                yield f"{DEPRECATED}\n"
            yield self._prose(comment(element.file, *element.path, MEMBERS, number)) + "\n"
        if uses := self._uses.get(element.full_name):
            yield f"Used by: {', '.join(sorted(uses))}\n"

    def _table(self, element: Element, members: list[Member]) -> Iterator[str]:
        kind = kind_of(element)
        titles = {"service": "RPC | Shape", "message": "Number | Field | Type", "enum": "Number | Value"}[
            kind
        ]
        yield f"| {titles} |\n|{'---|' * (titles.count('|') + 1)}"
        for member in members:
            link = f"[`{member.name}`](#{member.name})" + (
                " (deprecated)" if member.options.deprecated else ""
            )
            if isinstance(member, MethodDescriptorProto):
                yield f"| {link} | {self._signature(element, member)} |"
            elif isinstance(member, FieldDescriptorProto):
                yield f"| {member.number} | {link} | {self._type(element, member)} |"
            else:
                yield f"| {member.number} | {link} |"
        yield ""

    def _signature(self, element: Element, member: Member) -> str:
        if isinstance(member, MethodDescriptorProto):
            request, response = map(self._link, (member.input_type, member.output_type))
            sent, received = (
                "stream " if streaming else ""
                for streaming in (member.client_streaming, member.server_streaming)
            )
            return f"{sent}{request} → {received}{response}"
        if isinstance(member, FieldDescriptorProto):
            return f"{self._type(element, member)}, number {member.number}{_presence(element, member)}"
        return f"number {member.number}"

    def _type(self, element: Element, field: FieldDescriptorProto) -> str:
        entry = _map_entry(element, field)
        if entry is not None:
            key, value = entry.field
            return f"map of {self._scalar(key)} to {self._scalar(value)}"
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        return ("repeated " if repeated else "") + self._scalar(field)

    def _scalar(self, field: FieldDescriptorProto) -> str:
        if field.type_name:
            return self._link(field.type_name)
        return f"`{FieldDescriptorProto.Type.Name(field.type).removeprefix('TYPE_').lower()}`"

    def _link(self, type_name: str) -> str:
        name = type_name.removeprefix(".")
        element = self._elements.get(name)
        return f"[{element.name}]({page_of(element)})" if element else f"`{name}`"

    def _prose(self, text: str) -> str:
        """Returns a comment as Markdown, with links to what it names."""

        def linked(match: re.Match[str]) -> str:
            target = self._targets.get(match[0])
            return f"[{match[0]}]({target})" if target else match[0]

        return _NAME.sub(linked, text.replace("<", "&lt;"))


def page_of(element: Element) -> str:
    """Returns the path of an element's page."""
    return f"{element.name}.md"


def kind_of(element: Element) -> str:
    """Returns `service`, `message` or `enum`."""
    return KINDS[element.described.DESCRIPTOR.name]


def make() -> Reference:
    """Returns the reference of the contract as it stands."""
    return Reference(descriptors.contract())


def _members(element: Element) -> list[Member]:
    described = element.described
    if isinstance(described, DescriptorProto):
        return list(described.field)
    return list(described.value if isinstance(described, EnumDescriptorProto) else described.method)


def _types_of(element: Element, member: Member) -> list[str]:
    if isinstance(member, MethodDescriptorProto):
        return [member.input_type.removeprefix("."), member.output_type.removeprefix(".")]
    entry = _map_entry(element, member)
    return [(entry.field[1] if entry else member).type_name.removeprefix(".")]


def _map_entry(element: Element, field: FieldDescriptorProto) -> DescriptorProto | None:
    name = field.type_name.rpartition(".")[2]
    nested = (each for each in element.described.nested_type if each.name == name)
    return next((each for each in nested if each.options.map_entry), None)


def _presence(element: Element, field: FieldDescriptorProto) -> str:
    if field.proto3_optional:
        return ", optional"
    if field.HasField("oneof_index"):
        return f", one of `{element.described.oneof_decl[field.oneof_index].name}`"
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
