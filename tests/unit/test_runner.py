"""What a restart must not change: who owns a nick."""

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.config import Settings
from sandpiper.core.events import Append, SaveRoom
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room
from sandpiper.crypto.signing import record_id, seal_record
from sandpiper.faces.archive import Archive
from sandpiper.faces.nearby import look
from sandpiper.node.runner import Runner
from sandpiper.store.history import History
from sandpiper.wire.ids import NO_RECORD, PeerKey
from sandpiper.wire.records import AnyBody, Profile, Text

if TYPE_CHECKING:
    from sandpiper.core.names import Names


def test_whoever_was_met_first_has_the_nick_bare_also_after_a_restart(tmp_path: Path) -> None:
    for turn in range(8):
        first, second, plain = (PeerKey(Identity(os.urandom(32)).key) for _ in range(3))
        path = tmp_path / f"{turn}.db"
        history = History(path)
        history.set_ignored(plain, "ben", ignored=True)
        history.saw_peer(first, "ben", 1_000)
        history.saw_peer(second, "ben", 2_000)
        if random.Random(turn).random() < 0.5:
            history.saw_peer(first, "ben", 3_000)
        history.close()
        history = History(path)
        names: Names = Runner(Identity(os.urandom(32)), "ann", history, lambda _: None).names
        history.close()
        assert names.show(first) == "ben"
        assert names.find("ben") == first
        assert names.show(second) == f"ben~{second[:2].hex()}"
        assert names.show(plain).startswith("ben~")


def test_lookups_call_people_what_the_screen_calls_them(tmp_path: Path) -> None:
    first, second = (Identity(bytes((n,)) * 32) for n in (1, 2))
    history = History(tmp_path / "history.db")
    for one, when in ((first, 1_000), (second, 2_000), (first, 3_000)):
        history.saw_peer(one.key, "ben", when)
    for one in (second, first):  # in the file, the one met later comes first
        room = direct_room(one.key, PeerKey(b"m" * 32))
        history.save_room(SaveRoom(room, "", "direct", one.key, joined=True))
        bodies: tuple[AnyBody, ...] = (Profile("ben"), Text("hi"))
        for seq, body in enumerate(bodies, 1):
            prev = history.raws(room, [(one.key, 1)])
            record = seal_record(one, room, seq, record_id(prev[0][2]) if prev else NO_RECORD, (), seq, body)
            history.append(Append(record, seq))
            history.commit()
    history.close()
    suffixed = f"ben~{second.key[:2].hex()}"
    with Archive(tmp_path) as kept:
        assert {(said.room, said.nick) for said in kept.messages(None)} == {("@ben", "ben"), (f"@{suffixed}", suffixed)}
        assert kept.find_room("@ben").peer == first.key
        names = {one.key: one.nick for one in look(Settings(), 0, kept.reader.acquaintances())}
    assert names == {first.key.hex(): "ben", second.key.hex(): suffixed}
