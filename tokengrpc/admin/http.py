"""HTTP server of the admin pages, on threads of its own, so that it answers while the event loop is full."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from contextlib import suppress
from http import HTTPStatus
from http.client import LineTooLong
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client.exposition import gzip_accepted

from tokengrpc.admin.pages import Page, PageRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedIOBase


_MAX_REQUESTS = 32
"""Requests that are served at once; further connections are closed."""
_TIMEOUT = 5.0
"""Seconds that a connection has, for its request and its answer."""
_POLL = 0.5
_ACCEPT_PAUSE = 0.1
"""Seconds until another connection is accepted after one could not be, because open files ran out."""
_MAX_HEAD = 32 * 1024
"""Bytes of a request. Python's own limit is 100 headers of 64 KiB each."""
_COMPRESSED, _FAST = 1024, 1
"""Bytes from which a page is compressed if the client accepts it, and the level of gzip."""
_METHODS = ("GET", "HEAD")

log = structlog.get_logger(__name__)


class AdminHttpServer:
    """Server of pages, made anew for every request. It answers GET and HEAD, one request a connection."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[PageRequest], Page]]) -> None:
        """Listens. `pages` are functions of the request, by path. Raises OSError."""
        self._server = _Server(host, port, pages)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL,), name="admin-http", daemon=True
        )

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Starts to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Stops. Takes up to half a second."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Server(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[PageRequest], Page]]) -> None:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        self.address_family = family
        self.pages = pages
        self._open: dict[socket.socket, float] = {}
        self._changes = threading.Lock()
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # getaddrinfo also has other families

    def get_request(self) -> Any:  # noqa: ANN401 - the base class's type
        """Accepts a connection. One that cannot be accepted still waits: without a pause, it takes a core."""
        try:
            return super().get_request()
        except OSError:
            time.sleep(_ACCEPT_PAUSE)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's types
        """Serves a connection on a thread, or closes it if there are too many."""
        if len(self._open) < _MAX_REQUESTS:
            with self._changes:
                self._open[request] = time.monotonic() + _TIMEOUT
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - as above
        """Closes a connection."""
        with self._changes:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Ends connections whose time is over, between others: a timeout per byte would let them stay."""
        now = time.monotonic()
        with self._changes:
            for request, deadline in self._open.items():
                if deadline < now:
                    with suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401, ARG002 - as above
        """Notes a peer that left or was silent: pages log their own exceptions."""
        log.debug("an admin connection failed")


class _Head:
    """The bytes of a request, up to a limit."""

    def __init__(self, file: BufferedIOBase) -> None:
        self._file = file
        self._left = _MAX_HEAD
        self.close = file.close

    def readline(self, size: int) -> bytes:
        """Returns a line. Raises LineTooLong, which is answered, once all lines are too long."""
        line = self._file.readline(min(size, self._left + 1))
        self._left -= len(line)
        if self._left < 0:
            raise LineTooLong("request")
        return line


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _TIMEOUT
    server_version = "tokengrpc"
    sys_version = ""

    def setup(self) -> None:
        """Prepares to read a request, which is short."""
        super().setup()
        self.rfile = _Head(self.rfile)  # type: ignore[assignment] # what the base class uses of it

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        make = self.server.pages.get(path)
        if make is None:
            page = Page(404, "text/plain", f"pages: {', '.join(self.server.pages)}\n".encode())
        else:
            try:
                page = make(PageRequest(query, self.headers.get("Accept", "")))
            except Exception:
                log.exception("an admin page failed", page=path)
                page = Page(500, "text/plain", b"the page failed; the log says why\n")
        self._send(page, self.headers.get("Accept-Encoding", ""))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - the base class's types; it would echo the request, as HTML
        """Refuses a request in one line."""
        why = f"only {' and '.join(_METHODS)} are answered" if code == HTTPStatus.NOT_IMPLEMENTED else ""
        line = f"{why or HTTPStatus(code).phrase.lower()}; pages: {', '.join(self.server.pages)}\n"
        self.close_connection = True
        self.request_version = self.protocol_version  # of a request that cannot be read, it may be missing
        self._send(Page(code, "text/plain", line.encode()))

    def _send(self, page: Page, accepted_encoding: str = "") -> None:
        body = page.body
        self.send_response(page.status)
        if len(body) >= _COMPRESSED and gzip_accepted(accepted_encoding):
            body = gzip.compress(body, _FAST)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Vary", "Accept, Accept-Encoding")
        self.send_header("Content-Type", page.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Logs nothing: probes come every few seconds."""
