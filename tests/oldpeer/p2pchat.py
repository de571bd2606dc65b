"""The founding "P2P Chat" (Go, LAN) protocol with plain blocking sockets and threads.

Written from the protocol description alone and independent of the project's own code, so that the two check each other.

What the description fixes, and this follows:

* UDP multicast (224.0.0.1:9999): one JSON object a datagram, ``announce | ping | pong | leave``, at most 1024 bytes.
* A fixed ticker sends the announcements (5 s): the first one goes out at the first tick, not at the start.
* A full mesh of TCP links carrying JSON lines, ``chat | join | leave | heartbeat``, at most 64 KiB each; the peer with
  the smaller id (string comparison) dials; each side first sends a ``join`` of sequence 0.
* Anything older than 30 s is refused.

What it leaves open is decided here, and can mostly be set: timestamps are what Go's ``time.Time`` makes (RFC 3339 with
up to nine digits of fraction) or unix seconds; a heartbeat each 10 s; pongs go to the multicast group; of two links to
one peer the one dialled by the smaller id stays, then the newer one.

Decoding follows Go's ``encoding/json`` into a typed struct: unknown keys ignored, key case ignored, the last of doubled
keys counts, a missing key or ``null`` leaves the zero value, a value of the wrong type refuses the whole object.
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import json
import math
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, Self, TypeVar, overload

from typing_extensions import override

if TYPE_CHECKING:
    from types import FrameType, TracebackType

MAX_DATAGRAM = 1024
MAX_LINE = 64 * 1024
MAX_AGE = 30.0
PORTS = range(8080, 9000)
POLL = 0.1  # how often a thread that waits for a datagram or a connection looks whether it should end
LINK_TIMEOUT = 2.0  # how long one send may take; also how often an idle link looks at its deadlines
IDENTIFY_TIMEOUT = 10.0
DRAIN_TIMEOUT = 0.5
LINGER = 2.0  # how long a link that lost against a second one is still read

_IP_MULTICAST_ALL = 49  # Linux; Python has no name for it

LINE_FIELDS: dict[str, type] = {
    "id": str,
    "type": str,
    "sender_id": str,
    "username": str,
    "content": str,
    "timestamp": object,
    "sequence": int,
    "room_id": str,
}
DATAGRAM_FIELDS: dict[str, type] = {
    "type": str,
    "peer_id": str,
    "username": str,
    "address": str,
    "port": int,
    "timestamp": object,
    "sequence": int,
}
LINE_TYPES = frozenset({"chat", "join", "leave", "heartbeat"})
DATAGRAM_TYPES = frozenset({"announce", "ping", "pong", "leave"})

Timestamps = Literal["rfc3339", "unix"]
Message = dict[str, Any]
Handler = Callable[[str, Message], None]
T = TypeVar("T")


class Refused(ValueError):
    """A line or datagram that the old program does not accept; ``reason`` is the name it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


# --- time as Go writes it -----------------------------------------------------------------------------------------

_RFC3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
_EPOCH = datetime(1970, 1, 1)


def go_time(ns: int, offset: int | None = None) -> str:
    """Nanoseconds since 1970 as Go marshals a time.Time; ``offset`` is the zone in seconds (default: the local one)."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    if offset is None:
        offset = time.localtime(seconds).tm_gmtoff
    text = (_EPOCH + timedelta(seconds=seconds + offset)).isoformat(timespec="seconds")
    if fraction:
        text += f".{fraction:09d}".rstrip("0")
    if offset == 0:
        return text + "Z"
    hours, minutes = divmod(abs(offset) // 60, 60)
    return f"{text}{'-' if offset < 0 else '+'}{hours:02d}:{minutes:02d}"


def parse_go_time(text: str) -> float:
    """Unix seconds of a strict RFC 3339 time; ValueError where Go's time.Time would refuse it."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if year == 0:  # Go has a year 0 and Python has none; both leap years, so the days are checked in year 4
        datetime(4, month, day, hour, minute, second)
        return -62_167_219_200.0
    seconds = (datetime(year, month, day, hour, minute, second) - _EPOCH).total_seconds()
    if match[7]:
        seconds += float(match[7])
    if match[8]:
        if int(match[9]) > 23 or int(match[10]) > 59:
            raise ValueError(f"zone out of range: {text!r}")
        offset = int(match[9]) * 3600 + int(match[10]) * 60
        seconds += offset if match[8] == "-" else -offset
    return seconds


