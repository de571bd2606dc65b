"""The HTTP proxy that the environment names (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`), and CONNECT through it."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies_environment

from msgspec import Struct
from typing_extensions import override

from sandpiper.errors import ConfigError, DialFailed
from sandpiper.net.tcp import format_address

if TYPE_CHECKING:
    import socket

MAX_ANSWER_BYTES = 16 * 1024  # headers of a proxy's answer; some send a page of them
DEFAULT_PORT = 8080

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([ -~]*))?\r?\n")


class Proxy(Struct, frozen=True):
    """An HTTP proxy. `login` is what it wants in `Proxy-Authorization`, and a secret."""

    host: str
    port: int
    login: str = ""

    @override
    def __repr__(self) -> str:
        return f"Proxy({format_address(self.host, self.port)!r})"


def proxy_for(host: str) -> Proxy | None:
    """The proxy by which `host` is reached, as the environment says; None: there is none for it.

    Raises:
        ConfigError: it is not an HTTP proxy. Its login is never told.
    """
    found = getproxies_environment()
    url = found.get("https") or found.get("all")
    if not url or _is_left_out(host, found.get("no", "")):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        name, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        name, port = None, 0
    if parts.scheme != "http" or not name:
        raise ConfigError(
            f"The proxy in HTTPS_PROXY or ALL_PROXY is not of a kind that is spoken here ({parts.scheme[:10]}).",
            hint="Name an HTTP proxy, http://HOST:PORT, or leave this host out of it with NO_PROXY.",
            code="bad_proxy",
        )
    login = ""
    if parts.username is not None:
        both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        login = base64.b64encode(both.encode()).decode()
    return Proxy(name, port, login)


def _is_left_out(host: str, places: str) -> bool:
    """Whether `NO_PROXY` names a host: itself, a domain that it is in, or all."""
    host = host.lower()
    names = [name.strip().lower().strip("[]").removeprefix("*").lstrip(".") for name in places.split(",")]
    return places.strip() == "*" or any(name and (host == name or host.endswith(f".{name}")) for name in names)


async def through(proxy: Proxy, sock: socket.socket, host: str, port: int) -> None:
    """Have the proxy at the other end of a connected socket connect us to `host` (RFC 9110, section 9.3.6).

    Raises:
        DialFailed: it does not.
    """
    where, via = format_address(host, port), format_address(proxy.host, proxy.port)
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.login:
        lines.append(f"Proxy-Authorization: Basic {proxy.login}")
    loop = asyncio.get_running_loop()
    answer = b""
    try:
        await loop.sock_sendall(sock, ("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in answer:
            chunk = await loop.sock_recv(sock, 4096)
            answer += chunk
            if not chunk or len(answer) > MAX_ANSWER_BYTES:
                raise DialFailed(f"The proxy {via} did not answer as a proxy does.")
    except OSError as exc:
        raise DialFailed(f"The proxy {via} broke off: {exc.strerror or exc}.") from exc
    status = _STATUS.match(answer)
    code = int(status[1]) if status is not None else 0
    if code == 407:
        raise DialFailed(
            f"The proxy {via} wants a name and a password.",
            hint="Put them into HTTPS_PROXY: http://NAME:PASSWORD@HOST:PORT",
        )
    if not 200 <= code < 300:
        raise DialFailed(f"The proxy {via} does not connect to {where} (status {code}).")
    if not answer.endswith(b"\r\n\r\n"):  # we speak first in everything that goes through it
        raise DialFailed(f"The proxy {via} says something before {where} was asked.")
