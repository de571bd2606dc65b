"""The history file keeps what it says it keeps: through kill -9, full disks, damage, and later versions."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandpiper.core.events import Accepted, Forked, PeerChanged, SaveRoom
from sandpiper.core.room import Room
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import direct_room
from sandpiper.crypto.signing import reopen_record
from sandpiper.errors import StoreError
from sandpiper.node import Node, NodeSettings, Problem
from sandpiper.node.notices import NodeNotice
from sandpiper.store import history as history_module
from sandpiper.store import schema
from sandpiper.store.damage import damage_note
from sandpiper.store.history import History, Opened, open_history
from sandpiper.store.reader import Reader
from sandpiper.store.schema import APPLICATION_ID, MIGRATIONS, migrate
from sandpiper.testing.conformance import DEADLINE, refused, until
from sandpiper.wire.ids import RecordId
from sandpiper.wire.limits import MAX_BATCH_BYTES
from sandpiper.wire.records import Edit, Profile, React, Retract, Text, Topic
from tests.unit.authors import DEV, GENERAL, JOIN_DEV, JOIN_GENERAL, Author, head, keep


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def history(path: Path) -> Iterator[History]:
    history = History(path)
    history.save_room(JOIN_GENERAL)
    history.commit()
    yield history
    history.close()


def texts(path: Path) -> list[str]:
    with Reader(path) as reader:
        return [message.text for message in reader.page(GENERAL, limit=1000)]


def make(path: Path, count: int = 0) -> Author:
    """A history with so many messages of one author."""
    author = Author(1)
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        keep(history, *(author.write(f"message {number}") for number in range(count)))
    return author


# ---------------------------------------------------------------- keeping and giving back


def test_what_was_committed_is_there_when_it_is_opened_again(path):
    author, other = Author(1), Author(2)
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        one, two = keep(history, author.write("hello"), author.write("again"))
        (three,) = keep(history, other.write("hi", deps=(head(two),)))
    with closing(History(path)) as history:
        (room,) = history.load_rooms()
        assert (room.room, room.name, room.kind, room.peer, room.joined) == (GENERAL, "general", "open", None, True)
        assert {log.author: (log.ids, log.clocks) for log in room.logs} == {
            author.key: (one.id + two.id, (one.time, two.time)),
            other.key: (three.id, (three.time,)),
        }
        assert room.tips == (head(three),)
        places = [(author.key, 1), (author.key, 2), (other.key, 1)]
        assert history.raws(GENERAL, places) == [
            (author.key, 1, one.raw), (author.key, 2, two.raw), (other.key, 1, three.raw),
        ]  # fmt: skip


def test_what_was_not_committed_is_not(path):
    author = make(path, 1)
    with closing(sqlite3.connect(path)) as watcher:
        history = History(path)
        history.append(author.write("not yet"))
        assert watcher.execute("SELECT count(*) FROM messages").fetchone() == (1,)
        history.rollback()
        history.close()
    assert texts(path) == ["message 0"]


def test_after_a_rollback_the_log_goes_on_from_what_is_kept(history):
    author, other = Author(1), Author(2)
    (first,) = keep(history, author.write("kept"))
    history.append(author.write("lost"))
    history.append(other.write("lost, too, with its author"))
    history.save_room(JOIN_DEV)
    history.rollback()
    author.last[GENERAL] = first
    other.last.clear()
    keep(history, author.write("second"), other.write("first of the other"))
    assert texts(history.path) == ["kept", "second", "first of the other"]
    assert [room.name for room in history.load_rooms()] == ["general"]


def test_committing_nothing_is_free(history):
    history.commit()
    history.commit()
    history.rollback()
    assert not history._db.in_transaction


def test_the_files_are_for_their_owner_only(path):
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        history.commit()
        beside = [file for file in path.parent.iterdir() if file.name.startswith(path.name)]
        assert len(beside) == 3
        for file in beside:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_closed_history_is_one_file(path):
    make(path, 10)
    assert [file.name for file in path.parent.iterdir()] == ["history.db"]


def test_rooms_left_and_direct_rooms_come_back_as_they_were(path):
    me, peer = Author(1), Author(2)
    direct = direct_room(me.key, peer.key)
    with closing(History(path)) as history:
        for room in (JOIN_GENERAL, SaveRoom(direct, "", "direct", peer.key, joined=True)):
            history.save_room(room)
        keep(history, me.write("psst", room=direct))
        history.save_room(SaveRoom(GENERAL, "general", "open", None, joined=False))
        history.commit()
    with closing(History(path)) as history:
        general, secret = history.load_rooms()
        assert (general.joined, secret.joined) == (False, True)
        assert (secret.kind, secret.peer) == ("direct", peer.key)
        assert len(secret.logs) == 1


def test_forks_are_kept_beside_their_log_and_found_by_id(history):
    author = Author(1)
    one, two = keep(history, author.write("one"), author.write("two"))
    (twin,) = keep(history, author.fork("another two", two))
    (room,) = history.load_rooms()
    (log,) = room.logs
    assert log.ids == one.id + two.id
    assert log.forks == ((head(twin), twin.time, one.id),)
    assert set(room.tips) == {head(two), head(twin)}
    assert history.fork_raws(GENERAL, [RecordId(bytes(32)), twin.id]) == [twin.raw]
    assert history.fork_raws(GENERAL, [one.id]) == [], "those on the chain are found by place"
    assert history.fork_raws(DEV, [twin.id]) == []
    assert Room.restored(room, author.key).heads() == (head(two), head(twin))


def test_tips_that_come_back_are_those_that_nobody_named(history):
    one, two, three = Author(1), Author(2), Author(3)
    (a,) = keep(history, one.write("a"))
    (b,) = keep(history, two.write("b", deps=(head(a),)))
    (c,) = keep(history, three.write("c", deps=(head(a),)))
    (room,) = history.load_rooms()
    assert set(room.tips) == {head(b), head(c)}


def test_places_are_given_back_in_the_order_asked_for_until_one_is_missing(history):
    one, two = Author(1), Author(2)
    keep(history, *(one.write(f"{n}") for n in range(5)), *(two.write(f"{n}") for n in range(5)))
    places = [(two.key, 4), (two.key, 5), (one.key, 1), (one.key, 2), (two.key, 1)]
    assert [(author, seq) for author, seq, _ in history.raws(GENERAL, places)] == places
    assert [seq for _, seq, _ in history.raws(GENERAL, [(one.key, 4), (one.key, 6), (one.key, 1)])] == [4]
    assert [seq for _, seq, _ in history.raws(GENERAL, [(one.key, 5), (one.key, 6), (one.key, 7)])] == [5]
    assert history.raws(GENERAL, [(Author(9).key, 1), (one.key, 1)]) == []
    assert history.raws(DEV, [(one.key, 1)]) == []
    assert history.raws(GENERAL, [(one.key, 2**47)]) == []


def test_a_batch_ends_before_it_is_too_long_but_never_empty(history):
    author = Author(1)
    records = keep(history, *(author.write("x" * 15_000) for _ in range(50)))
    found = history.raws(GENERAL, [(author.key, seq) for seq in range(1, 51)])
    size = sum(len(raw) for _, _, raw in found)
    assert size <= MAX_BATCH_BYTES < size + len(records[0].raw)
    big = [author.fork("é" * 16_000 + str(n), records[0]) for n in range(30)]
    keep(history, *big)
    forks = history.fork_raws(GENERAL, [one.record.id for one in big])
    assert 1 <= len(forks) < 30
    assert sum(map(len, forks)) <= MAX_BATCH_BYTES


# ---------------------------------------------------------------- what records mean


def test_edits_retractions_reactions_topics_and_nicks_are_shown_as_they_stand(history):
    author, other = Author(1), Author(2)
    (one, two) = keep(history, author.write("helo"), author.write("oops"))
    keep(
        history,
        author.write(Edit(one.id, "hello")), author.write(Retract(two.id)), author.write(Profile("ann")),
        other.write(React(one.id, "👍")), other.write(React(one.id, "👎")), other.write(React(one.id, "👍")),
        other.write(React(one.id, "👎", add=False)), author.write(React(one.id, "❤️")),
        author.write(Topic("the plan")),
    )  # fmt: skip
    with Reader(history.path) as reader:
        first, second = reader.page(GENERAL)
        assert (first.text, first.edited, first.retracted, first.nick) == ("hello", True, False, "ann")
        assert {(r.author, r.emoji) for r in first.reactions} == {(other.key, "👍"), (author.key, "❤️")}
        assert (second.text, second.edited, second.retracted) == ("", False, True)
        assert reader.rooms()[0].topic == "the plan"
    (room,) = history.load_rooms()
    assert room.topic == "the plan"
    assert {log.author: log.nick for log in room.logs} == {author.key: "ann", other.key: ""}


def test_what_is_gathered_with_the_message_it_is_about_has_its_effect(history):
    """In one transaction, as when history is caught up."""
    author = Author(1)
    said = [author.write("one"), author.write("two"), author.write("three")]
    keep(
        history, *said,
        author.write(Edit(said[0].record.id, "1")), author.write(Retract(said[1].record.id)),
        author.write(React(said[2].record.id, "!")),
    )  # fmt: skip
    with Reader(history.path) as reader:
        assert [(m.text, m.edited, m.retracted, len(m.reactions)) for m in reader.page(GENERAL)] == [
            ("1", True, False, 0), ("", False, True, 0), ("three", False, False, 1),
        ]  # fmt: skip
        assert [m.text for m in reader.search("1")] == ["1"]
        for gone in ("one", "two"):
            assert reader.search(gone) == []


def test_others_cannot_edit_or_retract_and_nobody_can_from_another_room(history):
    author, eve = Author(1), Author(2)
    history.save_room(JOIN_DEV)
    (said,) = keep(history, author.write("mine"))
    keep(
        history,
        eve.write(Edit(said.id, "stolen")), eve.write(Retract(said.id)),
        author.write(Edit(said.id, "moved"), room=DEV), author.write(Retract(said.id), room=DEV),
    )  # fmt: skip
    with Reader(history.path) as reader:
        (message,) = reader.page(GENERAL)
        assert (message.text, message.edited, message.retracted) == ("mine", False, False)


def test_what_is_retracted_stays_so_whatever_is_edited_after(history):
    author = Author(1)
    (said,) = keep(history, author.write("a secret"))
    keep(
        history, author.write(Retract(said.id)), author.write(Edit(said.id, "a secret")), author.write(Retract(said.id))
    )
    with Reader(history.path) as reader:
        (message,) = reader.page(GENERAL)
        assert (message.text, message.retracted) == ("", True)
        assert reader.search("secret") == []


def test_what_is_about_messages_that_are_not_there_does_no_harm(history):
    author, nowhere = Author(1), RecordId(b"?" * 32)
    keep(
        history,
        author.write(Edit(nowhere, "x")), author.write(Retract(nowhere)), author.write(React(nowhere, "x")),
        author.write(React(nowhere, "y", add=False)), author.write(Text("hello", reply_to=nowhere)),
    )  # fmt: skip
    assert texts(history.path) == ["hello"]


def test_the_last_topic_in_the_rooms_order_holds_whatever_came_first(history):
    one, two = Author(1), Author(2)
    late, early = one.write(Topic("late"), time=2000), two.write(Topic("early"), time=1000)
    keep(history, late, early)
    assert history.load_rooms()[0].topic == "late"
    same = sorted((one.write(Topic("a"), time=3000), two.write(Topic("b"), time=3000)), key=lambda a: a.record.id)
    keep(history, *same[::-1])
    body = same[-1].record.body
    assert isinstance(body, Topic)
    assert history.load_rooms()[0].topic == body.text


def test_nicks_belong_to_a_room(history):
    author = Author(1)
    history.save_room(JOIN_DEV)
    keep(
        history,
        author.write(Profile("ann")), author.write("hi"),
        author.write(Profile("ann-at-work"), room=DEV), author.write("hi", room=DEV),
    )  # fmt: skip
    with Reader(history.path) as reader:
        assert [reader.page(room)[0].nick for room in (GENERAL, DEV)] == ["ann", "ann-at-work"]


def test_messages_of_an_old_dialect_are_shown_and_kept_apart(history):
    old, author = Author(9).key, Author(1)
    keep(history, author.write("signed"))
    for _ in range(2):
        history.append_plain(GENERAL, RecordId(b"m" * 32), old, "olga", Author.now + 5000, "plain")
        history.commit()
    with Reader(history.path) as reader:
        signed, plain = reader.page(GENERAL)
        assert (plain.text, plain.nick, plain.plain, plain.seq) == ("plain", "olga", True, 0)
        assert not signed.plain
        assert [m.text for m in reader.search("plain")] == ["plain"]
    (room,) = history.load_rooms()
    assert [log.author for log in room.logs] == [author.key], "nobody signed it, so it is never passed on"


def test_peers_are_remembered_with_their_last_nick_and_whether_they_are_ignored(path):
    ann, bob = Author(1).key, Author(2).key
    with closing(History(path)) as history:
        history.saw_peer(ann, "ann", 1000)
        history.saw_peer(bob, "bob", 2000)
        history.saw_peer(ann, "anna", 3000)
        history.set_ignored(bob, "bob", ignored=True)
        history.set_ignored(Author(3).key, "never met", ignored=True)
    with Reader(path) as reader:
        rows = {row.key: row for row in reader.peers()}
    assert (rows[ann].nick, rows[ann].first_seen, rows[ann].last_seen, rows[ann].ignored) == ("anna", 1000, 3000, False)
    assert rows[bob].ignored
    assert rows[Author(3).key].ignored


# ---------------------------------------------------------------- kill -9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the program that is killed forks")
def test_every_acknowledged_record_survives_kill_9_at_any_moment(path):
    rng = random.Random(os.urandom(8).hex())
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.acknowledging"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert program.stdin is not None
    assert program.stdout is not None
    kept: dict[int, str] = {}
    try:
        for round_ in range(20):
            program.stdin.write(f"{path}\n".encode())
            program.stdin.flush()
            _, pid = program.stdout.readline().split()
            # The first rounds while the file is made, the others after so many records; the pipe makes it random.
            for _ in range(rng.choice((0, 0, 1)) if round_ < 5 else rng.randrange(1, 120)):
                note(kept, program.stdout.readline())
            os.kill(int(pid), signal.SIGKILL)
            while (line := program.stdout.readline()) != b"dead\n":
                assert line, "the program itself has died"
                note(kept, line)
            check_log(path, kept)
    finally:
        program.stdin.close()
        program.wait(DEADLINE)
        program.stdout.close()
    assert len(kept) > 300


def note(kept: dict[int, str], line: bytes) -> None:
    word, seq, record = line.decode().split()
    assert word == "kept"
    assert int(seq) not in kept, "a place in the log was used twice"
    kept[int(seq)] = record


def check_log(path: Path, kept: dict[int, str]) -> None:
    """All that was acknowledged is there, in an unbroken chain, and nothing beside it."""
    if not path.exists():
        assert not kept
        return
    opened = open_history(path)
    try:
        assert opened.damaged is None
        rooms = opened.history.load_rooms()
        if not rooms:
            assert not kept
            return
        (room,) = rooms
        if not room.logs:
            assert not kept
            return
        (log,) = room.logs
        count = len(log.clocks)
        ids = {seq: log.ids[(seq - 1) * 32 : seq * 32].hex() for seq in range(1, count + 1)}
        assert kept.items() <= ids.items()
        assert log.forks == ()
        places = [(log.author, seq) for seq in range(1, count + 1)]
        raws: list[bytes] = []
        while len(raws) < count:
            batch = opened.history.raws(GENERAL, places[len(raws) :])
            assert batch
            raws += [raw for _, _, raw in batch]
        records = [reopen_record(raw) for raw in raws]
        assert [record.id.hex() for record in records] == list(ids.values())
        assert [record.prev.hex() for record in records] == ["", *list(ids.values())[:-1]]
        kept.update(ids)
    finally:
        opened.history.close()
    said = [record.body.text for record in records if isinstance(record.body, Text)]
    with Reader(path) as reader:
        assert [message.text for message in reader.everything(GENERAL)] == said
        for text in said[-1:]:
            pid = text.split()[3]
            assert len(reader.search(pid, limit=10_000)) == sum(pid in one.split() for one in said)


# ---------------------------------------------------------------- a full disk


def fill(history: History, room_for: int = 0) -> None:
    """Allow the file to grow by so many pages only."""
    pages = history._db.execute("PRAGMA page_count").fetchone()[0]
    history._db.execute(f"PRAGMA max_page_count = {pages + room_for}")


def make_room(history: History) -> None:
    history._db.execute("PRAGMA max_page_count = 1000000")


def write_until_full(history: History, author: Author, size: int = 1000) -> list[str]:
    """What could be kept before the disk was full."""
    out: list[str] = []

    def write() -> None:
        while len(out) < 10_000:
            text = f"{len(out)} " + "x" * size
            before = dict(author.last)
            append = author.write(text)
            kept = author.last
            author.last = before
            keep(history, append)
            author.last = kept
            out.append(text)

    with pytest.raises(StoreError, match="full") as caught:
        write()
    assert caught.value.code == "disk_full"
    assert caught.value.hint
    return out


@pytest.mark.parametrize("room_for", [0, 1, 2, 5, 40])
def test_on_a_full_disk_what_was_committed_stays_and_nothing_else(history, room_for):
    author = Author(1)
    fill(history, room_for)
    kept = write_until_full(history, author)
    assert texts(history.path) == kept
    assert write_until_full(history, author) == [], "still full"
    make_room(history)
    keep(history, author.write("there is room again"))
    assert texts(history.path) == [*kept, "there is room again"]
    (room,) = history.load_rooms()
    assert sum(len(log.clocks) for log in room.logs) == len(kept) + 1


def test_nothing_of_a_transaction_that_did_not_fit_is_kept(history):
    author, other = Author(1), Author(2)
    (first,) = keep(history, author.write("before"))
    fill(history, 3)
    many = [author.write("y" * 3000) for _ in range(40)]
    with pytest.raises(StoreError) as caught:
        keep(history, other.write("also lost"), *many)
    assert caught.value.code == "disk_full"
    assert texts(history.path) == ["before"]
    assert not history._db.in_transaction
    make_room(history)
    author.last[GENERAL] = first
    other.last.clear()
    keep(history, author.write("second"), other.write("first of the other"))
    (room,) = history.load_rooms()
    assert sorted(len(log.clocks) for log in room.logs) == [1, 2]


def test_every_way_of_writing_leaves_a_usable_history_when_the_disk_is_full(history):
    """Also those that nobody rolls back by hand."""
    author = Author(1)
    keep(history, author.write("before"))
    fill(history)
    long = "z" * 50_000
    writes = {
        "plain": lambda: (
            history.append_plain(GENERAL, RecordId(b"m" * 32), author.key, "olga", 1, long), history.commit(),
        ),
        "peer": lambda: (history.saw_peer(author.key, long, 1), history.commit()),
        "ignored": lambda: history.set_ignored(author.key, long, ignored=True),
        "room": lambda: (history.save_room(SaveRoom(DEV, long, "open", None, joined=True)), history.commit()),
    }  # fmt: skip
    for name, write in writes.items():
        with pytest.raises(StoreError) as caught:
            write()
        assert caught.value.code == "disk_full", name
        assert not history._db.in_transaction, name
        assert not history._dirty, name
    make_room(history)
    for write in writes.values():
        write()
    assert len(texts(history.path)) == 2
    assert [room.name for room in history.load_rooms()] == ["general", long]


def test_a_disk_that_is_full_when_the_program_ends_is_no_error(path):
    author = make(path, 3)
    history = History(path)
    keep(history, author.write("the last"))
    fill(history)
    history.close()
    assert texts(path)[-1] == "the last"
    with Reader(path) as reader:
        assert len(reader.search("last")) == 1


def test_a_disk_that_is_full_at_the_first_start_is_told_and_the_next_start_works(path, monkeypatch):
    pragmas = history_module._PRAGMAS
    monkeypatch.setattr(history_module, "_PRAGMAS", (*pragmas, "PRAGMA max_page_count = 3"))
    with pytest.raises(StoreError) as caught:
        open_history(path)
    assert caught.value.code == "disk_full"
    monkeypatch.setattr(history_module, "_PRAGMAS", pragmas)
    opened = open_history(path)
    assert opened.damaged is None
    opened.history.close()


# ---------------------------------------------------------------- a node on a full disk


def node_at(path: Path, seed: int, nick: str, peers: tuple[tuple[str, int], ...] = ()) -> Node:
    settings = NodeSettings(ports=range(1), hosts=("127.0.0.1",), multicast=False, peers=peers)
    return Node(Identity(bytes([seed]) * 32), nick, path, settings)


async def test_a_node_tells_nobody_what_it_could_not_keep_and_goes_on_when_there_is_room(tmp_path):
    ours: list[NodeNotice] = []
    theirs: list[NodeNotice] = []
    async with asyncio.timeout(DEADLINE * 2):
        async with node_at(tmp_path / "a.db", 1, "ann") as ann:
            ann.subscribe(ours.append)
            async with node_at(tmp_path / "b.db", 2, "bob", (("127.0.0.1", ann.port),)) as bob:
                bob.subscribe(theirs.append)
                room = ann.join("general")
                bob.join("general")
                await until(lambda: ann.members(room) and bob.members(room), "a shared room")
                ann.post(room, Text("before"))
                await until(lambda: "before" in shown(theirs), "the first message")
                for _ in range(3):
                    fill(ann._run.history, 8)
                    with refused(StoreError, code="disk_full"):
                        for number in range(1000):
                            ann.post(room, Text(f"{number} " + "x" * 1000))
                    with pytest.raises(StoreError):
                        ann.post(room, Text("lost " * 3000))
                    make_room(ann._run.history)
                    await until(lambda: ann.members(room), "the next link")
                    ann.post(room, Text("there is room again"))
                    await until(lambda: shown(theirs)[-1] == "there is room again", "the next message")
                await until(lambda: shown(theirs) == texts(tmp_path / "a.db"), "the same at both")
                assert sorted(shown(ours)) == sorted(texts(tmp_path / "a.db")), "told what was kept, each once"
                assert not [n for n in (*ours, *theirs) if isinstance(n, Forked)]
                states = [n.state for n in ours if isinstance(n, PeerChanged) and n.peer == bob.key]
                assert states == ["linked", "lost"] * 3 + ["linked"], "nobody is shown as linked who is not"
            assert texts(tmp_path / "b.db") == texts(tmp_path / "a.db")


def shown(notices: list[NodeNotice]) -> list[str]:
    accepted = [n for n in notices if isinstance(n, Accepted)]
    accepted.sort(key=lambda n: (n.clock, n.record.id))
    return [n.record.body.text for n in accepted if isinstance(n.record.body, Text)]


async def test_a_node_with_a_full_disk_takes_nothing_from_others_and_catches_up_later(tmp_path):
    problems: list[NodeNotice] = []
    async with asyncio.timeout(DEADLINE * 2):
        async with node_at(tmp_path / "a.db", 1, "ann") as ann:
            ann.subscribe(lambda notice: problems.append(notice) if isinstance(notice, Problem) else None)
            async with node_at(tmp_path / "b.db", 2, "bob", (("127.0.0.1", ann.port),)) as bob:
                room = ann.join("general")
                bob.join("general")
                await until(lambda: ann.members(room) and bob.members(room), "a shared room")
                fill(ann._run.history)
                for number in range(60):
                    bob.post(room, Text(f"{number} " + "x" * 2000))
                await until(lambda: problems, "a clear word")
                first = problems[0]
                assert isinstance(first, Problem)
                assert first.code == "disk_full"
                assert first.hint
                make_room(ann._run.history)
                await until(lambda: len(texts(tmp_path / "a.db")) == 60, "all of them")
            assert texts(tmp_path / "a.db") == texts(tmp_path / "b.db")


async def test_a_node_whose_history_turns_out_damaged_ends_with_a_clear_error(tmp_path):
    path = tmp_path / "a.db"
    node = node_at(path, 1, "ann")
    async with asyncio.timeout(DEADLINE):
        await node.__aenter__()
        room = node.join("general")
        for number in range(200):
            node.post(room, Text(f"{number} " + "x" * 2000))
        history = node._run.history
        history._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        history._db.execute("PRAGMA shrink_memory")
        garble(path, 4096, path.stat().st_size - 4096)
        with refused(StoreError, code="damaged"):
            for number in range(1000):
                node.post(room, Text(f"after {number}"))
        with pytest.raises(StoreError):
            node.post(room, Text("and nothing after it"))
        with pytest.raises(StoreError) as caught:
            await node.finished()
        assert caught.value.code == "damaged"
        assert "Start again" in caught.value.hint
    ruined = path.read_bytes()
    notices: list[NodeNotice] = []
    again = node_at(path, 1, "ann")
    again.subscribe(notices.append)
    async with asyncio.timeout(DEADLINE), again:
        again.post(again.join("general"), Text("a new beginning"))
        (problem,) = [n for n in notices if isinstance(n, Problem)]
        assert problem.code == "damaged"
        aside = [file for file in tmp_path.iterdir() if ".damaged-" in file.name and file.read_bytes() == ruined]
        assert len(aside) == 1
        assert aside[0].name in problem.text


# ---------------------------------------------------------------- damage


def garble(path: Path, start: int, count: int, seed: int = 1) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(random.Random(seed).randbytes(count))


KNOWN_CODES = {"damaged", "foreign_file", "newer_file", "not_writable", "store"}


def test_damage_anywhere_in_the_file_is_never_overwritten_and_never_a_crash(tmp_path):
    """It is moved aside, or there is a clear error and the file stays; or it does no harm, and all can be read."""
    path = tmp_path / "history.db"
    make(path, 300)
    whole = path.read_bytes()
    rng = random.Random(3)
    places = [*range(0, 100, 2), *(rng.randrange(len(whole)) for _ in range(150))]
    outcomes = {"moved": 0, "refused": 0, "read": 0}
    for place in places:
        path.write_bytes(whole)
        garble(path, place, rng.choice((1, 4, 64, 5000)), seed=place)
        ruined = path.read_bytes()
        opened = open_or_error(path)
        if isinstance(opened, StoreError):
            assert opened.code in KNOWN_CODES - {"damaged"}, f"byte {place}: {opened!r}"
            assert path.read_bytes() == ruined, f"byte {place}: refused and changed all the same"
            outcomes["refused"] += 1
            continue
        opened.history.close()
        if opened.damaged is not None:
            assert opened.damaged.read_bytes() == ruined, f"byte {place}"
            assert texts(path) == []
            opened.damaged.unlink()
            outcomes["moved"] += 1
        else:
            read_all(path)
            outcomes["read"] += 1
    assert outcomes["moved"] > len(places) / 4, outcomes


def open_or_error(path: Path) -> Opened | StoreError:
    try:
        return open_history(path)
    except StoreError as exc:
        return exc


def read_all(path: Path) -> None:
    """Damage that no check sees may still come out as our error, and as nothing else."""
    with Reader(path) as reader, contextlib.suppress(StoreError):
        list(reader.everything(GENERAL))
        reader.search("message")
        reader.rooms()


def test_damage_found_after_a_crash_leaves_the_wal_as_it_was(path, tmp_path):
    """It holds the newest messages, perhaps the only copy of them."""
    author = make(path, 300)
    history = History(path)
    keep(history, *(author.write("in the wal only " + "x" * 500) for _ in range(20)))
    crashed = tmp_path / "crashed"
    shutil.copytree(path.parent, crashed, ignore=shutil.ignore_patterns("crashed", "*-shm"))
    history.close()
    garble(crashed / "history.db", 8192, 4000)
    before = [(crashed / name).read_bytes() for name in ("history.db", "history.db-wal")]
    aside = open_history_and_close(crashed / "history.db")
    assert aside is not None
    assert [aside.with_name(aside.name + suffix).read_bytes() for suffix in ("", "-wal")] == before


@pytest.mark.parametrize("page", range(1, 12))
def test_a_page_of_zeros_is_noticed(tmp_path, page):
    path = tmp_path / "history.db"
    make(path, 300)
    with path.open("r+b") as file:
        file.seek(page * 4096)
        file.write(bytes(4096))
    opened = open_history(path)
    opened.history.close()
    assert opened.damaged is not None


def test_a_file_cut_short_is_noticed(tmp_path):
    path = tmp_path / "history.db"
    make(path, 300)
    whole = path.read_bytes()
    for length in (2, 15, 16, 99, 100, 4095, 4096, 4097, len(whole) // 2, len(whole) - 4096):
        path.write_bytes(whole[:length])
        opened = open_history(path)
        opened.history.close()
        assert opened.damaged is not None, length
        assert opened.damaged.read_bytes() == whole[:length]


def test_damaged_files_are_kept_aside_with_what_stands_beside_them_each_under_its_own_name(path):
    seen: set[Path] = set()
    for number in range(5):
        contents = {"": b"not a database %d" % number * 300, "-wal": b"wal %d" % number}
        for suffix, content in contents.items():
            path.with_name(path.name + suffix).write_bytes(content)
        opened = open_history(path)
        opened.history.save_room(JOIN_GENERAL)
        opened.history.close()
        aside = opened.damaged
        assert aside is not None
        assert aside not in seen
        seen.add(aside)
        for suffix, content in contents.items():
            assert aside.with_name(aside.name + suffix).read_bytes() == content
        assert open_history_and_close(path) is None


def open_history_and_close(path: Path) -> Path | None:
    opened = open_history(path)
    opened.history.close()
    return opened.damaged


def test_damage_that_the_check_at_opening_does_not_see_is_seen_when_rooms_are_loaded(path):
    """The pages are sound, and what stands in them is nonsense."""
    nonsense = (
        "UPDATE records SET author = 99",
        "UPDATE rooms SET name = CAST(x'ff' AS TEXT)",
        "UPDATE records SET raw = x'00'",
    )
    for statement in nonsense:
        make(path, 3)
        with closing(sqlite3.connect(path)) as db:
            db.execute(statement)
            db.commit()
        aside = open_history_and_close(path)
        assert aside is not None, statement
        with closing(sqlite3.connect(aside)) as db:
            assert db.execute("SELECT count(*) FROM records").fetchone() == (3,)
        path.unlink()


@pytest.mark.parametrize("how", ["append", "read", "rooms"])
def test_damage_met_while_running_is_told_and_the_next_start_keeps_the_file_aside(path, how):
    author = make(path, 300)
    history = History(path)
    history._db.execute("PRAGMA shrink_memory")
    garble(path, 4096, path.stat().st_size - 4096)

    def use() -> None:
        match how:
            case "append":
                for _ in range(1000):
                    keep(history, author.write("x" * 2000))
            case "read":
                history.raws(GENERAL, [(author.key, seq) for seq in range(1, 301)])
            case _:
                history.load_rooms()

    with pytest.raises(StoreError, match="damaged") as caught:
        use()
    assert caught.value.code == "damaged"
    assert "Start again" in caught.value.hint
    assert damage_note(path).exists()
    history.close()
    ruined = path.read_bytes()
    aside = open_history_and_close(path)
    assert aside is not None
    assert aside.read_bytes() == ruined
    assert not damage_note(path).exists()
    assert open_history_and_close(path) is None


def test_a_note_of_damage_without_a_file_is_no_trouble(path):
    damage_note(path).touch()
    assert open_history_and_close(path) is None
    assert not damage_note(path).exists()


# ---------------------------------------------------------------- files that are not ours to change


def test_a_file_of_a_later_version_is_refused_and_left_alone(path):
    make(path, 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_history(path)
    assert caught.value.code == "newer_file"
    assert "Update" in caught.value.hint
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", [0, 1, 7])
def test_a_database_of_another_program_is_refused_and_left_alone(path, version):
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
        db.execute("INSERT INTO bookmarks VALUES ('https://example.com')")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    with pytest.raises(StoreError) as caught:
        open_history(path)
    assert caught.value.code == "foreign_file"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT url FROM bookmarks").fetchall() == [("https://example.com",)]
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        assert db.execute("PRAGMA application_id").fetchone() == (0,)


@pytest.mark.parametrize("version", [0, -1, -(2**31)])
def test_a_version_that_cannot_be_right_is_damage(path, version):
    make(path, 1)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {version}")
    assert open_history_and_close(path) is not None


def test_a_folder_that_is_not_there_is_told_with_what_to_do(tmp_path):
    with pytest.raises(StoreError) as caught:
        open_history(tmp_path / "nowhere" / "history.db")
    assert caught.value.code == "not_writable"
    assert "SANDPIPER_HOME" in caught.value.hint


def test_a_folder_where_the_file_should_be_is_told_and_left_alone(path):
    path.mkdir()
    with pytest.raises(StoreError) as caught:
        open_history(path)
    assert caught.value.code == "not_writable"
    assert path.is_dir()


def test_a_file_in_use_by_a_writer_is_waited_for_and_then_told(path, monkeypatch):
    make(path, 1)
    monkeypatch.setattr(
        history_module, "_PRAGMAS", tuple(p.replace("5000", "10") for p in history_module._PRAGMAS)
    )  # fmt: skip
    with closing(History(path)) as history, closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as caught:
            history.saw_peer(Author(1).key, "x", 1)
        assert caught.value.code == "store"
        other.rollback()
        history.saw_peer(Author(1).key, "x", 1)
        history.commit()


# ---------------------------------------------------------------- migrations

STEPS = (
    "CREATE TABLE one (a INTEGER); INSERT INTO one VALUES (1);",
    "CREATE TABLE two (b INTEGER); INSERT INTO two SELECT a + 1 FROM one;",
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "m.db", isolation_level=None)) as db:
        yield db


def version_of(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def tables_of(db: sqlite3.Connection) -> set[str]:
    return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_a_new_file_goes_through_all_steps(db):
    migrate(db, STEPS)
    assert version_of(db) == 2
    assert db.execute("SELECT b FROM two").fetchall() == [(2,)]
    assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_an_older_file_goes_through_the_steps_it_lacks_and_keeps_its_content(db):
    migrate(db, STEPS[:1])
    db.execute("UPDATE one SET a = 41")
    migrate(db, STEPS)
    migrate(db, STEPS)
    assert version_of(db) == 2
    assert db.execute("SELECT b FROM two").fetchall() == [(42,)]


@pytest.mark.parametrize(
    "broken",
    [
        "CREATE TABLE two (b); INSERT INTO two VALUES (1); INSERT INTO nowhere VALUES (1);",
        "DROP TABLE one; SELECT no_such_function();",
        "DROP TABLE one; this is no SQL",
    ],
    ids=["no table", "no function", "no SQL"],
)
def test_a_step_that_fails_is_undone_whole(db, broken):
    migrate(db, STEPS[:1])
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (STEPS[0], broken))
    assert not db.in_transaction
    assert version_of(db) == 1
    assert tables_of(db) == {"one"}
    assert db.execute("SELECT a FROM one").fetchall() == [(1,)]
    migrate(db, STEPS)
    assert version_of(db) == 2


def test_the_steps_before_one_that_fails_are_kept(db):
    with pytest.raises(sqlite3.OperationalError):
        migrate(db, (*STEPS, "INSERT INTO nowhere VALUES (1);"))
    assert version_of(db) == 2
    assert tables_of(db) == {"one", "two"}


def test_a_migration_that_does_not_fit_on_the_disk_is_undone_and_told(path, monkeypatch):
    make(path, 10)
    before = texts(path)
    big = "CREATE TABLE big (x); INSERT INTO big SELECT hex(zeroblob(500000));"
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, big))
    monkeypatch.setattr(history_module, "migrate", lambda db: migrate(db, schema.MIGRATIONS))
    pragmas = history_module._PRAGMAS
    monkeypatch.setattr(history_module, "_PRAGMAS", (*pragmas, "PRAGMA max_page_count = 60"))
    with pytest.raises(StoreError) as caught:
        open_history(path)
    assert caught.value.code == "disk_full"
    assert texts(path) == before
    monkeypatch.setattr(history_module, "_PRAGMAS", pragmas)
    assert open_history_and_close(path) is None
    assert texts(path) == before


def test_an_older_file_with_a_wal_beside_it_is_brought_up_to_date_with_what_is_in_it(path, tmp_path):
    author = make(path, 2)
    history = History(path)
    keep(history, author.write("in the wal only"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in path.parent.glob("history.db*"):
        shutil.copy(file, copy)
    history.close()
    assert open_history_and_close(copy / "history.db") is None
    assert texts(copy / "history.db")[-1] == "in the wal only"


# ---------------------------------------------------------------- checkpoints


def test_the_wal_is_folded_into_the_file_on_a_thread_while_writing_goes_on(path, monkeypatch):
    monkeypatch.setattr(history_module, "CHECKPOINT_EVERY", 50)
    author = Author(1)
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        sizes = []
        for _ in range(40):
            keep(history, *(author.write("x" * 500) for _ in range(50)))
            assert history._checkpoint is not None
            history._checkpoint.join()
            sizes.append(path.with_name("history.db-wal").stat().st_size)
        assert max(sizes[20:]) < 3_000_000, "the WAL is used again instead of growing for ever"
        assert len(texts(path)) == 1000
    assert not [thread for thread in threading.enumerate() if thread.name == "history-checkpoint"]


def test_a_history_removed_under_a_running_program_is_not_made_anew_by_a_checkpoint(path):
    make(path, 1)
    history = History(path)
    for file in path.parent.glob("history.db*"):
        file.unlink()
    history._fold()
    assert not path.exists()
    history.close()


# ---------------------------------------------------------------- what was read, and who is verified


def test_a_room_is_read_up_to_a_place_that_never_goes_back(path):
    author = Author(1)
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        history.save_room(JOIN_DEV)
        first, second = keep(history, author.write("one"), author.write("two"))
        assert history.read_places() == {GENERAL: (-1, b""), DEV: (-1, b"")}
        for record in (second, first):
            history.mark_read(GENERAL, (record.time, record.id))
        history.mark_read(GENERAL, (second.time, b""))
        history.save_room(JOIN_GENERAL)
    with closing(History(path)) as history:
        assert history.read_places() == {GENERAL: (second.time, second.id), DEV: (-1, b"")}
        place = history.read_places()[GENERAL]
        with Reader(path) as reader:
            assert reader.page_after(GENERAL, place) == []
            (third,) = keep(history, author.write("three"))
            assert [message.id for message in reader.page_after(GENERAL, place)] == [third.id]


def test_reading_a_room_that_is_not_kept_does_no_harm(history):
    history.mark_read(DEV, (1, b"x"))
    assert history.read_places() == {GENERAL: (-1, b"")}


def test_verified_belongs_to_a_key_whatever_it_is_called(path):
    bob, other = Author(1).key, Author(2).key
    with closing(History(path)) as history:
        history.saw_peer(bob, "bob", 1000)
        history.set_verified(bob, "bob", verified=True)
        history.saw_peer(bob, "robert", 2000)
        history.saw_peer(other, "bob", 3000)
        history.set_ignored(bob, "robert", ignored=True)
    with closing(History(path)) as history, Reader(path) as reader:
        assert {row.key: (row.nick, row.verified) for row in reader.peers()} == {
            bob: ("robert", True), other: ("bob", False),
        }  # fmt: skip
        history.set_verified(bob, "robert", verified=False)
        assert not any(row.verified for row in reader.peers())
        assert next(row.ignored for row in reader.peers() if row.key == bob)


def test_who_was_chosen_before_the_first_link_is_first_seen_at_that_link(history):
    key = Author(1).key
    history.set_verified(key, "bob", verified=True)
    for now in (5000, 6000):
        history.saw_peer(key, "bob", now)
    history.commit()
    with Reader(history.path) as reader:
        (row,) = reader.peers()
    assert (row.first_seen, row.last_seen, row.verified) == (5000, 6000, True)


def test_marks_that_do_not_fit_on_the_disk_are_refused_and_the_old_ones_stay(history):
    author, long = Author(1), "x" * 20_000
    history.mark_read(GENERAL, (1, b"a"))
    fill(history)
    with pytest.raises(StoreError) as caught:
        history.set_verified(author.key, long, verified=True)
    assert caught.value.code == "disk_full"
    with pytest.raises(StoreError):
        history.mark_read(GENERAL, (2, long.encode()))
    assert history.read_places() == {GENERAL: (1, b"a")}
    make_room(history)
    history.mark_read(GENERAL, (2, b"b"))
    assert history.read_places() == {GENERAL: (2, b"b")}


def test_what_a_file_of_version_1_holds_counts_as_read_and_nobody_in_it_as_verified(path):
    """Made with the tables of version 1, as the program that wrote them left it."""
    author, eve = Author(1), Author(2)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, MIGRATIONS[:1])
        assert "verified" not in {row[1] for row in db.execute("PRAGMA table_info (peers)")}
        for n, room in enumerate((JOIN_GENERAL, JOIN_DEV), 1):
            row = (n, room.room, room.name, room.kind, room.peer, room.joined)
            db.execute("INSERT INTO rooms (n, id, name, kind, peer, joined) VALUES (?, ?, ?, ?, ?, ?)", row)
        db.execute("INSERT INTO authors (n, key) VALUES (1, ?)", (author.key,))
        newest = (-1, b"")
        for n, append in enumerate([author.write("older"), author.write("newest")], 1):
            record = append.record
            db.execute(
                "INSERT INTO records VALUES (1, 1, 1, ?, ?, ?, ?)", (record.seq, record.id, append.clock, record.raw)
            )
            db.execute(
                "INSERT INTO messages (n, room, clock, id, author, seq, time, text, action, reply_to)"
                " VALUES (?, 1, ?, ?, 1, ?, ?, 'said', 0, x'')",
                (n, append.clock, record.id, record.seq, record.time),
            )
            newest = (append.clock, bytes(record.id))
        db.execute("INSERT INTO peers VALUES (?, 'eve', 1, 2, 1)", (eve.key,))
    opened = open_history(path)
    with closing(opened.history) as history, Reader(path) as reader:
        assert opened.damaged is None
        assert history.read_places() == {GENERAL: newest, DEV: (-1, b"")}
        assert [(row.nick, row.ignored, row.verified) for row in reader.peers()] == [("eve", True, False)]
        assert [message.text for message in reader.page(GENERAL)] == ["said", "said"]
        keep(history, author.write("after the update"))
        assert [message.text for message in reader.page_after(GENERAL, newest)] == ["after the update"]
