"""A private room on a real disk: it comes back as it was, and what does not count is neither shown nor found."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sandpiper.core.engine import Engine
from sandpiper.core.events import Append, Effect, Enact, EnterPrivate, Event, Judged, Now, Post, SaveRoom
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import RoomSecret
from sandpiper.crypto.signing import open_record, seal_record
from sandpiper.store.history import History
from sandpiper.store.reader import Reader
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Admit, AnyBody, Edit, React, Record, Remove, Text, Topic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

OWNER, ANN, BEN = (Identity(bytes((n,)) * 32) for n in range(1, 4))
SECRET = RoomSecret(bytes(range(32)))


class Kept:
    """An engine with its real history file, fed by hand."""

    def __init__(self, who: Identity, path: Path) -> None:
        self.who = who
        self.history = History(path)
        self.engine = Engine(who, "me", random.Random(1), Now(0.0, 1000), self.history.load_rooms())

    def do(self, event: Event) -> None:
        self.keep(self.engine.handle(event, Now(1.0, 2000)))

    def place(self, room: RoomId, records: Iterable[Record]) -> None:
        membership = self.engine._rooms[room]
        for record in records:
            self.keep(membership.place(record, PeerKey(bytes(32)), Now(1.0, 2000), history=True))
        self.keep(self.engine._settle(membership, Now(1.0, 2000)))

    def keep(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case SaveRoom():
                    self.history.save_room(effect)
                case Append():
                    self.history.append(effect)
                case Enact():
                    self.history.enact(effect)
                case Judged():
                    self.engine.derived(effect, self.history.judge(effect))
                case _:
                    pass
        self.history.commit()

    def private(self, room: RoomId) -> PrivateRoom:
        found = self.engine.room(room)
        assert isinstance(found, PrivateRoom)
        return found


def ben_says(room: RoomId, owners: Record) -> list[Record]:
    """Some of everything: a message of the owner is edited, reacted to, and a topic set."""
    out: list[Record] = []
    bodies: tuple[AnyBody, ...] = (
        Text("early bird"),
        Text("late bird"),
        Edit(bytes(32), "very late bird"),
        React(owners.id, "👍"),
        Topic("worms"),
    )
    for n, said in enumerate(bodies, 1):
        body = Edit(out[1].id, said.text) if isinstance(said, Edit) else said
        out.append(seal_record(BEN, room, n, RecordId(out[-1].id if out else b""), (), 3000 + n, body))
    return out


def test_what_is_judged_void_is_gone_from_pages_and_search_and_comes_back_when_the_judgement_falls(
    tmp_path: Path,
) -> None:
    path = tmp_path / "history.db"
    kept = Kept(OWNER, path)
    genesis = begin_room(OWNER, "birds", bytes(16), 1000)
    room = genesis.room
    kept.do(EnterPrivate(room, (genesis,), SECRET))
    for who in (ANN, BEN):
        kept.do(Post(room, Admit(who.key, "x")))
    kept.do(Post(room, Text("hello")))
    with Reader(path) as reader:
        (hello,) = reader.page(room)
    owners = kept.engine._rooms[room].room.logs[OWNER.key]
    said = ben_says(room, open_record(kept.history.raws(room, [(OWNER.key, len(owners))])[0][2], room))
    kept.place(room, said)
    with Reader(path) as reader:
        assert [m.text for m in reader.page(room)] == ["hello", "early bird", "very late bird"]
        assert reader.page(room)[0].reactions
    assert kept.private(room).topic == "worms"

    after = kept.private(room).roster.acts.newest()
    cut = Remove(BEN.key, False, after, 1, said[0].id)
    kept.do(Post(room, Text("now he goes")))
    seq, prev, deps = kept.private(room).next_place(OWNER.key)
    kept.place(room, [seal_record(OWNER, room, seq, prev, deps, 5000, cut)])
    for _ in range(2):  # and after a restart
        with Reader(path) as reader:
            assert [m.text for m in reader.page(room)] == ["hello", "early bird", "now he goes"]
            assert not reader.messages([hello.id])[0].reactions
            assert not reader.search("late")
            assert reader.search("early")
        private = kept.private(room)
        assert private.topic == ""
        assert len(private.void(BEN.key)) == 4
        assert private.secret == SECRET
        assert private.name == "birds"
        assert set(private.roster.ruling.roles) == {OWNER.key, ANN.key}
        kept.history.close()
        kept = Kept(OWNER, path)

    # Were it judged otherwise (an admin's removal that the owner's word sets aside), all of it is there again.
    kept.engine.derived(everything := Judged(room, BEN.key, frozenset()), kept.history.judge(everything))
    kept.history.commit()
    with Reader(path) as reader:
        assert {m.text for m in reader.page(room)} == {"hello", "early bird", "very late bird", "now he goes"}
        assert reader.search("very late")
        assert reader.messages([hello.id])[0].reactions
    assert kept.private(room).topic == "worms"
    kept.history.close()


def test_the_secret_of_a_room_shows_nowhere(tmp_path: Path) -> None:
    kept = Kept(OWNER, tmp_path / "history.db")
    genesis = begin_room(OWNER, "birds", bytes(16), 1000)
    event = EnterPrivate(genesis.room, (genesis,), SECRET)
    kept.do(event)
    said = repr((event, kept.history.load_rooms(), kept.engine.handle(event, Now(1.0, 2000)), str(SECRET)))
    for form in (SECRET.hex(), str(bytes(SECRET)), repr(bytes(SECRET))):
        assert form not in said
    kept.history.close()
