"""A real node under attack, a friend of it, and whoever a test plays, all on loopback in a thread of their own."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sqlite3
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from sandpiper.core.events import Accepted
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room, room_tag
from sandpiper.crypto.signing import open_record
from sandpiper.errors import LinkLost
from sandpiper.net.secure import SecureLink, dial_secure
from sandpiper.net.tcp import TcpPipe, dial
from sandpiper.node import Node, NodeNotice, NodeSettings
from sandpiper.testing.conformance import turns, until
from sandpiper.wire.frames import LINK_VERSION, AnyFrame, Bye, Hello, Ping, Pong, decode_frame, encode_frame
from sandpiper.wire.ids import RoomId
from sandpiper.wire.records import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

HOST = "127.0.0.1"
GENERAL = open_room("general")
STATM = Path("/proc/self/statm")
PATIENCE = 20.0  # seconds for what must happen

_T = TypeVar("_T")


class Ear(logging.Handler):
    """Counts what is logged, and keeps what is more than a note, without piling up anything itself."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: Counter[str] = Counter()
        """By level."""
        self.newest: deque[str] = deque(maxlen=200)
        self.warnings: deque[str] = deque(maxlen=200)
        self.wrong: list[str] = []
        """What should never be logged because of what others send."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.lines[record.levelname] += 1
        self.newest.append(text)
        if record.levelno >= logging.WARNING:
            self.warnings.append(text)
        if record.levelno >= logging.ERROR or record.exc_info or record.exc_text:
            self.wrong.append(self.format(record))
        if not text.isprintable() or len(text) > 700:
            self.wrong.append(f"not fit for a log: {text[:1000]!r}")


class Guest:
    """Somebody with a link to the victim, who may do anything with it."""

    def __init__(self, link: SecureLink, identity: Identity) -> None:
        self.link = link
        self.identity = identity
        self.got: list[AnyFrame] = []
        self._pings = 1 << 40

    def hello(self, *rooms: RoomId, version: int = LINK_VERSION) -> None:
        tags = tuple(room_tag(room) for room in rooms or (GENERAL,))
        self.send(Hello(version, "guest", "guest", int(time.time() * 1000), tags))

    def send(self, frame: AnyFrame) -> None:
        self.link.offer(encode_frame(frame))

    async def taken(self) -> bool:
        """Until the victim has dealt with all that was sent; False when it has closed the link because of it."""
        self._pings += 1
        self.send(Ping(self._pings))
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    frame = decode_frame(await self.link.receive())
                    self.got = [*self.got[-500:], frame]
                    if frame == Pong(self._pings):
                        return True
        except LinkLost:
            return False

    @property
    def bye(self) -> str:
        """The code that the victim said goodbye with."""
        return next((frame.code for frame in self.got if isinstance(frame, Bye)), "")


class Arena:
    """Start it, attack, and `check` that nobody is the worse for it."""

    def __init__(self, folder: Path, group: str) -> None:
        self.folder = folder
        host, _, port = group.rpartition(":")
        self.group = (host, int(port))
        self.ear = Ear()
        self.heard = 0
        """Datagrams that have reached the victim."""
        self.victim = self._node(1, "victim")
        self.friend = self._node(2, "friend")
        self._told: dict[str, set[str]] = {"victim": set(), "friend": set()}
        self._words = 0
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._guests: list[TcpPipe] = []
        self._seeds = 1000
        self._thread = threading.Thread(target=self._run, name="arena")

    def _node(self, seed: int, nick: str) -> Node:
        settings = NodeSettings(
            ports=range(1), hosts=(HOST,), group=self.group[0], group_port=self.group[1],
            interfaces=("lo0" if sys.platform == "darwin" else "lo",),
        )  # fmt: skip
        return Node(Identity(bytes([seed]) * 32), nick, self.folder / f"{nick}.db", settings)

    # ------------------------------------------------------------ life

    def __enter__(self) -> Arena:
        for name in ("sandpiper", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(self.ear)
            logger.setLevel(logging.INFO)
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self._failed is not None:
            self.__exit__()
            raise self._failed
        self.check()
        return self

    def __exit__(self, *_: object) -> None:
        if self._failed is None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE)
        for name in ("sandpiper", "asyncio"):
            logger = logging.getLogger(name)
            logger.removeHandler(self.ear)
            logger.setLevel(logging.NOTSET)
        assert not self._thread.is_alive(), "the nodes do not end"
        if self._failed is not None:
            raise self._failed
        assert not self.ear.wrong, self.ear.wrong

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except BaseException as exc:  # noqa: BLE001 - told where the test is
            self._failed = exc
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for node in (self.victim, self.friend):
            node.subscribe(self._listener(node))
        async with self.victim, self.friend:
            for node in (self.victim, self.friend):
                node.join("general")
            heard = self.victim._lan._heard

            def count(raw: bytes, host: str) -> None:
                self.heard += 1
                heard(raw, host)

            self.victim._lan.listen(count)
            await until(lambda: self.victim.members(GENERAL) and self.friend.members(GENERAL), "the friends' link")
            self._tasks = len(asyncio.all_tasks())
            self._ready.set()
            await self._stop.wait()
            for pipe in self._guests:
                pipe.abort()
            await turns()

    def _listener(self, node: Node) -> Callable[[NodeNotice], None]:
        told = self.told(node)

        def listen(notice: NodeNotice) -> None:
            if isinstance(notice, Accepted) and isinstance(notice.record.body, Text):
                told().add(notice.record.body.text)

        return listen

    def told(self, node: Node) -> Callable[[], set[str]]:
        name = "victim" if node is self.victim else "friend"
        return lambda: self._told[name]

    @contextlib.contextmanager
    def quietly(self) -> Iterator[None]:
        """Log warnings only: pytest keeps every line, and that would count as memory."""
        logger = logging.getLogger("sandpiper")
        logger.setLevel(logging.WARNING)
        yield
        logger.setLevel(logging.INFO)

    # ------------------------------------------------------------ acting there

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something on the nodes' event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE * 3)

    def new_identity(self) -> Identity:
        self._seeds += 1
        return Identity(self._seeds.to_bytes(32, "big"))

    async def guest(self, identity: Identity | None = None, *, hello: bool = True) -> Guest:
        """Somebody new with a link to the victim."""
        identity = identity or self.new_identity()
        guest = Guest(await dial_secure(await self.pipe(), identity), identity)
        if hello:
            guest.hello()
        return guest

    async def pipe(self) -> TcpPipe:
        pipe = await dial(HOST, self.victim.port)
        self._guests.append(pipe)
        return pipe

    async def _let_guests_go(self) -> None:
        for pipe in self._guests:
            pipe.abort()
        self._guests.clear()
        await turns()

    # ------------------------------------------------------------ beacons

    def cast(self, datagrams: list[bytes]) -> None:
        """Send datagrams to the group, no faster than the victim takes them."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            for start in range(0, len(datagrams), 20):
                before = self.heard
                some = datagrams[start : start + 20]
                for raw in some:
                    with contextlib.suppress(OSError):  # longer than a datagram can be
                        sock.sendto(raw, self.group)
                self._wait_for(before + len(some))

    def _wait_for(self, heard: int) -> None:
        """What the system has dropped does not come; so only as long as others do."""
        seen, since = self.heard, time.monotonic()
        while self.heard < heard and time.monotonic() - since < 0.1:
            if self.heard != seen:
                seen, since = self.heard, time.monotonic()
            time.sleep(0.0005)

    # ------------------------------------------------------------ checking

    def check(self) -> None:
        """Both nodes live, talk to each other, log nothing wrong, and nothing piles up."""
        self.run(self._talk())
        assert not self.ear.wrong, self.ear.wrong
        self.run(self._let_guests_go())
        self.run(until(lambda: len(asyncio.all_tasks(self._loop)) <= self._tasks + 3, "the end of all other tasks"))
        assert self.victim.link(self.friend.key) is not None

    async def _talk(self) -> None:
        for node in (self.victim, self.friend):
            assert node._task is not None
            assert not node._task.done(), f"{node.nick} has ended"
        self._words += 1
        word = f"still here {self._words}"
        for node in (self.victim, self.friend):
            node.post(GENERAL, Text(f"{node.nick} {word}"))
        await until(lambda: f"friend {word}" in self._told["victim"], "the friend's word")
        await until(lambda: f"victim {word}" in self._told["friend"], "the victim's word")

    def stored(self) -> list[tuple[bytes, str]]:
        """Every record that the victim keeps as (author, text), each of which must be valid."""
        with contextlib.closing(sqlite3.connect(self.victim._path)) as db:
            rows = db.execute("SELECT o.id, r.raw FROM records r JOIN rooms o ON o.n = r.room").fetchall()
        records = [open_record(raw, RoomId(room)) for room, raw in rows]
        return [(record.author, record.body.text) for record in records if isinstance(record.body, Text)]

    def strangers_stored(self) -> list[str]:
        """Texts that the victim keeps and neither of the two nodes wrote."""
        return [text for author, text in self.stored() if author not in (self.victim.key, self.friend.key)]

    def objects(self, kind: type) -> int:
        """How many of these there are in this process."""
        gc.collect()
        return sum(isinstance(one, kind) for one in gc.get_objects())


def resident() -> int:
    """Bytes of memory that this process uses."""
    gc.collect()
    if STATM.exists():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
