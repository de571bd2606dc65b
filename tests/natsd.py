"""A real nats-server that a test starts, kills and starts again."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from sandpiper.errors import ConfigError
from sandpiper.hub.bus.embedded import find_server
from tests.process import Process

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
STARTS = 20.0  # seconds


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port: int = sock.getsockname()[1]
    return port


class Natsd:
    """Use it as a context manager. Its streams are in `folder`, so they survive `kill` and `start`."""

    def __init__(self, folder: Path) -> None:
        try:
            self._server = find_server()
        except ConfigError as exc:
            pytest.skip(exc.sentence())
        self.port = free_port()
        self._folder = folder
        self._process: Process[bytes] | None = None

    @property
    def url(self) -> str:
        return f"nats://{HOST}:{self.port}"

    def __enter__(self) -> Natsd:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop()

    def start(self) -> None:
        """Start it, and wait until it listens."""
        command = (self._server, "-js", "-a", HOST, "-p", str(self.port), "-sd", str(self._folder))
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self._process = Process(process)
        end = time.monotonic() + STARTS
        while True:
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                assert process.poll() is None, "nats-server does not start"
                assert time.monotonic() < end, "nats-server does not listen"
                time.sleep(0.02)

    def kill(self) -> None:
        """`kill -9`."""
        assert self._process is not None
        self._process.kill()
        self._process = None
