"""What a model's files say about its text: the vocabulary, and the chat template if there is one."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokengrpc.engines.vllm.chat_template import ChatTemplate
from tokengrpc.tokenizers.huggingface import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKENIZER = "tokenizer.json"
_CONFIG = "tokenizer_config.json"
# Newer models keep the template in a file of its own; some multimodal ones in a JSON file.
_TEMPLATES = ("chat_template.jinja", "chat_template.json")
_FILES = (_TOKENIZER, _CONFIG, *_TEMPLATES)
_SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

# The largest file that is unpacked from an engine's archive; tokenizers of large vocabularies have 30 MB.
_MAX_FILE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ModelText:
    """The vocabulary of a model and its chat template; None for a model without one."""

    vocabulary: Vocabulary
    chat_template: ChatTemplate | None


def load_text(files: Mapping[str, bytes], template_path: str = "") -> ModelText:
    """Makes both of a model's files. `template_path` names another template.

    Takes a second for a large vocabulary. Raises ValueError, one line for people; ImportError if the packages
    of the extra `vllm` are missing.
    """
    if _TOKENIZER not in files:
        raise ValueError(f"there is no {_TOKENIZER}")
    try:
        config = json.loads(files.get(_CONFIG, b"{}"))
        source = _read_template(template_path) if template_path else _template_source(files, config)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its {_CONFIG} or chat template cannot be read ({error})") from None
    template = None if source is None else ChatTemplate(source, _special_tokens(config))
    return ModelText(Vocabulary(files[_TOKENIZER]), template)


def read_folder(path: str) -> dict[str, bytes]:
    """Returns the files of a folder, or of the folder that the file at `path` is in. Raises ValueError."""
    named = Path(path)
    folder = named if named.is_dir() else named.parent
    files = {name: folder / name for name in _FILES} | ({} if named.is_dir() else {_TOKENIZER: named})
    try:
        return {name: file.read_bytes() for name, file in files.items() if file.is_file()}
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be read: {error.strerror}") from None


def unpack(archive: bytes, sha256: str) -> dict[str, bytes]:
    """Returns the files of an engine's archive. Raises ValueError if it is damaged."""
    if hashlib.sha256(archive).hexdigest() != sha256:
        raise ValueError("its archive is damaged: the checksum differs")
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as packed:
            found = [entry for entry in packed.infolist() if entry.filename in _FILES]
            if any(entry.file_size > _MAX_FILE_BYTES for entry in found):
                raise ValueError("its archive has a file that is too large")
            return {entry.filename: packed.read(entry) for entry in found}
    except zipfile.BadZipFile as error:
        raise ValueError(f"its archive is damaged ({error})") from None


def _read_template(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ValueError(f"{path}: {reason}") from None


def _template_source(files: Mapping[str, bytes], config: Mapping[str, Any]) -> str | None:
    jinja, json_file = _TEMPLATES
    if jinja in files:
        return files[jinja].decode()
    if json_file in files:
        return str(json.loads(files[json_file])["chat_template"])
    found = config.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {entry["name"]: entry["template"] for entry in found}.get("default")
    return found if isinstance(found, str) else None


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns the names of the model's special tokens, which the file writes as text or as objects."""
    tokens = {name: config.get(name) for name in _SPECIAL_TOKENS}
    plain = {name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items()}
    return {name: token for name, token in plain.items() if isinstance(token, str)}
