"""A hub's port as seen from a guest: TCP or TLS, whole lines both ways, one connection after the other.

Whom we trust on a TLS port: what the person pinned (`tls://host:port#fingerprint`); else a certificate that the
system's authorities vouch for; else whatever the hub showed the first time. What was found is reported as
`HubPipe.trust`: keep it and give it back at the next dial, so that a hub that once had a good certificate, or this
one, is never quietly taken for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import logging
import re
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from typing_extensions import override

from sandpiper.config.addresses import read_address
from sandpiper.core.hubevents import HubDial, HubHangUp, HubNote, HubWrite
from sandpiper.errors import (
    DialFailed,
    LinkError,
    LinkLost,
    RemoteProtocolError,
    StoreError,
    TrustError,
    UsageError,
)
from sandpiper.net.link import MAX_OUTBOX, READ_CHUNK
from sandpiper.net.tcp import TcpPipe, format_address
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.core.hubevents import HubNotice
    from sandpiper.core.hubguest import HubGuest

log = logging.getLogger(__name__)

HUB_PORT = 5000  # as the founding project
DIAL_SECONDS = 15.0  # name, TCP and TLS, through a tunnel that may be waking up
MAX_PLACES = 16  # of one cluster: a list that a person types
MAX_ANSWER_BYTES = 16 * 1024 * 1024  # one line of a hub: a page of history with the longest messages is 12 MiB
NEXT_ADDRESS_SECONDS = 0.25  # before another address of the same name is tried beside the first: RFC 8305, section 5
KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_COUNT = 30, 10, 3  # seconds, seconds, probes: for hubs that know no ping
SYSTEM = "system"
"""`trust` of a hub whose certificate the system's authorities vouch for."""

_KEY = re.compile(r"key:([0-9a-f]{64})", re.IGNORECASE)
_FINGERPRINT = re.compile(r"(?:sha256:)?((?:[0-9a-f]{2}:?){31}[0-9a-f]{2})", re.IGNORECASE)


class HubAddress(NamedTuple):
    """Where a hub is. `pin` is its certificate's SHA-256 (hex) when the person named one; `others` are more hosts and
    ports of the same cluster, for when this one does not answer; `key` is the hub's own when the person named that.
    """

    host: str
    port: int
    tls: bool = False
    pin: str = ""
    others: tuple[tuple[str, int], ...] = ()
    key: bytes = b""

    @override
    def __str__(self) -> str:
        """As a person would write it, without pin and key."""
        where = ",".join(format_address(host, port) for host, port in ((self.host, self.port), *self.others))
        return f"tls://{where}" if self.tls else where

    def each(self) -> tuple[HubAddress, ...]:
        """One address for every place."""
        first = self._replace(others=())
        return (first, *(first._replace(host=host, port=port) for host, port in self.others))

    @property
    def label(self) -> str:
        """What stands behind a room's name: the host, with its port where that is not the usual one."""
        return self.host if self.port == HUB_PORT else format_address(self.host, self.port)


def parse_hub(text: str, *, tls: bool = False) -> HubAddress:
    """`HOST`, `HOST:PORT`, or several with commas between them, with `hub://`, `tcp://` or `tls://` in front and, for
    TLS, `#sha256:…` behind; `#key:…` instead names the key that the hub itself has.

    Raises:
        UsageError: it is none of these.
    """
    rest = text.strip()
    scheme, mark, after = rest.partition("://")
    if mark:
        if scheme not in ("hub", "tcp", "tls"):
            raise _bad(text, f"a hub is not reached by {clean_line(scheme, 20)}://")
        tls, rest = tls or scheme == "tls", after
    rest, hash_, pin = rest.partition("#")
    key = _KEY.fullmatch(pin.strip())
    if key is not None:
        pin = ""
    elif hash_:
        found = _FINGERPRINT.fullmatch(pin.strip())
        if found is None:
            raise _bad(text, "a fingerprint has 64 hex digits")
        tls, pin = True, found[1].replace(":", "").lower()
    try:
        places = [read_address(place, HUB_PORT) for place in rest.split(",")]
    except ValueError as exc:
        raise _bad(text, str(exc)) from None
    if len(places) > MAX_PLACES:
        raise _bad(text, f"at most {MAX_PLACES} places of one hub can be named")
    (host, port), *others = dict.fromkeys((host.lower(), port) for host, port in places)
    return HubAddress(host, port, tls, pin, tuple(others), bytes.fromhex(key[1]) if key is not None else b"")


