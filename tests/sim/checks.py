"""What must hold after any simulation, whatever happened in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.events import Accepted, Delivered, Notice
from sandpiper.crypto.rooms import open_room
from sandpiper.wire.ids import RecordId, RoomId
from sandpiper.wire.records import Head, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandpiper.testing.simulation import SimPeer, Simulation

LOBBY = open_room("lobby")


def replay(sim: Simulation) -> str:
    """The sentence that a failing assertion ends with."""
    return f"; replay: SANDPIPER_SIM_SEED={sim.seed} make sim (trace {sim.trace_digest()[:16]} at {sim.now:.3f} s)"


def parents(record: Record) -> Iterator[RecordId]:
    if record.prev:
        yield record.prev
    yield from (RecordId(dep.id) for dep in record.deps)


def check_converged(sim: Simulation, room: RoomId = LOBBY) -> list[Record]:
    """All peers that are up have the same records in the same order; gives them back."""
    live = [peer for peer in sim.peers if peer.alive]
    first = live[0].places(room)
    for peer in live[1:]:
        other = peer.places(room)
        more, less = len(set(other) - set(first)), len(set(first) - set(other))
        assert other == first, f"{peer} has {more} places more and {less} less than {live[0]}{replay(sim)}"
    return live[0].history(room)


def check_causal(sim: Simulation, history: list[Record]) -> None:
    """Every record comes after everything that its author had seen when writing it."""
    seen: set[RecordId] = set()
    for record in history:
        for parent in parents(record):
            assert parent in seen, f"a record of {record.author.hex()[:8]} stands before its cause{replay(sim)}"
        seen.add(record.id)


def check_told_once(sim: Simulation) -> None:
    """No peer is told of a record twice in one run of the program, nor of one that was on its disk before."""
    for peer in sim.peers:
        told = [notice.record.id for notice in peer.told(Accepted, since_start=True)]
        assert len(told) == len(set(told)), f"{peer} was told of a record twice{replay(sim)}"
        again = peer.on_disk_at_start.intersection(told)
        assert not again, f"{peer} was told again of {len(again)} records that were on its disk{replay(sim)}"


def check_nothing_lost(sim: Simulation, posted: list[tuple[int, bytes]], room: RoomId = LOBBY) -> None:
    """What an author that is up was told is posted, and what any peer that is up has kept, everyone has."""
    live = [peer for peer in sim.peers if peer.alive]
    kept = set().union(*(peer.disk.ids(room) for peer in live))
    for index, record in posted:
        if sim.peers[index].alive:
            assert record in kept, f"{sim.peers[index]} posted a record that is gone{replay(sim)}"
    for peer in live:
        lost = kept - peer.disk.ids(room)
        assert not lost, f"{peer} never got {len(lost)} records that others have{replay(sim)}"


def check_no_fork(sim: Simulation, history: list[Record]) -> None:
    """Nobody wrote two records for one place: a crash never makes an honest author sign a place again."""
    places = {(record.author, record.seq) for record in history}
    assert len(places) == len(history), f"a restarted author signed a place twice{replay(sim)}"


class Honest:
    """Watches all delivery notices: none may claim more holders than really have the record on their disks."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.seen = 0
        for peer in sim.peers:
            peer.watch(self.check)

    def check(self, peer: SimPeer, notice: Notice) -> None:
        if isinstance(notice, Delivered) and peer.engine is not None:
            self.seen += 1
            members = peer.engine.members(notice.room)
            holders = [p for p in self.sim.peers if p.key in members and p.disk.holds(notice.room, notice.id)]
            assert notice.delivered <= len(holders), (
                f"{peer} was told that {notice.delivered} hold a record which {len(holders)} hold{replay(self.sim)}"
            )
            assert notice.members <= len(members), f"{peer} counts members that it does not have{replay(self.sim)}"


def head(record: Record) -> Head:
    return Head(record.author, record.seq, record.id)
