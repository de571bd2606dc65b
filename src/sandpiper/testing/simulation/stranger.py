"""A peer that a test plays by hand: broken, hostile, of another version, or merely very odd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.crypto.rooms import room_tag
from sandpiper.crypto.signing import seal_record
from sandpiper.testing.simulation.link import End, Link
from sandpiper.wire.frames import LINK_VERSION, AnyFrame, Hello, decode_frame, encode_frame
from sandpiper.wire.ids import NO_RECORD, RecordId, RoomId
from sandpiper.wire.records import AnyBody, Head, Record, Text

if TYPE_CHECKING:
    from sandpiper.crypto.identity import Identity
    from sandpiper.testing.simulation.world import Simulation

Answer = Callable[["Stranger", End, AnyFrame], None]


class Stranger(End):
    """An identity that can link to peers and send them anything; it has no engine and answers nothing by itself.

    >>> mallory = sim.stranger()
    >>> mallory.dial(sim.peers[0])
    >>> mallory.hello(sim.peers[0], [open_room("lobby")])
    >>> sim.run_for(1)
    >>> [type(frame).__name__ for peer, frame in mallory.inbox]
    ['Hello', 'Heads']
    """

    def __init__(self, world: Simulation, number: int, identity: Identity) -> None:
        super().__init__(world, number, identity.key)
        self.identity = identity
        self.inbox: list[tuple[End, AnyFrame]] = []
        """What came, and from whom."""
        self.closed: list[tuple[End, str]] = []
        """Links that have ended, and why."""
        self.on_frame: Answer | None = None
        """Called with (stranger, peer, frame) for every frame that comes."""
        self._records: dict[RoomId, Record] = {}

    @property
    @override
    def alive(self) -> bool:
        return True

    def dial(self, peer: End) -> None:
        """Link to a peer; an earlier link is replaced."""
        self.world.connect(self, peer)

    def hang_up(self, peer: End) -> None:
        """End the link to a peer, if there is one."""
        link = self.links.get(peer.key)
        if link is not None:
            self.world.hang_up(self, link, "stranger")

    def hello(self, peer: End, rooms: list[RoomId], *, version: int = LINK_VERSION) -> None:
        """Say hello, and that it is in these rooms."""
        tags = tuple(room_tag(room) for room in rooms)
        self.send(peer, Hello(version, "stranger", "stranger", self.world.moment().wall_ms, tags))

    def send(self, peer: End, frame: AnyFrame) -> None:
        """Send a frame; without a link it goes nowhere."""
        self.send_raw(peer, encode_frame(frame))

    def send_raw(self, peer: End, raw: bytes) -> None:
        """Send any bytes as a frame."""
        link = self.links.get(peer.key)
        if link is not None:
            link.send(self, raw)

    def record(
        self, room: RoomId, body: AnyBody | str, *, seq: int = 0, prev: RecordId = NO_RECORD,
        deps: tuple[Head, ...] = (), time_ms: int = 0,
    ) -> Record:  # fmt: skip
        """A validly signed record of the stranger: the next of its log there, or whatever it says it is. Nothing is
        sent.
        """
        last = self._records.get(room)
        if not seq:
            seq, prev = (last.seq + 1, last.id) if last is not None else (1, NO_RECORD)
        body = Text(body) if isinstance(body, str) else body
        record = seal_record(self.identity, room, seq, prev, deps, time_ms or self.world.moment().wall_ms, body)
        self._records[room] = record
        return record

    # ------------------------------------------------------------ links

    @override
    def link_up(self, link: Link) -> None:
        pass

    @override
    def link_down(self, link: Link, reason: str) -> None:
        self.closed.append((link.other(self), reason))

    @override
    def receive(self, link: Link, raw: bytes) -> None:
        frame = decode_frame(raw)
        peer = link.other(self)
        self.inbox.append((peer, frame))
        if self.on_frame is not None:
            self.on_frame(self, peer, frame)
