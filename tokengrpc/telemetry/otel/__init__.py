"""Traces and metrics over OTLP. Only this package imports OpenTelemetry, and only if they are turned on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokengrpc.config import ConfigError
from tokengrpc.extras import MissingExtraError, require

if TYPE_CHECKING:
    from tokengrpc.telemetry.otel.observer import OpenTelemetry


def create_observer(server_name: str) -> OpenTelemetry:
    """Creates the observer that exports. Raises ConfigError if a package is missing or a variable is wrong.

    `server_name` is the name of this server in what is exported; empty for none.
    """
    try:
        require("otel", "otlp:")
    except MissingExtraError as error:
        raise ConfigError(str(error)) from None
    from tokengrpc.telemetry.otel.observer import OpenTelemetry as Exporting  # noqa: PLC0415 - only who turns it on pays

    return Exporting(server_name)