def is_hub(text: str) -> bool:
    """Whether an address says that it is a hub's."""
    return text.strip().startswith(("hub://", "tls://"))


def _bad(text: str, why: str) -> UsageError:
    return UsageError(
        f"{clean_line(text, 80)!r} is not a hub's address: {why}.",
        hint="For example: hub.example, hub.example:5000 or tls://hub.example:5000",
        code="bad_address",
    )


class LineCutter:
    """Cuts what comes from a hub into lines."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without newlines; blank ones are left out.

        Raises:
            RemoteProtocolError: a line is longer than any hub's.
        """
        held, look = self._held, len(self._held)
        held += chunk
        end = held.rfind(b"\n", look)
        if end < 0:
            lines = []
        else:
            lines = [line for line in bytes(held[:end]).split(b"\n") if line.strip()]
            del held[: end + 1]
        if len(held) > MAX_ANSWER_BYTES:
            raise RemoteProtocolError("A line of the hub does not end.", code="line_too_long")
        return lines


class HubPipe:
    """One connection to a hub."""

    def __init__(self, pipe: TcpPipe, trust: str) -> None:
        self.address = pipe.address
        self.trust = trust
        """`SYSTEM`, the certificate's SHA-256 in hex, or empty without TLS."""
        self._pipe = pipe
        self._cutter = LineCutter()

    async def read(self) -> list[bytes]:
        """Some lines, as soon as there are any.

        Raises:
            LinkLost: the connection has ended.
            RemoteProtocolError: what comes are no lines.
        """
        while True:
            chunk = await self._pipe.read()
            if not chunk:
                raise LinkLost("The hub has closed the connection.")
            lines = self._cutter.feed(chunk)
            if lines:
                return lines

    def write(self, raw: bytes) -> None:
        """Write, never waiting. A hub that takes nothing any more is given up."""
        if self._pipe.pending > MAX_OUTBOX:
            log.warning("the hub at %s takes nothing any more", self.address)
            self._pipe.abort()
        else:
            self._pipe.write(raw)

    async def close(self) -> None:
        """Send what waits, for at most a second, and close."""
        await self._pipe.close()

    def abort(self) -> None:
        """Close now."""
        self._pipe.abort()


async def dial_hub(address: HubAddress, trust: str = "") -> HubPipe:
    """Connect to a hub; `trust` is what was found before (empty: nothing yet).

    Raises:
        DialFailed: nothing answers there, or it does not speak TLS.
        TrustError: it has another certificate than it must have.
    """
    if not address.tls:
        return HubPipe(await _open(address, None), "")
    wanted = address.pin or trust
    if wanted in ("", SYSTEM):
        try:
            return HubPipe(await _open(address, ssl.create_default_context()), SYSTEM)
        except ssl.SSLCertVerificationError as exc:
            if wanted == SYSTEM:
                raise TrustError(
                    f"The certificate of {address} is not good any more: {clean_line(exc.verify_message, 100)}.",
                    hint="If the hub was moved to a certificate of its own, ask its owner for the fingerprint and "
                    f"connect to {address}#sha256:…",
                    code="bad_certificate",
                ) from exc
    # The certificate itself is compared below: who signed it says nothing.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    pipe = await _open(address, context)
    tls = pipe.extra("ssl_object")
    assert isinstance(tls, ssl.SSLObject)
    fingerprint = hashlib.sha256(tls.getpeercert(binary_form=True) or b"").hexdigest()
    if wanted and not hmac.compare_digest(fingerprint, wanted):
        pipe.abort()
        raise TrustError(
            f"{address} has another certificate than the one that is known: its SHA-256 is {fingerprint}.",
            hint="If the hub's owner confirms this one, connect with #sha256:… behind the address; else somebody is "
            "in between.",
            code="bad_certificate",
        )
    return HubPipe(pipe, fingerprint)


