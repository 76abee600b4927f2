"""Checks that an answer has what its request asked for: servers ignore fields that they do not know."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

import jsonschema_rs
import structlog

from tokengrpc.core.model import FinishReason
from tokengrpc.core.text import encodable
from tokengrpc.errors import AnswerMismatch

if TYPE_CHECKING:
    from tokengrpc.core.model import Delta
    from tokengrpc.core.request import GenerationRequest

Strictness = Literal["error", "log", "off"]

# Parsing and checking this many characters takes some milliseconds. A longer schema or answer is not checked.
_MAX_CHARACTERS = 256 * 1024

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
    ) -> None:
        """`begun` is the text of another engine that this answer continues."""
        self._engine = engine
        constraint = request.constraint
        wants_schema = constraint is not None and constraint.json_schema is not None
        self._schema = constraint.json_schema if constraint is not None and schema_check != "off" else None
        self._schema_check = schema_check
        self._wants_logprobs = request.output.top_logprob_count is not None and logprobs_check != "off"
        self._logprobs_check = logprobs_check
        self._has_logprobs = False
        self._has_text = False
        self._texts: list[str] | None = [begun] if wants_schema and self._schema is not None else None
        self.needed = self._wants_logprobs or self._texts is not None
        """Whether there is anything to check."""

    def take(self, delta: Delta) -> None:
        """Looks at a delta of the answer."""
        if delta.text:
            self._has_text = True
            if self._texts is not None:
                self._texts.append(delta.text)
        if delta.logprob is not None or delta.top_logprobs:
            self._has_logprobs = True

    def finish(self, reason: FinishReason) -> AnswerMismatch | None:
        """Returns the error of an answer that ended with this reason, if it lacks what was asked for."""
        missing = self._missing_logprobs()
        if missing is not None and self._is_error("logprobs", self._logprobs_check):
            return AnswerMismatch(f"{missing}; leave output.top_logprob_count unset for this engine")
        mismatch = self._schema_mismatch() if reason is FinishReason.END else None
        if mismatch is not None and self._is_error("json_schema", self._schema_check):
            return AnswerMismatch(f"{mismatch}; check that it supports output_constraint.json_schema")
        return None

    def _is_error(self, feature: str, strictness: Strictness) -> bool:
        """Returns whether a feature that was not delivered is an error. Otherwise it is logged."""
        if strictness != "error":
            log.warning("an engine ignored what a request asked for", engine=self._engine, feature=feature)
        return strictness == "error"

    def _missing_logprobs(self) -> str | None:
        if self._wants_logprobs and self._has_text and not self._has_logprobs:
            return f"engine {self._engine} sent no logprobs although the request asks for them"
        return None

    def _schema_mismatch(self) -> str | None:
        if self._texts is None or self._schema is None:
            return None
        text = "".join(self._texts)
        if len(text) + len(self._schema) > _MAX_CHARACTERS:
            log.debug("an answer is too long to be checked against its schema", engine=self._engine)
            return None
        return mismatch(self._engine, self._schema, encodable(text))


def mismatch(engine: str, schema: str, text: str) -> str | None:
    """Returns how a text does not match a JSON schema, or None if it does. It quotes nothing of the text.

    A schema that cannot be used, for example because it refers to another document, is not checked.
    """
    try:
        answer = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return f"engine {engine} sent an answer that is not JSON although the request has a JSON schema"
    try:
        validator = jsonschema_rs.validator_for(
            json.loads(schema), offline=True, pattern_options=jsonschema_rs.RegexOptions()
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
