"""The contract's descriptors, as buf builds them, and the comments of their elements."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    Member = FieldDescriptorProto | MethodDescriptorProto | EnumValueDescriptorProto
    Described = DescriptorProto | EnumDescriptorProto | ServiceDescriptorProto

ROOT = Path(__file__).parents[2]

# Numbers of the fields in descriptor.proto, of which the paths of comments consist.
SYNTAX = 12
SERVICES, MESSAGES, ENUMS = 6, 4, 5
NESTED_MESSAGES, NESTED_ENUMS = 3, 4
MEMBERS = 2
"""Fields of a message, methods of a service, and values of an enum alike."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """A service, message or enum of a file. `name` has the names of the messages around it, with dots."""

    file: FileDescriptorProto
    name: str
    path: tuple[int, ...]
    described: Described

    @property
    def full_name(self) -> str:
        """The name with that of its package."""
        return f"{self.file.package}.{self.name}"


def contract(folder: Path = ROOT / "protos") -> list[FileDescriptorProto]:
    """Returns the files of a folder, with their comments, in order of their names."""
    command = ["buf", "build", str(folder), "--as-file-descriptor-set", "--exclude-imports", "--output", "-"]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    return sorted(FileDescriptorSet.FromString(built.stdout).file, key=lambda file: file.name)


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Yields all elements of a file, nested ones after the message that contains them."""
    for number, service in enumerate(file.service):
        yield Element(file=file, name=service.name, path=(SERVICES, number), described=service)
    for number, message in enumerate(file.message_type):
        yield from _message(file, "", (MESSAGES, number), message)
    for number, enum in enumerate(file.enum_type):
        yield Element(file=file, name=enum.name, path=(ENUMS, number), described=enum)


def _message(
    file: FileDescriptorProto, prefix: str, path: tuple[int, ...], message: DescriptorProto
) -> Iterator[Element]:
    if message.options.map_entry:
        return
    name = prefix + message.name
    yield Element(file=file, name=name, path=path, described=message)
    for number, nested in enumerate(message.nested_type):
        yield from _message(file, f"{name}.", (*path, NESTED_MESSAGES, number), nested)
    for number, enum in enumerate(message.enum_type):
        where = (*path, NESTED_ENUMS, number)
        yield Element(file=file, name=f"{name}.{enum.name}", path=where, described=enum)


def comment(file: FileDescriptorProto, *path: int) -> str:
    """Returns the comment of the element at a path, without what it says to linters."""
    for location in file.source_code_info.location:
        if tuple(location.path) == path:
            lines = (line.removeprefix(" ") for line in location.leading_comments.splitlines())
            return "\n".join(line for line in lines if not line.startswith("buf:lint:ignore")).strip()
    return ""
