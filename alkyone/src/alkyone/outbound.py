"""What processes try to reach beyond this machine: their sockets by an audit hook, and what goes by a proxy."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_HOOK = """
import sys

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def watch(event, arguments):
    if event == "socket.getaddrinfo":
        where = arguments[0]
    elif event in {{"socket.connect", "socket.sendto"}}:
        where = arguments[1]
    else:
        return
    host = where[0] if isinstance(where, tuple) else where
    # A text that comes for an address is a socket in the file system.
    if not host or (event != "socket.getaddrinfo" and not isinstance(where, tuple)):
        return
    name = host.decode() if isinstance(host, bytes) else str(host)
    if not name.startswith(LOOPBACK):
        with open({log!r}, "a") as log:
            log.write(f"{{event}} {{name}}: {{' '.join(sys.argv)}}\\n")


sys.addaudithook(watch)
"""


class Outbound:
    """What was tried: ``attempts`` of sockets, and requests that came to the proxy."""

    def __init__(self, folder: Path, proxy: str, asked: list[str]) -> None:
        self._log = folder / "attempts"
        self._asked = asked
        self.environment: Mapping[str, str] = {
            "PYTHONPATH": str(folder),
            **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"), proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
        }
        """For the processes to watch; Python alone heeds it."""

    @property
    def attempts(self) -> list[str]:
        """What was tried beyond loopback, and by whom."""
        return (self._log.read_text().splitlines() if self._log.exists() else []) + self._asked


@contextmanager
def watched(folder: Path) -> Iterator[Outbound]:
    """Watch whatever runs with the given environment; ``folder`` is for the watch alone."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_HOOK.format(log=str(folder / "attempts")))
    asked: list[str] = []

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            asked.append(f"by proxy: {self.rfile.readline(1_000).decode(errors='replace').strip()}")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, name="proxy", daemon=True).start()
        try:
            yield Outbound(folder, f"http://127.0.0.1:{server.server_address[1]}", asked)
        finally:
            server.shutdown()
