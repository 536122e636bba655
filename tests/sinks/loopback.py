"""Services on loopback that take messages, refuse them, or never answer."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Web:
    """A webhook.

    Args:
        behaviour: OK, or a status code to answer with, or HANG.
    """

    OK, HANG = 200, -1

    def __init__(self, behaviour: int = OK) -> None:
        self.behaviour = behaviour
        self.taken: list[dict[str, Any]] = []  # what was answered with OK
        self.tries = 0
        self.headers: list[dict[str, str]] = []
        self._released = threading.Event()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.tries += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                behaviour = web.behaviour
                if behaviour == Web.HANG:
                    web._released.wait(60)
                    return
                if behaviour == Web.OK:
                    web.taken.append(json.loads(body))
                    web.headers.append(dict(self.headers))
                self.send_response(behaviour)
                if behaviour == 429:
                    self.send_header("Retry-After", "1")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def port(self) -> int:
        return self._server.server_address[1]

    def url(self, credentials: str = "", query: str = "") -> str:
        return f"json://{credentials}127.0.0.1:{self.port}/hook{query}"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.taken]

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
