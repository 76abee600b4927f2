"""HTTP receiver of an export: posts batches until each has been accepted."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

_TIMEOUT = 30.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT, _SERVER_ERROR = 429, 408, 500


class ReceiverError(Exception):
    """Batch that was not accepted. The message is one line."""


class Receiver:
    """Receiver at a URL. Its keys are in headers, never in the URL."""

    def __init__(self, url: str, headers: Mapping[str, str], attempts: int) -> None:
        """Takes the URL. Raises ValueError if it is not one of HTTP, or has a password in it."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
            raise ValueError("must be http://HOST/PATH or https://HOST/PATH, without user and password")
        self._url = url
        self._headers = headers
        self._attempts = attempts

    def send(self, body: str, content_type: str, first: int, last: int) -> None:
        """Posts a batch of entries, from the first to the last sequence. Raises ReceiverError.

        A batch whose answer is lost is posted again, so receivers may get an entry twice.
        """
        delay = _FIRST_DELAY
        for attempt in range(1, self._attempts + 1):
            try:
                return self._post(body, content_type, f"tokengrpc-{first}-{last}")
            except urllib.error.HTTPError as error:
                with error:
                    cause = f"it answered {error.code}"
                if error.code < _SERVER_ERROR and error.code not in {_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT}:
                    raise ReceiverError(
                        f"{self._name} refused the entries {first} to {last}: {cause}"
                    ) from None
            except (OSError, http.client.HTTPException) as error:
                cause = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt < self._attempts:
                time.sleep(delay)
                delay = min(2 * delay, _LONGEST_DELAY)
        raise ReceiverError(
            f"{self._name} did not take the entries {first} to {last} in {self._attempts} attempts: {cause}"
        )

    @property
    def _name(self) -> str:
        """The URL without its query, which may have a key."""
        return self._url.partition("?")[0]

    def _post(self, body: str, content_type: str, key: str) -> None:
        headers = {**self._headers, "Content-Type": content_type, "Idempotency-Key": key}
        request = urllib.request.Request(self._url, body.encode(), headers, method="POST")  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:  # noqa: S310 - checked above
            response.read()
