"""A model's chat template: a conversation into the text that the model continues.

vLLM's gRPC service applies none. Templates are written for transformers' `apply_chat_template`, so they get
what it gives them. They run in Jinja's sandbox, because they come with a model.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn

from tokengrpc.engines.openai.request.messages import chat_messages
from tokengrpc.engines.upstream.request_body import ELSEWHERE, prefilled, unsupported
from tokengrpc.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tokengrpc.core.request import GenerationRequest

# A template's own words about a conversation that it refuses, at most.
_EXCERPT_CHARACTERS = 200


class ChatTemplate:
    """A compiled template. `special_tokens` are the names that it may use, such as `bos_token`."""

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        """Raises ValueError if the source is not a template, ImportError without the package `jinja2`."""
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - an optional dependency
        from jinja2.ext import loopcontrols  # noqa: PLC0415
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        try:
            self._template = environment.from_string(source)
        except TemplateSyntaxError as error:
            raise ValueError(f"line {error.lineno} of the chat template: {error.message}") from None
        self._special_tokens = dict(special_tokens)

    def render(self, request: GenerationRequest) -> str:
        """Returns the conversation with the beginning of the reply. Raises InvalidRequest."""
        return self._render(request, add_generation_prompt=True)

    def render_begun(self, request: GenerationRequest, text: str) -> str:
        """Returns the conversation with `text` as the beginning of the reply, which is left open.

        Raises UnsupportedFeature if the template changes such a text, InvalidRequest as `render` does.
        """
        rendered = self._render(prefilled(request, text), add_generation_prompt=False)
        at = rendered.rfind(text)
        if at < 0:
            raise unsupported("continuing a text that the model's chat template changes", ELSEWHERE)
        return rendered[: at + len(text)]

    def _render(self, request: GenerationRequest, *, add_generation_prompt: bool) -> str:
        messages = [_with_parsed_arguments(message) for message in chat_messages(request, _REASONING)]
        variables = {"tools": None, "documents": None, **self._special_tokens}
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=add_generation_prompt, **variables
            )
        except _Refused as error:
            said = " ".join(str(error).split())[:_EXCERPT_CHARACTERS]
            violation = f'the model\'s chat template refuses it: "{said}"'
            raise InvalidRequest([("conversation", violation)]) from None
        except Exception as error:  # whatever the template's expressions raise, which may quote the messages
            violation = f"the model's chat template cannot render it ({type(error).__name__})"
            raise InvalidRequest([("conversation", violation)]) from None


_REASONING = ("reasoning_content",)


def _with_parsed_arguments(message: dict[str, Any]) -> dict[str, Any]:
    """Returns a message whose calls' arguments are objects, because templates read them as such."""
    calls = message.get("tool_calls")
    if not calls:
        return message
    parsed = []
    for call in calls:
        function = call["function"]
        try:
            arguments = json.loads(function["arguments"] or "{}")
        except (ValueError, RecursionError):
            arguments = function["arguments"]
        parsed.append({**call, "function": {**function, "arguments": arguments}})
    return {**message, "tool_calls": parsed}


def _to_json(value: Any, indent: int | None = None) -> str:  # noqa: ANN401 - any JSON value
    """Returns JSON as transformers writes it: Jinja's own filter escapes characters for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


class _Refused(Exception):
    """Call of `raise_exception` by a template."""


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)


def _now(form: str) -> str:
    """Returns the local date: templates tell the model what day it is."""
    return datetime.now().strftime(form)  # noqa: DTZ005 - a date for people, in the server's time zone
