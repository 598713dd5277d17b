"""Answer requests with the newest good model: `serve`, a service over HTTP.

    GET  /healthz   200 and the model that would answer
    POST /predict   {"images": [[64 numbers, 0..16], ...]}  ->  {"digits": [...], "model": {...}}

A newer model is picked up at the next request, without a restart; every answer says which model
gave it. When a stop is asked for, requests that have arrived are answered before the port closes.
Only numpy is imported besides the standard library: being back quickly is part of the service.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from logging import Logger
from pathlib import Path
from typing import Any

import numpy as np

from segments.model import FULL_INK, PIXELS, Model, describe, models_in
from segments.shelf import DamagedEdition, Edition
from supervisor.body import Context

MOST_REQUESTS_AT_ONCE = 16
MOST_IMAGES = 1000
MOST_BODY_BYTES = 2 * 1024**2
SILENT_CLIENT_S = 5.0


def serve(ctx: Context) -> None:
    """Serve until a stop is asked for, then finish what has arrived."""
    port = ctx.port("http")

    def announce(edition: Edition) -> None:
        ctx.status(f"listening on port {port}, model {edition.name}")

    server = DigitServer(port, NewestModel(ctx.data, ctx.logger, announce))
    loop = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    loop.start()
    announce(server.models.current()[0])
    ctx.stopping.wait()
    server.shutdown()
    loop.join()
    server.finish()


class NewestModel:
    """The model that the pointer names, reloaded when the pointer is replaced.

    Args:
        data: the pipeline's data folder.
        logger: hears of reloads, and of models that cannot be read.
        announce: called with every edition that replaces the one before.
    """

    def __init__(self, data: Path, logger: Logger, announce: Callable[[Edition], None]) -> None:
        self._announce = announce
        self._shelf = models_in(data)
        self.logger = logger
        self._lock = threading.Lock()
        self._pointer_seen = self._pointer()
        self._loaded = self._load()

    def current(self) -> tuple[Edition, Model]:
        """The newest good model; the one before it while the newest cannot be read."""
        pointer = self._pointer()
        if pointer != self._pointer_seen:
            with self._lock:
                if pointer != self._pointer_seen:
                    self._reload(pointer)
        return self._loaded

    def _reload(self, pointer: tuple[int, int]) -> None:
        try:
            self._loaded = self._load()
        except (DamagedEdition, OSError, ValueError, KeyError) as error:
            edition = self._loaded[0].name
            self.logger.error("cannot load the newest model, keeping %s: %r", edition, error)  # noqa: TRY400  # one line is enough
        else:
            self.logger.info("now answering with model %s", self._loaded[0].name)
            self._announce(self._loaded[0])
        self._pointer_seen = pointer

    def _pointer(self) -> tuple[int, int]:
        """What changes whenever the pointer file is replaced."""
        found = self._shelf.pointer.stat()
        return found.st_ino, found.st_mtime_ns

    def _load(self) -> tuple[Edition, Model]:
        edition = self._shelf.require_newest()
        return edition, Model.from_arrays(edition.load())


class DigitServer(ThreadingHTTPServer):
    """An HTTP server that answers at most so many requests at once and leaves none unanswered."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, port: int, models: NewestModel) -> None:
        self.models = models
        self._free = threading.BoundedSemaphore(MOST_REQUESTS_AT_ONCE)
        self._nobody_waits = False
        super().__init__(("127.0.0.1", port), DigitHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Hand a connection to a thread; while all are busy, others wait in the kernel's queue."""
        self._free.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one connection in its thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Log a connection that broke, in one line: the client went away, most likely."""
        self.models.logger.warning("connection of %s: %r", client_address, sys.exception())

    def handle_timeout(self) -> None:
        """Hear from `handle_request` that nobody waits in the kernel's queue."""
        self._nobody_waits = True

    def finish(self) -> None:
        """Answer the connections that the kernel has accepted for us, then close the port."""
        self.timeout = 0
        while not self._nobody_waits:
            self.handle_request()
        self.server_close()


class BadRequest(Exception):
    """The client must change something; the text says what."""


class DigitHandler(BaseHTTPRequestHandler):
    """One connection, one request."""

    server: DigitServer
    timeout = SILENT_CLIENT_S

    def do_GET(self) -> None:
        """Answer `/healthz`."""
        if self.path != "/healthz":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "try GET /healthz or POST /predict"})
            return
        edition, _ = self.server.models.current()
        self._answer(HTTPStatus.OK, {"status": "ok", "model": describe(edition)})

    def do_POST(self) -> None:
        """Answer `/predict`."""
        if self.path != "/predict":
            self._answer(HTTPStatus.NOT_FOUND, {"error": "try POST /predict"})
            return
        try:
            images = parse_images(self._body())
        except BadRequest as error:
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
            return
        edition, model = self.server.models.current()
        digits = model.predict(images).tolist()
        self._answer(HTTPStatus.OK, {"digits": digits, "model": describe(edition)})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Say nothing: one line per request would bury what matters in the log."""

    def _body(self) -> bytes:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            raise BadRequest("Content-Length is missing or not a number") from None
        if not 0 < length <= MOST_BODY_BYTES:
            raise BadRequest(f"expected a body of 1 to {MOST_BODY_BYTES} bytes, got {length}")
        return self.rfile.read(length)

    def _answer(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def parse_images(body: bytes) -> np.ndarray:
    """Read the images of a request.

    Returns:
        Shape (n, 64), values 0..16.

    Raises:
        BadRequest: not the JSON that the module's docstring shows.
    """
    try:
        images = np.asarray(json.loads(body)["images"], dtype=np.float32)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        raise BadRequest('expected JSON such as {"images": [[0, 16, ... 64 numbers]]}') from None
    if images.ndim != 2 or images.shape[1] != PIXELS:
        raise BadRequest(f"expected images of {PIXELS} numbers, got the shape {images.shape}")
    if not 1 <= len(images) <= MOST_IMAGES:
        raise BadRequest(f"expected 1 to {MOST_IMAGES} images, got {len(images)}")
    if not bool(((images >= 0) & (images <= FULL_INK)).all()):
        raise BadRequest(f"expected ink 0..{FULL_INK} in every pixel")
    return images
