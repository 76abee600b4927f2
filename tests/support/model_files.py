"""The files of a small model: its tokenizer and its chat template, made on the spot."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from collections.abc import Mapping

_READ = [
    "Once upon a time there was a token that streamed.",
    "hello world, hello again: the quick brown fox says well said",
]

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
"""A chat template in the manner of ChatML."""


def byte_level_tokenizer() -> Tokenizer:
    """Returns a tokenizer as GPT-2, Llama 3 and Qwen have it, which can write every byte."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|start|>", "<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_READ, trainer)
    tokenizer.add_tokens([AddedToken("<tool call>", special=False)])
    return tokenizer


def model_files(template: str | None = TEMPLATE) -> dict[str, bytes]:
    """Returns the files that a model's folder has, by name. Without a template it is a base model."""
    settings = {"bos_token": {"content": "<|start|>"}, "eos_token": "<|end|>"}
    if template is not None:
        settings["chat_template"] = template
    return {
        "tokenizer.json": byte_level_tokenizer().to_str().encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


def archive(files: Mapping[str, bytes]) -> bytes:
    """Returns the files as the zip archive that GetTokenizer sends."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return data.getvalue()
