"""Where a relay is, and a pipe to it: TCP, TLS or WebSocket, straight or through the proxy that the system names."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import re
import socket
import ssl
from typing import TYPE_CHECKING, Literal, NamedTuple

from typing_extensions import override

from sandpiper.config.addresses import read_address
from sandpiper.errors import ConfigError, DialFailed, LinkError, TrustError, UsageError
from sandpiper.net.link import READ_CHUNK
from sandpiper.net.proxies import Proxy, through
from sandpiper.net.race import AllFailed, first_of
from sandpiper.net.tcp import TcpPipe, format_address
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sandpiper.net.link import Pipe

Kind = Literal["tcp", "tls", "ws", "wss"]
DEFAULT_PORTS: dict[Kind, int] = {"tcp": 8000, "tls": 443, "ws": 80, "wss": 443}
DIAL_SECONDS = 15.0  # name, TCP, TLS and an upgrade, through a proxy on a busy line
PATH = "/sandpiper"
MAX_ADDRESSES = 8  # of one name that are tried

_FINGERPRINT = re.compile(r"(?:sha256:)?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


class RelayAddress(NamedTuple):
    """Where a relay is. `pin` is its certificate's SHA-256 in hex when the person named one."""

    host: str
    port: int
    kind: Kind = "tcp"
    pin: str = ""

    @override
    def __str__(self) -> str:
        """As a person would write it, without the pin."""
        where = self.host if self.port == DEFAULT_PORTS[self.kind] else format_address(self.host, self.port)
        return where if self.kind == "tcp" else f"{self.kind}://{where}"

    @property
    def spelled(self) -> str:
        """As `parse_relay` reads it, with everything in it."""
        return f"{self}#sha256:{self.pin}" if self.pin else str(self)

    @property
    def secure(self) -> bool:
        """It speaks TLS."""
        return self.kind in ("tls", "wss")

    @property
    def framed(self) -> bool:
        """It is a WebSocket."""
        return self.kind in ("ws", "wss")


def parse_relay(text: str) -> RelayAddress:
    """`HOST`, `HOST:PORT`, with `tcp://`, `tls://`, `ws://` or `wss://` in front and, for TLS, `#sha256:…` behind.

    Raises:
        UsageError: it is none of these.
    """
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        scheme, rest = "tcp", text.strip()
    kinds: dict[str, Kind] = {"tcp": "tcp", "tls": "tls", "ws": "ws", "wss": "wss", "https": "wss"}
    kind = kinds.get(scheme.lower())
    if kind is None:
        raise _bad(text, f"a relay is not reached by {clean_line(scheme, 20)}://")
    rest, hash_, pin = rest.partition("#")
    if hash_:
        found = _FINGERPRINT.fullmatch(pin.strip())
        if found is None:
            raise _bad(text, "a fingerprint has 64 hex digits")
        pin = found[1].replace(":", "").lower()
        if kind in ("tcp", "ws"):
            kind = "tls" if kind == "tcp" else "wss"
    if kind in ("ws", "wss"):
        rest = rest.removesuffix("/").removesuffix(PATH)
    try:
        host, port = read_address(rest, DEFAULT_PORTS[kind])
    except ValueError as exc:
        raise _bad(text, str(exc)) from None
    return RelayAddress(host.lower(), port, kind, pin)


def names(text: str, relay: RelayAddress) -> bool:
    """Whether `text` is an address of this relay: others may go another way to it, and know another certificate."""
    try:
        return parse_relay(text)[:2] == relay[:2]
    except UsageError:
        return False


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{clean_line(text, 80)!r} is not a relay's address: {why}.",
        hint="For example: relay.example, relay.example:8000, tls://relay.example or wss://relay.example",
        code="bad_address",
    )


class Way(NamedTuple):
    """An open pipe to a relay, and our own address and port of it as the system has them."""

    pipe: Pipe
    host: str
    port: int


