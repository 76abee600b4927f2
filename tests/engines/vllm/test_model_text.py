"""A model's files: the chat template, and where it comes from."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from tests.support.model_files import TEMPLATE, archive, byte_level_tokenizer, model_files
from tokengrpc.core.request import (
    GenerationRequest,
    Message,
    ReasoningPart,
    Role,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from tokengrpc.engines.vllm.chat_template import ChatTemplate
from tokengrpc.engines.vllm.model_text import load_text, read_folder, unpack
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from pathlib import Path

    from tokengrpc.core.request import Part


def message(role: Role, *parts: Part) -> Message:
    return Message(role=role, parts=parts)


def asking(*messages: Message) -> GenerationRequest:
    return GenerationRequest(messages=messages or (message(Role.USER, TextPart(text="hello")),))


def rendered(template: str, *messages: Message, **tokens: str) -> str:
    return ChatTemplate(template, tokens).render(asking(*messages))


def loaded(files: dict[str, bytes], template_path: str = "") -> ChatTemplate:
    template = load_text(files, template_path).chat_template
    assert template is not None
    return template


TOKENIZER = {"tokenizer.json": byte_level_tokenizer().to_str().encode()}
USER = message(Role.USER, TextPart(text="hello"))


def test_a_template_gets_what_transformers_gives_it() -> None:
    """Messages, the prompt for the reply, and the names of special tokens."""
    text = rendered(TEMPLATE, USER, bos_token="<s>")
    assert text == "<s><|start|>user\nhello<|end|>\n<|start|>assistant\n"


def test_calls_and_results_of_earlier_turns() -> None:
    """Templates read arguments as objects; reasoning is told where they look for it."""
    template = (
        "{% for m in messages %}{{ m.role }}:{{ m.reasoning_content }}:"
        "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
        "{{ m.content }};{% endfor %}"
    )
    called = message(
        Role.ASSISTANT,
        ReasoningPart(text="hm", opaque=b""),
        ToolCallPart(id="1", function_name="look", arguments='{"at": "café"}'),
    )
    result = message(Role.TOOL, ToolResultPart(tool_call_id="1", text="seen", is_error=False))
    assert (
        rendered(template, USER, called, result)
        == 'user::hello;assistant:hm:look{"at": "café"}None;tool::seen;'
    )


def test_arguments_that_are_no_json_stay_text() -> None:
    """A model may have written them."""
    template = "{% for m in messages %}{{ m.tool_calls[0].function.arguments }}{% endfor %}"
    called = message(Role.ASSISTANT, ToolCallPart(id="1", function_name="look", arguments='{"a'))
    assert rendered(template, called) == '{"a'


def test_blocks_are_trimmed_as_transformers_does() -> None:
    """A line of its own for a block adds no white space."""
    assert rendered("{% for m in messages %}\n    {% if true %}\nx\n    {% endif %}\n{% endfor %}") == "x\n"


def test_loops_can_be_left() -> None:
    """Templates use `break`, which is an extension of Jinja."""
    assert rendered("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}") == "01"


def test_a_template_may_ask_for_the_date() -> None:
    """Some models are told what day it is."""
    assert rendered("{{ strftime_now('%Y') }}").isdigit()


def test_a_conversation_that_the_template_refuses() -> None:
    """The template's own words say why."""
    with pytest.raises(InvalidRequest, match="roles must alternate"):
        rendered("{{ raise_exception('roles must\n alternate') }}")


def test_a_template_that_fails_quotes_no_message() -> None:
    """What fails is named by its kind, because the words may have the prompt in them."""
    with pytest.raises(InvalidRequest, match="TypeError") as caught:
        rendered("{{ messages[0].content + 1 }}")
    assert "hello" not in caught.value.message


@pytest.mark.parametrize(
    "template",
    ["{{ messages.append(1) }}", "{{ ''.__class__.__mro__ }}", "{{ cycler.__init__.__globals__ }}"],
)
def test_templates_run_in_a_sandbox(template: str) -> None:
    """They come with a model, and reach nothing but what they are given."""
    with pytest.raises(InvalidRequest, match=r"SecurityError|UndefinedError"):
        rendered(template)


