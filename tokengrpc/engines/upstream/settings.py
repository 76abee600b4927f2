"""The settings of all engines over HTTP and server-sent events."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from tokengrpc.config.remote import RemoteEngineSettings
from tokengrpc.config.texts import masked, named_variables, without_secrets
from tokengrpc.config.values import FLAG, Bytes, ConfigError, Seconds, SecondsOrNone
from tokengrpc.core.engine_key import CallerKeys
from tokengrpc.engines.http.origin import UNIX, TLSFiles, split_unix_url
from tokengrpc.engines.upstream.provider_fields import (
    check_body,
    check_headers,
    check_proxy,
    check_query,
)


class HttpEngineSettings(RemoteEngineSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of an engine over HTTP."""

    on_cancel: Annotated[
        Literal["abort", "drain"],
        Meta(description="after a cancellation: abort the engine's response, or drain it for the usage"),
    ] = "abort"
    drain_limit: Annotated[Seconds, Meta(description="the maximum duration of that drain, in seconds")] = 30.0
    usage_timeout: Annotated[
        SecondsOrNone,
        Meta(description="after the finish reason, the longest wait for the usage, in seconds; 0: none"),
    ] = 5.0
    schema_check: Annotated[
        Literal["error", "log", "off"],
        Meta(description="what becomes of a complete answer that does not match the request's JSON schema"),
    ] = "error"
    logprobs_check: Annotated[
        Literal["error", "log", "off"],
        Meta(description="what becomes of an answer without the logprobs that the request asks for"),
    ] = "error"
    ids_check: Annotated[
        Literal["error", "log", "off"],
        Meta(description="what becomes of an answer without the token ids that the request asks for"),
    ] = "error"
    max_event_bytes: Annotated[
        Bytes, Meta(description="the maximum size of a line or event that an engine sends, in bytes")
    ] = 1 << 20
    query: Annotated[
        dict[str, Any], Meta(description="query parameters of every request to the engine", extra=FLAG)
    ] = {}  # noqa: RUF012 - msgspec copies it, as those below
    headers: Annotated[
        dict[str, Any], Meta(description="headers of every request to the engine", extra=FLAG)
    ] = {}  # noqa: RUF012
    body: Annotated[
        dict[str, Any], Meta(description="additional body fields of every generation", extra=FLAG)
    ] = {}  # noqa: RUF012
    caller_keys: Annotated[
        bool | Literal["required"],
        Meta(
            description="whether the engine is called with the key that a caller sends: false, true, or "
            "required of every call"
        ),
    ] = False
    ca_file: Annotated[
        str, Meta(description="trusted certificates in PEM form; empty: those of the system", extra=FLAG)
    ] = ""
    client_cert_file: Annotated[
        str, Meta(description="certificate for the engine, in PEM form; empty: none", extra=FLAG)
    ] = ""
    client_key_file: Annotated[
        str, Meta(description="its unencrypted key; empty: in the certificate's file", extra=FLAG)
    ] = ""
    proxy: Annotated[
        str,
        Meta(description="URL of the forward proxy, or none; empty: that of the environment", extra=FLAG),
    ] = ""

    key_header: ClassVar[str] = "Authorization"
    """The header with the API key."""

    def __post_init__(self) -> None:
        """Checks the tables, and that certificates are for https and a proxy is not for a Unix socket."""
        super().__post_init__()
        check_query(self.query)
        check_headers(self.headers, self.key_header if self.api_key_env or self.api_key_file else "")
        check_body(self.body)
        check_proxy(self.proxy)
        if self.client_key_file and not self.client_cert_file:
            raise ConfigError("client_key_file: requires client_cert_file")
        for name in ("ca_file", "client_cert_file"):
            if getattr(self, name) and self.base_url and not self.base_url.startswith("https:"):
                raise ConfigError(f"{name}: requires a base_url that begins with https:")
        if self.proxy and self.base_url.startswith(UNIX):
            raise ConfigError("proxy: a Unix socket is not reached through a proxy; remove it")

    def _check_base_url(self) -> None:
        if not self.base_url.startswith(UNIX):
            super()._check_base_url()
            return
        try:
            split_unix_url(self.base_url)
        except ValueError as error:
            raise ConfigError(f"base_url: {error}") from None

    @property
    def named_variables(self) -> frozenset[str]:
        """The variables with the API key, and with the texts of headers and query parameters."""
        return super().named_variables | named_variables(self.headers) | named_variables(self.query)

    @property
    def caller_key_mode(self) -> CallerKeys:
        """Which requests the engine takes, by their caller's own key."""
        if self.caller_keys == "required":
            return CallerKeys.REQUIRED
        return CallerKeys.ALLOWED if self.caller_keys else CallerKeys.NEVER

    @property
    def tls_files(self) -> TLSFiles:
        """The files for TLS."""
        return TLSFiles(ca=self.ca_file, client_cert=self.client_cert_file, client_key=self.client_key_file)

    def shown(self) -> dict[str, Any]:
        """Returns all settings without the texts of headers, other secrets, and the password of the proxy."""
        return super().shown() | {
            "query": without_secrets(self.query),
            "headers": masked(self.headers),
            "body": without_secrets(self.body),
            "proxy": without_secrets(self.proxy),
        }

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.shown().items())})"

    def __rich_repr__(self) -> Any:  # noqa: ANN401 - pairs for rich
        yield from self.shown().items()