class _Opened(TcpPipe):
    """A `TcpPipe` of ours."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(reader, writer)
        self.extra = writer.get_extra_info


async def _open(address: HubAddress, context: ssl.SSLContext | None) -> _Opened:
    where = str(address)
    try:
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await asyncio.open_connection(
                address.host,
                address.port,
                limit=READ_CHUNK,
                happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
                ssl=context,
                server_hostname=address.host if context is not None else None,
            )
    except TimeoutError as exc:
        raise DialFailed(f"No answer from {where} within {DIAL_SECONDS:.0f} s.") from exc
    except socket.gaierror as exc:
        raise DialFailed(f"The name {address.host} could not be found.", hint="Check the spelling.") from exc
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as exc:
        raise DialFailed(f"{where} does not speak TLS.", hint=f"Without it: hub://{address.label}") from exc
    except (OSError, ValueError, OverflowError) as exc:
        raise DialFailed(f"Could not reach {where}: {_reason(exc)}.") from exc
    _keep_alive(writer.get_extra_info("socket"))
    return _Opened(reader, writer)


def _reason(exc: Exception) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there"
    return clean_line(getattr(exc, "strerror", None) or str(exc), 100)


def _keep_alive(sock: socket.socket) -> None:
    """Have the system find out when the other side is gone: founding hubs cannot be pinged."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
            ("TCP_KEEPINTVL", KEEPALIVE_EVERY),
            ("TCP_KEEPCNT", KEEPALIVE_COUNT),
        ):
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class HubLink:
    """Keeps one guest connected until it is `over`: dials, reads, writes, and calls it when its time has come.

    `tell` gets what the guest tells, and `settled` is called after all of it that belongs together. `known` says what
    is known of the hub at an address, its key and what `HubPipe.trust` was; `trusted` gets the latter when it has
    changed. Of several addresses the next one is tried when one does not answer, has died, or shows another certificate
    than it must have; only when all of them do that it ends. `known` may raise `StoreError`: then it is tried later.
    """

    def __init__(
        self,
        address: HubAddress,
        guest: HubGuest,
        tell: Callable[[HubNotice], None],
        trusted: Callable[[HubAddress, str], None] = lambda address, trust: None,
        known: Callable[[HubAddress], tuple[bytes, str]] = lambda address: (b"", ""),
        settled: Callable[[], None] = lambda: None,
    ) -> None:
        self.address = address
        self.guest = guest
        self._tell = tell
        self._trusted = trusted
        self._known = known
        self._settled = settled
        self._places = address.each()
        self._at = 0
        self._distrusted = set[HubAddress]()  # places whose certificate was another, as far as that was told
        self._loop = asyncio.get_running_loop()
        self._pipe: HubPipe | None = None
        self._dial = asyncio.Event()
        self._stopping = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def place(self) -> HubAddress:
        """The address that is used now, or will be tried next."""
        return self._places[self._at]

    @property
    def trust(self) -> str:
        """How the certificate of this connection is trusted (as `HubPipe.trust`); empty: no TLS, or no connection."""
        return self._pipe.trust if self._pipe is not None else ""

    async def run(self) -> None:
        """Until `close`. Errors of the connection end in the guest, which tells of them."""
        stopping = asyncio.create_task(self._stopping.wait(), name=f"hub {self.address} end")
        dialling = asyncio.create_task(self._follow(), name=f"hub {self.address}")
        try:
            self.carry_out()
            await asyncio.wait({stopping, dialling}, return_when=asyncio.FIRST_COMPLETED)
            if dialling.done():
                dialling.result()
        finally:
            for task in (stopping, dialling):
                task.cancel()
            await asyncio.gather(stopping, dialling, return_exceptions=True)
            if self._timer is not None:
                self._timer.cancel()
            if self._pipe is not None:
                await self._pipe.close()

    def move(self, address: HubAddress) -> None:
        """Reach the same hub in another way from the next connection on."""
        self.address, self._places, self._at = address, address.each(), 0
        self._distrusted.clear()

    def close(self) -> None:
        """Leave the hub; `run` ends."""
        self.guest.close()
        self.carry_out()
        self._stopping.set()

    def carry_out(self) -> None:
        """Do and tell what the guest wants; call it after every wish."""
        while effects := self.guest.flush():  # whoever is told may have wishes
            for effect in effects:
                match effect:
                    case HubWrite(raw=raw):
                        if self._pipe is not None:
                            self._pipe.write(raw)
                    case HubDial():
                        self._dial.set()
                    case HubHangUp(reason=reason):
                        log.info("hub %s: hanging up: %s", self.place, reason)
                        if self._pipe is not None and not self._stopping.is_set() and reason != "left":
                            self._pipe.abort()
                    case _:
                        self._tell(effect)
        self._settled()  # this may set a time, too
        self._arm()

    def _arm(self) -> None:
        due = self.guest.deadline()
        if self._timer is not None:
            if not self._timer.cancelled() and self._timer.when() == due:
                return
            self._timer.cancel()
            self._timer = None
        if due is not None and not self._stopping.is_set():
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.guest.tick(self._loop.time())
        self.carry_out()

    async def _follow(self) -> None:
        while True:
            await self._dial.wait()
            self._dial.clear()
            try:
                self._pipe = await self._reach()
                await self._live(self._pipe)
            except TrustError as exc:
                self._lost(exc.sentence(), final=True)
            except (LinkError, RemoteProtocolError, StoreError) as exc:
                self._lost(str(exc))

    async def _reach(self) -> HubPipe:
        """Connect to the first place that answers, from the current one on.

        Raises:
            DialFailed: none does.
            TrustError: all have another certificate than they must have.
            StoreError: what is known of them cannot be read.
        """
        down: DialFailed | None = None
        distrust: TrustError | None = None
        for _ in self._places:
            place = self.place
            _, trust = self._known(place)
            try:
                pipe = await dial_hub(place, trust)
            except DialFailed as exc:
                log.info("hub %s: %s", place, exc)
                down = exc
            except TrustError as exc:
                log.warning("hub %s: %s", place, exc)
                distrust = exc
                self._distrust(place, exc)
            else:
                self._distrusted.discard(place)
                if pipe.trust != trust:
                    self._trusted(place, pipe.trust)
                return pipe
            self._next_place()
        error = down or distrust
        assert error is not None, "there is at least one place"
        raise error

    def _distrust(self, place: HubAddress, error: TrustError) -> None:
        """Tell once that a place is passed over; of a single one the end is told."""
        if len(self._places) > 1 and place not in self._distrusted:
            self._distrusted.add(place)
            self._tell(HubNote("", error.code, error.sentence(), refused=True))
            self._settled()

    def _next_place(self) -> None:
        self._at = (self._at + 1) % len(self._places)

    def _lost(self, reason: str, *, final: bool = False) -> None:
        log.info("hub %s: %s", self.place, reason)
        if self._pipe is not None:
            self._pipe.abort()
            self._pipe = None
            if not final:
                self._next_place()
        self.guest.lost(reason, self._loop.time(), final=final)
        self.carry_out()

    async def _live(self, pipe: HubPipe) -> None:
        key = self._known(self.place)[0] if len(self._places) > 1 else None
        self.guest.connected(self._loop.time(), key)
        self.carry_out()
        while True:
            lines = await pipe.read()
            self.guest.take(lines, self._loop.time())
            self.carry_out()