# --- decoding as Go decodes into a struct -------------------------------------------------------------------------


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with its keys in order and doubled keys kept."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _clean(text: str) -> str:
    """Lone surrogates become U+FFFD, as in Go."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _decode_object(raw: bytes, fields: dict[str, type]) -> Message:
    try:
        pairs = json.loads(raw.decode("utf-8", "replace"), object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Refused("syntax") from None
    if not isinstance(pairs, _Pairs):
        raise Refused("field")
    message: Message = {name: {str: "", int: 0, object: None}[kind] for name, kind in fields.items()}
    for key, value in pairs:
        name = key if key in fields else key.casefold()
        if name not in fields or len(name) != len(key) or value is None:
            continue
        kind = fields[name]
        if kind is str:
            if not isinstance(value, str):
                raise Refused("field")
            value = _clean(value)
        elif kind is int and (type(value) is not int or not -(1 << 63) <= value < 1 << 63):
            raise Refused("field")
        message[name] = value
    return message


def _seconds(stamp: Any, timestamps: Timestamps) -> float:
    if timestamps == "unix":
        if isinstance(stamp, bool) or not isinstance(stamp, int | float):
            raise Refused("timestamp")
        try:
            seconds = float(stamp)
        except OverflowError:
            raise Refused("timestamp") from None
        if not math.isfinite(seconds):
            raise Refused("timestamp")
        return seconds
    if not isinstance(stamp, str):
        raise Refused("timestamp")
    try:
        return parse_go_time(stamp)
    except ValueError:
        raise Refused("timestamp") from None


def _decode(
    raw: bytes,
    fields: dict[str, type],
    kinds: frozenset[str],
    limit: int,
    timestamps: Timestamps,
    now: float | None,
    max_age: float | None,
) -> Message:
    if len(raw) > limit:
        raise Refused("too_long")
    message = _decode_object(raw, fields)
    sent = _seconds(message["timestamp"], timestamps)
    if message["type"] not in kinds:
        raise Refused("kind")
    if max_age is not None and (time.time() if now is None else now) - sent > max_age:
        raise Refused("stale")
    return message


def decode_line(
    raw: bytes,
    timestamps: Timestamps = "rfc3339",
    *,
    now: float | None = None,
    max_age: float | None = MAX_AGE,
) -> Message:
    """One TCP line with exactly the eight old keys, or Refused."""
    return _decode(raw, LINE_FIELDS, LINE_TYPES, MAX_LINE, timestamps, now, max_age)


def decode_datagram(
    raw: bytes,
    timestamps: Timestamps = "rfc3339",
    *,
    now: float | None = None,
    max_age: float | None = MAX_AGE,
) -> Message:
    """One multicast datagram with exactly the seven old keys, or Refused."""
    message = _decode(raw, DATAGRAM_FIELDS, DATAGRAM_TYPES, MAX_DATAGRAM, timestamps, now, max_age)
    if not message["peer_id"]:
        raise Refused("peer_id")
    return message


def _encode(message: Message) -> bytes:
    """Compact JSON with Go's HTML escapes."""
    text = json.dumps(message, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()


# --- what a test looks at -----------------------------------------------------------------------------------------


class Log(Sequence[T], Generic[T]):
    """A list that threads append to; reading (also iterating) sees a copy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: list[T] = []

    def append(self, item: T) -> None:
        with self._lock:
            self._items.append(item)

    def clear(self) -> None:
        with self._lock:
            self._items.clear()

    def copy(self) -> list[T]:
        with self._lock:
            return self._items.copy()

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    @override
    def __getitem__(self, index: int | slice) -> T | list[T]:
        with self._lock:
            return self._items[index]

    @override
    def __len__(self) -> int:
        with self._lock:
            return len(self._items)

    @override
    def __iter__(self) -> Iterator[T]:
        return iter(self.copy())

    @override
    def __eq__(self, other: object) -> bool:
        if isinstance(other, Log):
            return self.copy() == other.copy()
        return self.copy() == other

    __hash__ = None  # type: ignore[assignment]

    @override
    def __repr__(self) -> str:
        return repr(self.copy())


@dataclass(frozen=True)
class Line:
    """One line or datagram that went in or out."""

    direction: Literal["in", "out"]
    raw: bytes  # without the newline
    message: Message | None  # None when it was refused by the decoder
    refused: str | None  # the reason it was counted under
    peer_id: str | None  # the peer at the other end, None while it has not identified and for what we multicast
    at: float  # time.monotonic()

    @property
    def type(self) -> str | None:
        return None if self.message is None else self.message["type"]


@dataclass(frozen=True)
class Peer:
    """What is known about another peer."""

    peer_id: str
    username: str
    address: str = ""
    port: int = 0  # where it listens; 0 when it was never announced
    announced: bool = False  # heard by multicast
    linked: bool = False  # an identified TCP link is up
    dialled: bool = False  # that link was dialled by us
    last_seen: float = 0.0  # time.monotonic()


@dataclass(eq=False)
class _Link:
    sock: socket.socket
    dialled: bool
    serial: int
    address: str  # of the other end
    target: str | None  # whom we meant to reach when we dialled after an announcement
    opened: float = field(default_factory=time.monotonic)
    peer_id: str | None = None
    close_at: float | None = None
    closed: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, data: bytes) -> bool:
        with self.lock:
            if self.closed:
                return False
            try:
                self.sock.sendall(data)
            except OSError:
                self.shutdown(socket.SHUT_RDWR)  # a line may be cut in two: nothing can follow it
                return False
        return True

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(how)


# --- the peer -----------------------------------------------------------------------------------------------------


class OldPeer:
    """A peer of the old program. Start it with ``start()`` or as a context manager; once stopped it stays stopped.

    ``port=0`` takes a free port from 8080 to 8999, as the old program does. ``multicast=None`` does without UDP.
    ``listen_only`` hears datagrams and sends none; ``dial=False`` never dials by itself (``connect`` still does).
    ``clock_offset`` seconds are added to the clock, for sending and for judging age; ``max_age=None`` judges no age.
    ``on_event(kind, message)`` is called from the threads, kind being chat, discovered, linked, unlinked or left.
    """

    def __init__(
        self,
        username: str,
        peer_id: str | None = None,
        port: int = 0,
        multicast: tuple[str, int] | None = ("224.0.0.1", 9999),
        interface: str = "127.0.0.1",
        timestamps: Timestamps = "rfc3339",
        beacon_interval: float = 5.0,
        listen_only: bool = False,
        dial: bool = True,
        *,
        announce_at_start: bool = False,
        heartbeat_interval: float = 10.0,
        peer_timeout: float | None = 30.0,
        max_age: float | None = MAX_AGE,
        room_id: str = "general",
        clock_offset: float = 0.0,
        on_event: Handler | None = None,
    ) -> None:
        if timestamps not in ("rfc3339", "unix"):
            raise ValueError(f"timestamps must be 'rfc3339' or 'unix', not {timestamps!r}")
        self.username = username
        self.peer_id = str(uuid.uuid4()) if peer_id is None else peer_id
        self.port = port
        self.multicast = multicast
        self.interface = interface
        self.timestamps = timestamps
        self.beacon_interval = beacon_interval
        self.listen_only = listen_only
        self.dial = dial
        self.announce_at_start = announce_at_start
        self.heartbeat_interval = heartbeat_interval
        self.peer_timeout = peer_timeout
        self.max_age = max_age
        self.room_id = room_id
        self.clock_offset = clock_offset
        self.on_event = on_event

        self.received: Log[Message] = Log()
        """Chat lines that arrived, each a dict of the eight keys."""
        self.lines: Log[Line] = Log()
        """Every TCP line in and out."""
        self.datagrams: Log[Line] = Log()
        """Every datagram in (but for our own) and out."""

        self._changed = threading.Condition()
        self._version = 0
        self._lock = threading.RLock()
        self._rejected: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._peers: dict[str, Peer] = {}
        self._links: set[_Link] = set()
        self._by_id: dict[str, _Link] = {}
        self._leaving: set[str] = set()  # said leave by multicast while linked
        self._dialling: dict[str, socket.socket | None] = {}
        self._sequence = 0
        self._beacon_sequence = 0
        self._serial = 0
        self._stop = threading.Event()
        self._started = False
        self._services: list[threading.Thread] = []
        self._dialers: set[threading.Thread] = set()
        self._readers: set[threading.Thread] = set()
        self._listener: socket.socket | None = None
        self._udp_in: socket.socket | None = None
        self._udp_out: socket.socket | None = None

    # life

    def start(self) -> Self:
        if self._started or self._stop.is_set():
            raise RuntimeError("an OldPeer starts once")
        self._started = True
        try:
            self._listener = self._listen()
            self.port = self._listener.getsockname()[1]
            if self.multicast is not None:
                self._udp_in, self._udp_out = self._open_multicast(*self.multicast)
        except BaseException:
            self._close_sockets()
            raise
        targets: list[Callable[[], None]] = [self._accept_loop, self._heartbeat_loop]
        if self._udp_in is not None:
            targets += [self._datagram_loop, self._beacon_loop]
        for target in targets:
            thread = threading.Thread(target=target, name=f"oldpeer-{self.username}{target.__name__}", daemon=True)
            self._services.append(thread)
            thread.start()
        return self

    def stop(self, leave: bool = True) -> None:
        """Close everything and wait for the threads; ``leave=False`` vanishes without a word."""
        if not self._started or self._stop.is_set():
            self._stop.set()
            return
        self._stop.set()
        for thread in self._services:
            thread.join()
        with self._lock:
            dialling, dialers = list(self._dialling.values()), list(self._dialers)
        for sock in dialling:
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in dialers:
            thread.join()
        if leave:
            self._broadcast("leave", "")
            self._cast("leave")
            with self._lock:
                links = list(self._links)
            for link in links:
                link.shutdown(socket.SHUT_WR)
            self._join_readers(DRAIN_TIMEOUT)  # reads to the end: an unread byte would turn the close into a reset
        with self._lock:
            links = list(self._links)
        for link in links:
            link.shutdown(socket.SHUT_RDWR)
        self._join_readers(None)
        self._close_sockets()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _join_readers(self, timeout: float | None) -> None:
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._lock:
            readers = list(self._readers)
        for thread in readers:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def _close_sockets(self) -> None:
        for sock in (self._listener, self._udp_in, self._udp_out):
            if sock is not None:
                sock.close()

    # what a test asks

    @property
    def peers(self) -> dict[str, Peer]:
        with self._lock:
            return dict(self._peers)

    @property
    def linked(self) -> list[str]:
        """Ids of the peers that ``say`` reaches now."""
        with self._lock:
            return sorted(self._by_id)

    @property
    def rejected(self) -> Counter[str]:
        """Refused input by ``line:REASON`` and ``datagram:REASON``; ``.total()`` for all of it."""
        with self._lock:
            return self._rejected.copy()

    @property
    def failures(self) -> Counter[str]:
        """Operations that the network refused: ``dial``, ``cast``, ``hear``, ``accept``."""
        with self._lock:
            return self._failures.copy()

    def wait_for(self, predicate: Callable[[], Any], timeout: float = 5.0) -> Any:
        """The predicate's value once it is true, or its last (false) value after the timeout."""
        deadline = time.monotonic() + timeout
        while True:
            with self._changed:
                version = self._version
            value = predicate()
            left = deadline - time.monotonic()
            if value or left <= 0:
                return value
            with self._changed:
                if self._version == version:
                    self._changed.wait(min(left, 0.05))  # the predicate may look at another peer too

    # what a test does

    def say(self, text: str) -> Message:
        """Send a chat line to every linked peer and return it."""
        return self._broadcast("chat", text)

    def announce(self) -> None:
        self._cast("announce")

    def ping(self) -> None:
        self._cast("ping")

    def connect(self, host: str, port: int, timeout: float = 3.0) -> None:
        """Dial this address whatever the ids are; OSError when nobody answers."""
        self._dial(str(uuid.uuid4()), None, host, port, timeout)

    def send_raw(self, data: bytes, peer_id: str | None = None) -> None:
        """Write these bytes to one linked peer or to all: no newline is added and nothing is checked."""
        with self._lock:
            links = [link for name, link in self._by_id.items() if peer_id in (None, name)]
        for link in links:
            link.send(data)

    def cast_raw(self, data: bytes) -> None:
        """Multicast these bytes as one datagram."""
        if self._udp_out is not None and self.multicast is not None:
            self._udp_out.sendto(data, self.multicast)

    # sockets

    def _listen(self) -> socket.socket:
        ports = [self.port] if self.port else [*random.sample(PORTS, len(PORTS)), 0]
        for port in ports:
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind((self.interface, port))
                sock.listen(128)
                sock.settimeout(POLL)
            except OSError:
                sock.close()
                if port == ports[-1]:
                    raise
            else:
                return sock
        raise AssertionError("unreachable")

    def _open_multicast(self, group: str, port: int) -> tuple[socket.socket, socket.socket]:
        own = socket.inet_aton(self.interface)
        with contextlib.ExitStack() as undo:
            hear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            undo.callback(hear.close)
            hear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            hear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            hear.bind((group, port))  # the group itself: nothing sent to another group or to this host arrives
            hear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + own)
            with contextlib.suppress(OSError):  # not what other sockets joined on other interfaces
                hear.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
            hear.settimeout(POLL)
            cast = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            undo.callback(cast.close)
            cast.bind((self.interface, 0))
            cast.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
            cast.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            cast.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            undo.pop_all()
        return hear, cast

    # common

    def _note(self) -> None:
        with self._changed:
            self._version += 1
            self._changed.notify_all()

    def _event(self, kind: str, message: Message) -> None:
        self._note()
        if self.on_event is not None:
            self.on_event(kind, message)

    def _count(self, reason: str) -> None:
        with self._lock:
            self._rejected[reason] += 1
        self._note()

    def _fail(self, what: str) -> None:
        with self._lock:
            self._failures[what] += 1
        self._note()

    def _now(self) -> float:
        return time.time() + self.clock_offset

    def _stamp(self) -> str | int:
        ns = time.time_ns() + int(self.clock_offset * 1e9)
        return go_time(ns) if self.timestamps == "rfc3339" else ns // 1_000_000_000

    def _update(self, peer_id: str, **changes: Any) -> bool:
        """Change or add a peer; True when it is new."""
        with self._lock:
            old = self._peers.get(peer_id)
            self._peers[peer_id] = replace(old or Peer(peer_id, ""), **{"last_seen": time.monotonic(), **changes})
        self._note()
        return old is None

    # discovery

    def _cast(self, kind: str) -> None:
        if self._udp_out is None or self.listen_only:
            return
        with self._lock:
            self._beacon_sequence += 1
            sequence = self._beacon_sequence
        message: Message = {
            "type": kind,
            "peer_id": self.peer_id,
            "username": self.username,
            "address": self.interface,
            "port": self.port,
            "timestamp": self._stamp(),
            "sequence": sequence,
        }
        raw = _encode(message)
        self.datagrams.append(Line("out", raw, message, None, None, time.monotonic()))  # before any answer
        self._note()
        try:
            self.cast_raw(raw)
        except OSError:
            self._fail("cast")

    def _beacon_loop(self) -> None:
        started = time.monotonic()
        if self.announce_at_start:
            self._cast("announce")
        tick = 1
        while not self._stop.wait(max(0.0, started + tick * self.beacon_interval - time.monotonic())):
            self._cast("announce")
            self._forget()
            tick += 1

    def _forget(self) -> None:
        if self.peer_timeout is None:
            return
        limit = time.monotonic() - self.peer_timeout
        with self._lock:
            gone = [peer for peer in self._peers.values() if not peer.linked and peer.last_seen < limit]
            for peer in gone:
                del self._peers[peer.peer_id]
        for peer in gone:
            self._event("left", {"peer_id": peer.peer_id, "username": peer.username})

    def _datagram_loop(self) -> None:
        assert self._udp_in is not None
        while not self._stop.is_set():
            try:
                raw, (source, _) = self._udp_in.recvfrom(65535)
            except TimeoutError:
                continue
            except OSError:
                self._fail("hear")
                self._stop.wait(POLL)
                continue
            self._datagram(raw, source)

    def _datagram(self, raw: bytes, source: str) -> None:
        message: Message | None = None
        refused: str | None = None
        peer_id: str | None = None
        try:
            message = decode_datagram(raw, self.timestamps, now=self._now(), max_age=self.max_age)
            if message["peer_id"] == self.peer_id:
                return
            peer_id = message["peer_id"]
            if message["type"] != "leave":
                self._check_endpoint(message)
        except Refused as error:
            refused = error.reason
            self._count(f"datagram:{refused}")
        self.datagrams.append(Line("in", raw, message, refused, peer_id, time.monotonic()))
        self._note()
        if message is None or refused is not None or peer_id is None:
            return
        if message["type"] == "leave":
            self._left(peer_id, message)
            return
        with self._lock:
            self._leaving.discard(peer_id)
        if message["type"] == "ping":
            self._cast("pong")
        address = message["address"] if self._usable(message["address"]) else source
        new = self._update(peer_id, username=message["username"], address=address, port=message["port"], announced=True)
        if new:
            self._event("discovered", message)
        if self.dial and self.peer_id < peer_id:
            self._dial_later(peer_id, address, message["port"])

    @staticmethod
    def _usable(address: str) -> bool:
        return address not in ("", "0.0.0.0", "::")

    def _check_endpoint(self, message: Message) -> None:
        if not 0 < message["port"] < 65536:
            raise Refused("port")
        if self._usable(message["address"]):
            try:
                ipaddress.IPv4Address(message["address"])
            except ValueError:
                raise Refused("address") from None

    def _left(self, peer_id: str, message: Message) -> None:
        """A leave by multicast. A link that is still up is left to its own leave and end, which may be on the way."""
        with self._lock:
            if peer_id in self._by_id:
                self._leaving.add(peer_id)
                return
            if self._peers.pop(peer_id, None) is None:
                return
        self._event("left", message)

    # links

    def _dial_later(self, peer_id: str, host: str, port: int) -> None:
        with self._lock:
            if self._stop.is_set() or peer_id in self._by_id or peer_id in self._dialling:
                return
            if any(link.target == peer_id and link.peer_id is None for link in self._links):
                return  # connected, its join is on the way
            self._dialling[peer_id] = None
            thread = threading.Thread(
                target=self._dial_quietly, args=(peer_id, host, port), name=f"oldpeer-{self.username}-dial", daemon=True
            )
            self._dialers.add(thread)
            thread.start()

    def _dial_quietly(self, peer_id: str, host: str, port: int) -> None:
        try:
            self._dial(peer_id, peer_id, host, port, 3.0)
        except OSError:
            self._fail("dial")
        finally:
            with self._lock:
                self._dialers.discard(threading.current_thread())

    def _dial(self, key: str, target: str | None, host: str, port: int, timeout: float) -> None:
        sock: socket.socket | None = None
        try:
            address = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)[0][4]
            sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            with self._lock:
                if self._stop.is_set():
                    raise OSError("stopped")
                self._dialling[key] = sock
            sock.settimeout(timeout)
            sock.bind((self.interface, 0))
            sock.connect(address)
            self._adopt(sock, str(address[0]), dialled=True, target=target)
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        finally:
            with self._lock:
                self._dialling.pop(key, None)

    def _accept_loop(self) -> None:
        assert self._listener is not None
        while not self._stop.is_set():
            try:
                sock, address = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                self._fail("accept")
                self._stop.wait(POLL)
                continue
            try:
                self._adopt(sock, address[0], dialled=False)
            except OSError:
                sock.close()

    def _adopt(self, sock: socket.socket, address: str, *, dialled: bool, target: str | None = None) -> None:
        sock.settimeout(LINK_TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Go's default
        with self._lock:
            if self._stop.is_set():
                raise OSError("stopped")
            self._serial += 1
            link = _Link(sock, dialled, self._serial, address, target)
            self._links.add(link)
            thread = threading.Thread(
                target=self._read_loop, args=(link,), name=f"oldpeer-{self.username}-link", daemon=True
            )
            self._readers.add(thread)
            thread.start()

    def _line(self, kind: str, content: str, sequence: int) -> Message:
        return {
            "id": str(uuid.uuid4()),
            "type": kind,
            "sender_id": self.peer_id,
            "username": self.username,
            "content": _clean(content),
            "timestamp": self._stamp(),
            "sequence": sequence,
            "room_id": self.room_id,
        }

    def _write(self, link: _Link, message: Message) -> None:
        raw = _encode(message)
        self.lines.append(Line("out", raw, dict(message), None, link.peer_id, time.monotonic()))  # before any answer
        self._note()
        link.send(raw + b"\n")

    def _broadcast(self, kind: str, content: str) -> Message:
        with self._lock:
            self._sequence += 1
            message = self._line(kind, content, self._sequence)
            links = list(self._by_id.values())
        for link in links:
            self._write(link, message)
        return message

    def _heartbeat_loop(self) -> None:
        while not self._stop.wait(self.heartbeat_interval):
            if self.linked:
                self._broadcast("heartbeat", "")

    def _read_loop(self, link: _Link) -> None:
        try:
            self._write(link, self._line("join", "", 0))
            self._read(link)
        finally:
            with link.lock:
                link.closed = True
                link.sock.close()
            self._ended(link)
            with self._lock:
                self._readers.discard(threading.current_thread())

    def _ended(self, link: _Link) -> None:
        peer_id = link.peer_id
        with self._lock:
            self._links.discard(link)
            if peer_id is None or self._by_id.get(peer_id) is not link:
                return
            del self._by_id[peer_id]
            left = peer_id in self._leaving
            self._leaving.discard(peer_id)
            if left:
                self._peers.pop(peer_id, None)
            elif peer_id in self._peers:
                self._peers[peer_id] = replace(self._peers[peer_id], linked=False, dialled=False)
        self._event("left" if left else "unlinked", {"peer_id": peer_id})

    def _read(self, link: _Link) -> None:
        buffer = bytearray()
        skipping = False
        while True:
            try:
                chunk = link.sock.recv(65536)
            except TimeoutError:
                chunk = None
            except OSError:
                chunk = b""
            if chunk:
                buffer += chunk
                while (end := buffer.find(b"\n")) >= 0:
                    raw = bytes(buffer[:end])
                    del buffer[: end + 1]
                    if skipping:
                        skipping = False
                    elif not self._incoming(link, raw):
                        return
                if len(buffer) > MAX_LINE:
                    if not skipping:
                        self._refuse(link, bytes(buffer[:MAX_LINE]), None, "too_long")
                    skipping = True
                    buffer.clear()
            elif chunk == b"":
                if buffer and not skipping:
                    self._refuse(link, bytes(buffer), None, "truncated")
                return
            now = time.monotonic()
            if link.peer_id is None and now - link.opened > IDENTIFY_TIMEOUT:
                return
            if link.close_at is not None and now > link.close_at:
                return

    def _refuse(self, link: _Link, raw: bytes, message: Message | None, reason: str) -> None:
        self.lines.append(Line("in", raw, message, reason, link.peer_id, time.monotonic()))
        self._count(f"line:{reason}")

    def _incoming(self, link: _Link, raw: bytes) -> bool:
        """Take one line; False ends the link."""
        message: Message | None = None
        try:
            message = decode_line(raw, self.timestamps, now=self._now(), max_age=self.max_age)
            if link.peer_id is None:
                if message["type"] != "join":
                    raise Refused("unidentified")
                if message["sequence"] != 0:
                    raise Refused("join_sequence")
                if not message["sender_id"]:
                    raise Refused("sender_id")
        except Refused as error:
            self._refuse(link, raw, message, error.reason)
            return True
        if link.peer_id is None and message["sender_id"] == self.peer_id:
            self._refuse(link, raw, message, "self")
            return False
        fresh = link.peer_id is None
        if fresh:
            self._identify(link, message)
        peer_id = link.peer_id
        assert peer_id is not None
        kind = message["type"]
        self.lines.append(Line("in", raw, message, None, peer_id, time.monotonic()))
        if kind == "leave":
            with self._lock:
                if self._by_id.get(peer_id) is not link:
                    return False  # of two links this one had lost; the other one stays
                del self._by_id[peer_id]
                self._leaving.discard(peer_id)
                known = self._peers.pop(peer_id, None)
            if known is not None:
                self._event("left", message)
            self._note()
            return False
        if fresh:
            self._event("linked", message)
        elif message["sender_id"] == peer_id:
            self._touch(peer_id, message["username"])
        if kind == "chat":
            self.received.append(message)
            self._event("chat", message)
        self._note()
        return True

    def _touch(self, peer_id: str, username: str) -> None:
        with self._lock:
            if peer_id in self._peers:
                self._update(peer_id, username=username)

    def _identify(self, link: _Link, message: Message) -> None:
        peer_id: str = message["sender_id"]

        def rank(one: _Link) -> tuple[bool, int]:
            return one.dialled == (self.peer_id < peer_id), one.serial

        loser: _Link | None = None
        with self._lock:
            link.peer_id = peer_id
            other = self._by_id.get(peer_id)
            winner = link if other is None else max(link, other, key=rank)
            if other is not None:
                loser = other if winner is link else link
            self._by_id[peer_id] = winner
            changes: dict[str, Any] = {"linked": True, "dialled": winner.dialled, "username": message["username"]}
            if peer_id not in self._peers:
                changes["address"] = link.address
            self._update(peer_id, **changes)
        if loser is not None:  # what was said on it already is still read
            loser.close_at = time.monotonic() + LINGER
            loser.shutdown(socket.SHUT_WR)


# --- as a program -------------------------------------------------------------------------------------------------


def _endpoint(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"HOST:PORT expected, not {text!r}")
    return host, int(port)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.oldpeer.p2pchat",
        description="A peer of the old P2P Chat: stdin lines are said, chat lines come out as JSON, EOF leaves.",
    )
    parser.add_argument("--username", required=True)
    parser.add_argument("--peer-id")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--multicast", type=_endpoint, default=("224.0.0.1", 9999), metavar="ADDR:PORT")
    parser.add_argument("--no-multicast", dest="multicast", action="store_const", const=None)
    parser.add_argument("--interface", default="127.0.0.1", metavar="ADDRESS")
    parser.add_argument("--timestamps", choices=("rfc3339", "unix"), default="rfc3339")
    parser.add_argument("--beacon-interval", type=float, default=5.0)
    parser.add_argument("--heartbeat-interval", type=float, default=10.0)
    parser.add_argument("--announce-at-start", action="store_true")
    parser.add_argument("--listen-only", action="store_true")
    parser.add_argument("--no-dial", dest="dial", action="store_false")
    parser.add_argument("--clock-offset", type=float, default=0.0)
    parser.add_argument("--room", default="general")
    parser.add_argument("--connect", type=_endpoint, action="append", default=[], metavar="HOST:PORT")
    parser.add_argument("--wait-peers", type=int, default=0, metavar="N", help="say nothing before N peers are linked")
    parser.add_argument("--wait-timeout", type=float, default=30.0)
    parser.add_argument("--events", action="store_true", help="started, linked, left… as JSON on stderr")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments(argv)
    printing = threading.Lock()

    def show(stream: int, value: Message) -> None:
        data = json.dumps(value, ensure_ascii=False).encode() + b"\n"
        with printing, contextlib.suppress(OSError):
            while data:
                data = data[os.write(stream, data) :]

    def handle(kind: str, message: Message) -> None:
        if kind == "chat":
            show(1, message)
        elif options.events:
            show(2, {"event": kind, "peer_id": message.get("peer_id", message.get("sender_id"))})

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end)
    peer = OldPeer(
        options.username,
        options.peer_id,
        options.port,
        options.multicast,
        options.interface,
        options.timestamps,
        options.beacon_interval,
        options.listen_only,
        options.dial,
        announce_at_start=options.announce_at_start,
        heartbeat_interval=options.heartbeat_interval,
        room_id=options.room,
        clock_offset=options.clock_offset,
        on_event=handle,
    )
    try:
        peer.start()
        if options.events:
            show(2, {"event": "started", "peer_id": peer.peer_id, "port": peer.port})
        for host, port in options.connect:
            peer.connect(host, port)
        if not peer.wait_for(lambda: len(peer.linked) >= options.wait_peers, options.wait_timeout):
            print(f"no {options.wait_peers} peers within {options.wait_timeout} s", file=sys.stderr)
            return 1
        for raw in sys.stdin.buffer:
            text = raw.decode("utf-8", "replace").rstrip("\r\n")
            if text:
                peer.say(text)
    except KeyboardInterrupt:
        pass
    except OSError as error:
        print(f"p2pchat: {error}", file=sys.stderr)
        return 1
    finally:
        peer.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
