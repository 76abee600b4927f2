"""Structured logs on stderr: JSON lines for machines, columns for people."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

    from tokengrpc.core.ports.ledger import LedgerEntry

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

log = structlog.get_logger("tokengrpc.generations")


class GenerationLog:
    """One line for each generation that has ended: what it was, who ran it, what it cost, how it ended."""

    def generation_ended(self, entry: LedgerEntry) -> None:
        """As `interfaces.Observer` says. What an engine failed at is a warning."""
        write = log.warning if entry.error_reason.startswith(("ENGINE_", "INTERNAL")) else log.info
        end_ns = entry.end_time_ns or entry.create_time_ns
        write(
            "generation",
            generation_id=entry.generation_id,
            tenant=entry.tenant,
            model=entry.model,
            engines=" ".join(entry.engines),
            finish_reason=entry.finish_reason.value if entry.finish_reason else "",
            error_reason=entry.error_reason,
            input_tokens=entry.usage.input,
            output_tokens=entry.usage.output,
            usage_source=entry.usage.source.name,
            seconds=round((end_ns - entry.create_time_ns) / 1e9, 6),
        )


def configure_logs(level: str, style: str) -> None:
    """`style` is json, console, or auto: console where stderr is a terminal."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    end: list[Processor] = (
        # Tracebacks name lines of code only: rich's would show local variables, prompts among them.
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
            *end,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