def test_a_template_with_a_mistake_is_told_by_line() -> None:
    """A file of the operator's is refused when it is loaded."""
    with pytest.raises(ValueError, match="line 2 of the chat template"):
        ChatTemplate("x\n{% if %}", {})


def test_the_sources_of_a_template(tmp_path: Path) -> None:
    """A file of its own is preferred to the one in the configuration; a path of the settings to both."""
    config = {"chat_template": "of the configuration"}
    files = TOKENIZER | {"tokenizer_config.json": json.dumps(config).encode()}
    assert loaded(files).render(asking()) == "of the configuration"
    named = {
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    }
    assert loaded(files | {"tokenizer_config.json": json.dumps(named).encode()}).render(asking()) == "yes"
    files["chat_template.json"] = b'{"chat_template": "of the JSON file"}'
    assert loaded(files).render(asking()) == "of the JSON file"
    files["chat_template.jinja"] = b"of the Jinja file"
    assert loaded(files).render(asking()) == "of the Jinja file"
    own = tmp_path / "own.jinja"
    own.write_text("of the settings")
    assert loaded(files, str(own)).render(asking()) == "of the settings"


def test_special_tokens_of_both_forms() -> None:
    """The configuration writes them as text or as objects."""
    files = model_files("{{ bos_token }}{{ eos_token }}{{ pad_token }}")
    assert loaded(files).render(asking()) == "<|start|><|end|>"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, r"there is no tokenizer\.json"),
        (
            TOKENIZER | {"tokenizer_config.json": b"{"},
            r"tokenizer_config\.json or chat template cannot be read",
        ),
        (
            TOKENIZER | {"tokenizer_config.json": b"[]"},
            r"tokenizer_config\.json or chat template cannot be read",
        ),
        (
            TOKENIZER | {"chat_template.json": b"{}"},
            r"tokenizer_config\.json or chat template cannot be read",
        ),
        (
            TOKENIZER | {"chat_template.jinja": b"\xff"},
            r"tokenizer_config\.json or chat template cannot be read",
        ),
        ({"tokenizer.json": b"{}"}, r"it is not a valid tokenizer\.json"),
    ],
)
def test_files_that_cannot_be_used(files: dict[str, bytes], problem: str) -> None:
    """Whatever is wrong with a file is one ValueError."""
    with pytest.raises(ValueError, match=problem):
        load_text(files)


def test_a_template_path_that_cannot_be_read() -> None:
    """The path and the reason are named."""
    with pytest.raises(ValueError, match=r"/nowhere: No such file"):
        load_text(TOKENIZER, "/nowhere")


def test_a_folder_or_a_file(tmp_path: Path) -> None:
    """The tokenizer may have another name; its neighbours are read all the same."""
    for name, data in model_files().items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "other.json").write_bytes(b"{}")
    assert read_folder(str(tmp_path)) == model_files()
    assert read_folder(str(tmp_path / "other.json"))["tokenizer.json"] == b"{}"


def test_the_engines_archive() -> None:
    """Other files in it are not unpacked."""
    data = archive(model_files() | {"../evil": b"x", "model.safetensors": b"x"})
    assert unpack(data, hashlib.sha256(data).hexdigest()) == model_files()


@pytest.mark.parametrize("data", [b"", b"no archive"])
def test_an_archive_that_is_none(data: bytes) -> None:
    """A checksum that fits does not make it one."""
    with pytest.raises(ValueError, match="its archive is damaged"):
        unpack(data, hashlib.sha256(data).hexdigest())


def test_an_archive_that_was_cut() -> None:
    """The checksum comes with the last part alone."""
    data = archive(model_files())
    for sha256 in ("", hashlib.sha256(data).hexdigest()):
        with pytest.raises(ValueError, match="checksum differs"):
            unpack(data[:-1], sha256)
