"""Who was let in by a member that others have not heard from since: it shows them the records that let it in. Pure.

A record of the roster is as good from its subject as from anybody else: it is signed. What is shown counts when,
together with what is known here, it makes the one who shows it a member; otherwise nothing of it is taken, so that a
stranger fills no tables. Page: docs/protocol/roster.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.core.control import is_control
from sandpiper.core.roster import Members
from sandpiper.wire.limits import MAX_VOUCH_BYTES, MAX_VOUCH_RECORDS
from sandpiper.wire.records import Admit, Remove, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sandpiper.core.private import PrivateRoom
    from sandpiper.wire.ids import PeerKey
    from sandpiper.wire.records import Record

VOUCH_RATE, VOUCH_BURST = 1.0, 16.0  # a second, of one room: each of strangers costs a ruling over the whole roster


def vouch_of(room: PrivateRoom, key: PeerKey) -> tuple[bytes, ...]:
    """The records that let `key` in last, and the newest of those that led to them, causes first: as many as one frame
    (or signal) takes. Empty for the owner, whom everybody knows, and for whoever is no member.
    """
    if room.roster.role(key) in (None, "owner"):
        return ()
    acts = room.roster.acts.all
    return _led_to(room, max((n for n, act in enumerate(acts) if _lets_in(act.record, key)), default=0))


def removal_of(room: PrivateRoom, key: PeerKey) -> tuple[bytes, ...]:
    """As `vouch_of`: what put `key` out last, for its own eyes. Empty for whoever was never put out."""
    acts = enumerate(room.roster.acts.all)
    ended = (n for n, act in acts if isinstance(act.record.body, Remove) and act.record.body.key == key)
    return _led_to(room, max(ended, default=0))


def _led_to(room: PrivateRoom, last: int) -> tuple[bytes, ...]:
    acts = room.roster.acts.all
    wanted = acts[last].past | 1 << last if acts else 0
    out: list[bytes] = []
    size = 0
    for number in range(last, 0, -1):  # 0 is the genesis, which every member has
        if not wanted >> number & 1:
            continue
        raw = acts[number].record.raw
        size += len(raw)
        if len(out) == MAX_VOUCH_RECORDS or size > MAX_VOUCH_BYTES:
            break
        out.append(raw)
    return tuple(reversed(out))


def _lets_in(record: Record, key: PeerKey) -> bool:
    return isinstance(record.body, Admit | Role) and record.body.key == key and record.author != key


def untold(room: PrivateRoom, key: PeerKey) -> Iterator[tuple[bytes, ...]]:
    """Control records from before `key`'s part of the history that whoever let it in did not know: no log brings them.
    In as many pieces as one frame takes each.
    """
    since = room.begins(key)
    acts = room.roster.acts.all
    knew = 0
    for number, act in enumerate(acts):
        if _lets_in(act.record, key):
            knew |= act.past | 1 << number
    raws: list[bytes] = []
    for number, act in enumerate(acts):
        record = act.record
        if knew >> number & 1 or record.time >= since:  # no clock is less than the record's time
            continue
        log = room.logs.get(record.author)
        clock = log.clock_of(record.seq, record.id) if log is not None else None
        if clock is None or clock < since:
            raws.append(record.raw)
    yield from pieces(raws)


def pieces(raws: Iterable[bytes]) -> Iterator[tuple[bytes, ...]]:
    """Control records, as many as one frame takes at a time."""
    piece: list[bytes] = []
    size = 0
    for raw in raws:
        if piece and (len(piece) == MAX_VOUCH_RECORDS or size + len(raw) > MAX_VOUCH_BYTES):
            yield tuple(piece)
            piece, size = [], 0
        piece.append(raw)
        size += len(raw)
    if piece:
        yield tuple(piece)


def vouched(room: PrivateRoom, key: PeerKey, records: Iterable[Record]) -> tuple[Record, ...]:
    """Those of `records` (signatures checked) that are news, if `key` is a member, also by them; else nothing."""
    known = room.roster
    fresh = [one for one in records if is_control(one) and one.room == room.id and one.id not in known.acts]
    if not fresh or known.admits(key):
        return tuple(fresh)
    trial = Members(room.id, room.within)
    for act in known.acts.all:
        trial.add(act.record)
    for record in fresh:
        trial.add(record)
    return tuple(one for one in fresh if trial.acts.find(one.id) is not None) if trial.admits(key) else ()
