"""A very small web server: some pages by their path, to be read with GET."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Gives status, content type and body.
Page = Callable[[], tuple[int, str, bytes]]
#: Seconds that a reader may take to ask.
PATIENCE = 5.0


def serve(
    listening: socket.socket, pages: Mapping[str, Page], look: float, goes_on: Callable[[], bool]
) -> None:
    """Serve until `goes_on` says no, asked every `look` seconds; then this process ends."""

    class Handler(BaseHTTPRequestHandler):
        timeout = PATIENCE

        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            known = f"There is nothing here. Known are {', '.join(pages)}.\n"
            status, kind, body = page() if page else (404, "text/plain; charset=utf-8", known.encode())
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            """A line for each probe would be all that the log holds."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def service_actions(self) -> None:
            if not goes_on():
                os._exit(0)

        def handle_error(self, *_: object) -> None:
            """Who asked has gone away."""

    server = Server(listening.getsockname()[:2], Handler, bind_and_activate=False)
    server.socket.close()
    server.socket = listening
    server.serve_forever(poll_interval=look)
