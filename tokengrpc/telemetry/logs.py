"""Structured logs on stderr: JSON lines for machines, or columns for people."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog

from tokengrpc.core.ports.observer import GenerationEnded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import Processor

    from tokengrpc.config import Settings
    from tokengrpc.core.ports.observer import ObserverEvent

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

log = structlog.get_logger("tokengrpc.generations")


class GenerationLog:
    """Observer that logs one line per ended generation: id, tenant, model, engines, usage and outcome."""

    def on_event(self, event: ObserverEvent) -> None:
        """Implements `Observer`. Engine failures and internal errors are logged as warnings."""
        if not isinstance(event, GenerationEnded):
            return
        record = event.record
        write = log.warning if record.error_reason.startswith(("ENGINE_", "INTERNAL")) else log.info
        end_ns = record.end_time_ns or record.create_time_ns
        write(
            "generation",
            generation_id=record.generation_id,
            tenant=record.tenant,
            model=record.model,
            engines=" ".join(record.engines),
            finish_reason=record.finish_reason.value if record.finish_reason else "",
            error_reason=record.error_reason,
            input_tokens=record.usage.input,
            output_tokens=record.usage.output,
            usage_source=record.usage.source.name,
            seconds=round((end_ns - record.create_time_ns) / 1e9, 6),
        )


def create_observer(value: str, options: Mapping[str, Any], settings: Settings) -> GenerationLog:  # noqa: ARG001 - every plugin factory has this signature
    """Creates the observer `log`."""
    return GenerationLog()


def configure_logs(level: str, style: str) -> None:
    """Configures structlog. `style` is json, console, or auto: console if stderr is a terminal."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    renderers: list[Processor] = (
        # Plain tracebacks, because the tracebacks of rich show local variables, which may contain prompts.
        [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