class RelayPipe(TcpPipe):
    """A TCP or TLS connection to a relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, where: str) -> None:
        super().__init__(reader, writer)
        self.address = where


async def open_way(relay: RelayAddress, proxy: Proxy | None = None, *, local_port: int = 0) -> Way:
    """Connect within `DIAL_SECONDS`. `local_port` is one of ours to connect from (0: any); others may use it, too.

    Raises:
        DialFailed: nothing answers there, or it is no relay of this kind; the sentence says why.
        TrustError: its certificate is not the one it must be.
    """
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            sock = await _connected(relay, proxy, local_port)
            try:
                return await _dressed(relay, sock)
            except BaseException:
                sock.close()
                raise
    except TimeoutError as exc:
        raise DialFailed(f"No answer from {relay} within {DIAL_SECONDS:.0f} s.") from exc


async def _connected(relay: RelayAddress, proxy: Proxy | None, local_port: int) -> socket.socket:
    if proxy is None:
        return await _dial(relay.host, relay.port, local_port)
    sock = await _dial(proxy.host, proxy.port, local_port)
    try:
        await through(proxy, sock, relay.host, relay.port)
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial(host: str, port: int, local_port: int) -> socket.socket:
    """The first address of a name that answers, IPv6 and IPv4 in turn."""
    loop = asyncio.get_running_loop()
    where = format_address(host, port)
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise DialFailed(f"The name {host} could not be found.", hint="Check the spelling.") from exc
    ordered = _in_turn([(family, address) for family, _, _, _, address in found])[:MAX_ADDRESSES]

    refused: dict[int, DialFailed] = {}

    def way(number: int, family: int, address: tuple[object, ...]) -> Callable[[], Awaitable[socket.socket]]:
        async def go() -> socket.socket:
            if number in refused:
                raise refused[number]
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                share_port(sock)
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Also for any port: one that the system picks while it dials may be shared with a stranger, and
                # then no other socket of ours can have it.
                sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", local_port))
                await loop.sock_connect(sock, address)
            except OSError as exc:
                sock.close()
                refused[number] = DialFailed(f"Could not reach {where}: {_reason(exc)}.")
                raise refused[number] from exc
            except BaseException:
                sock.close()
                raise
            return sock

        return go

    ways = [way(number, *one) for number, one in enumerate(ordered)]
    if not local_port:  # of which there is one
        # Each is dialled again when it has said neither yes nor no for a moment: TCP itself waits for a second before
        # it repeats a lost first packet (RFC 6298, section 2).
        ways *= 2
    try:
        return await first_of(ways, socket.socket.close)
    except AllFailed as exc:
        raise exc.reasons[0] if exc.reasons else exc from None


def share_port(sock: socket.socket) -> None:
    """Let other sockets of this process use the same local port: those that dial a peer from it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _in_turn(found: Sequence[tuple[int, tuple[object, ...]]]) -> list[tuple[int, tuple[object, ...]]]:
    """Families in turn, beginning with the system's first choice (RFC 8305, section 4)."""
    first = [one for one in found if one[0] == found[0][0]]
    others = [one for one in found if one[0] != found[0][0]]
    ordered = []
    for at in range(max(len(first), len(others))):
        ordered += first[at : at + 1] + others[at : at + 1]
    return ordered


async def _dressed(relay: RelayAddress, sock: socket.socket) -> Way:
    """TLS and WebSocket over a connected socket, as the address says."""
    host, port = sock.getsockname()[:2]
    context = _context(relay) if relay.secure else None
    try:
        reader, writer = await asyncio.open_connection(
            sock=sock, limit=READ_CHUNK, ssl=context, server_hostname=relay.host if context is not None else None
        )
    except ssl.SSLCertVerificationError as exc:
        raise TrustError(
            f"The certificate of {relay} is not vouched for: {clean_line(exc.verify_message, 100)}.",
            hint=f"If it is a relay's own, ask its owner for the fingerprint: {relay}#sha256:…",
            code="bad_certificate",
        ) from exc
    except (OSError, ValueError) as exc:
        what = "does not speak TLS" if context is not None else f"broke off: {_reason(exc)}"
        raise DialFailed(f"{relay} {what}.") from exc
    pipe = RelayPipe(reader, writer, str(relay))
    try:
        if relay.pin:
            _check_pin(relay, pipe)
        if relay.framed:
            from sandpiper.net.websocket import upgrade

            return Way(await upgrade(pipe, format_address(relay.host, relay.port), PATH), host, port)
    except BaseException:
        pipe.abort()
        raise
    return Way(pipe, host, port)


def _context(relay: RelayAddress) -> ssl.SSLContext:
    if not relay.pin:
        return ssl.create_default_context()
    # The certificate itself is compared: who signed it says nothing.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _check_pin(relay: RelayAddress, pipe: RelayPipe) -> None:
    tls = pipe.extra("ssl_object")
    assert isinstance(tls, ssl.SSLObject)
    found = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    if not hmac.compare_digest(found, relay.pin):
        raise TrustError(
            f"{relay} has another certificate than the one that was named: its SHA-256 is {found}.",
            hint="Ask its owner which one is right; else somebody is in between.",
            code="bad_certificate",
        )


def _reason(exc: Exception) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there"
    text = getattr(exc, "strerror", None) or str(exc)
    if isinstance(exc, OSError) and exc.errno and text.startswith("Connect call failed"):
        text = os.strerror(exc.errno)  # asyncio's own text names the address once more, and no reason
    return clean_line(text, 100)


class NoRelay(LinkError):
    """None of the relays could be reached."""

    code = "no_relay"


async def first_relay(
    relays: Sequence[RelayAddress], proxy_for: Callable[[str], Proxy | None]
) -> tuple[RelayAddress, Way]:
    """The first relay of these that answers, tried in this order, each a moment after the one before it.

    Raises:
        NoRelay: none does; the sentence says why, and what to try.
    """

    def way(relay: RelayAddress) -> Callable[[], Awaitable[tuple[RelayAddress, Way]]]:
        async def go() -> tuple[RelayAddress, Way]:
            try:
                return relay, await open_way(relay, proxy_for(relay.host))
            except (TrustError, ConfigError) as exc:  # not this one; whoever asked is told if there is no other
                raise DialFailed(str(exc), hint=exc.hint) from exc

        return go

    try:
        return await first_of([way(relay) for relay in relays], lambda found: found[1].pipe.abort())
    except AllFailed as exc:
        raise NoRelay(
            f"No relay could be reached: {exc}",
            hint="Check the connection to the internet. Where only web pages can be reached, name a relay on port 443, "
            "as in wss://relay.example, and the proxy in HTTPS_PROXY.",
        ) from exc
