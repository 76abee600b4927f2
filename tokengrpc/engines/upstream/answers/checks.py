"""Checks that an answer has what its request asked for: servers ignore fields that they do not know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import jsonschema_rs
import structlog

from tokengrpc.core.model import FinishReason
from tokengrpc.core.text import encodable
from tokengrpc.engines.upstream.answers.schema_cost import is_cheap
from tokengrpc.errors import AnswerMismatch

if TYPE_CHECKING:
    from tokengrpc.core.model import Delta
    from tokengrpc.core.request import GenerationRequest

Strictness = Literal["error", "log", "off"]

# Parsing this many characters takes some milliseconds. A longer schema or answer is not checked.
_MAX_CHARACTERS = 256 * 1024
_MAX_SCHEMA_CHARACTERS = 32 * 1024

# A pattern whose compiled form is larger, in bytes, is not used.
_MAX_PATTERN_BYTES = 256 * 1024

# The field of a request that asks for each detail of tokens.
_DETAILS = {"logprobs": "output.top_logprob_count", "token ids": "output.include_token_ids"}

# What is quoted of the place in the schema that does not match.
_PLACE_CHARACTERS = 100

log = structlog.get_logger(__name__)


class AnswerChecks:
    """Looks at the deltas of one answer, and judges them at its end."""

    def __init__(
        self,
        engine: str,
        request: GenerationRequest,
        *,
        begun: str = "",
        schema_check: Strictness,
        logprobs_check: Strictness,
        ids_check: Strictness,
    ) -> None:
        """`begun` is the text of another engine that this answer continues."""
        self._engine = engine
        constraint = request.constraint
        wants_schema = constraint is not None and constraint.json_schema is not None
        self._schema = constraint.json_schema if constraint is not None and schema_check != "off" else None
        self._schema_check = schema_check
        output = request.output
        # Details of tokens that the request asks for, until the first token that has them.
        self._missing: dict[str, Strictness] = {}
        if output.top_logprob_count is not None and logprobs_check != "off":
            self._missing["logprobs"] = logprobs_check
        if output.token_ids and not output.token_ids_optional and ids_check != "off":
            self._missing["token ids"] = ids_check
        self._has_text = False
        self._texts: list[str] | None = [begun] if wants_schema and self._schema is not None else None
        self.needed = bool(self._missing) or self._texts is not None
        """Whether there is anything to check."""

    def take(self, delta: Delta) -> None:
        """Looks at a delta of the answer."""
        if delta.text:
            self._has_text = True
            if self._texts is not None:
                self._texts.append(delta.text)
        if self._missing:
            if delta.logprob is not None or delta.top_logprobs:
                self._missing.pop("logprobs", None)
            if delta.id is not None:
                self._missing.pop("token ids", None)

    def finish(self, reason: FinishReason) -> AnswerMismatch | None:
        """Returns the error of an answer that ended with this reason, if it lacks what was asked for."""
        for detail, strictness in self._missing.items() if self._has_text else ():
            if self._is_error(detail, strictness):
                return AnswerMismatch(
                    f"engine {self._engine} sent no {detail} although the request asks for them;"
                    f" leave {_DETAILS[detail]} unset for this engine"
                )
        mismatch = self._schema_mismatch() if reason is FinishReason.END else None
        if mismatch is not None and self._is_error("json_schema", self._schema_check):
            error = AnswerMismatch(f"{mismatch}; check that it supports output_constraint.json_schema")
            error.quoted = "".join(mismatch.partition(" (at ")[1:])  # names of the caller's schema
            return error
        return None

    def _is_error(self, feature: str, strictness: Strictness) -> bool:
        """Returns whether a feature that was not delivered is an error. Otherwise it is logged."""
        if strictness != "error":
            log.warning("an engine ignored what a request asked for", engine=self._engine, feature=feature)
        return strictness == "error"

    def _schema_mismatch(self) -> str | None:
        if self._texts is None or self._schema is None:
            return None
        text = "".join(self._texts)
        if len(text) > _MAX_CHARACTERS or len(self._schema) > _MAX_SCHEMA_CHARACTERS:
            log.debug("an answer is too long to be checked against its schema", engine=self._engine)
            return None
        return mismatch(self._engine, self._schema, encodable(text))


def mismatch(engine: str, schema: str, text: str) -> str | None:
    """Returns how a text does not match a JSON schema, or None if it does. It quotes nothing of the text.

    A schema that cannot be used, for example because it refers to another document, or whose check would take
    long, is not checked.
    """
    try:
        answer = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return f"engine {engine} sent an answer that is not JSON although the request has a JSON schema"
    try:
        document = json.loads(schema)
        if not is_cheap(document, answer):
            log.debug("checking an answer against its schema would take too long", engine=engine)
            return None
        validator = jsonschema_rs.validator_for(
            document,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_MAX_PATTERN_BYTES),
        )
        error = next(iter(validator.iter_errors(answer)), None)
    except (ValueError, RecursionError, jsonschema_rs.ReferencingError) as unusable:
        log.debug("an answer cannot be checked against its schema", error=type(unusable).__name__)
        return None
    if error is None:
        return None
    place = "/".join(map(str, error.schema_path))[:_PLACE_CHARACTERS]
    return f"engine {engine} sent an answer that does not match the request's JSON schema (at {place})"


def _refuse_constant(name: str) -> Any:  # noqa: ANN401 - never returns
    raise ValueError(f"{name} is not JSON")
