"""A hub's history on SQLite keeps what it says it keeps: through restarts, kill -9, failing disks, damage and age."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from sandpiper.errors import StoreError, UsageError
from sandpiper.hub import sqlite as sqlite_module
from sandpiper.hub import sqlite_upkeep, sqlite_writer
from sandpiper.hub.history import Batch, KeptRoom, LinesBefore, MemoryHistory
from sandpiper.hub.sqlite import SqliteHistory
from sandpiper.hub.sqlite_lines import with_text
from sandpiper.hub.sqlite_schema import SEQ_JUMP, HistorySettings
from sandpiper.testing.conformance import until
from sandpiper.wire.hub.answers import Edited, Reacted, Retracted, Said, TopicSet
from sandpiper.wire.hub.lines import decode_answer, encode_answers
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sandpiper.wire.hub.answers import Kept

TS = 1_735_812_345
DEV = KeptRoom("dev", "e1")
KEYS = tuple(PeerKey(bytes([n]) * 32) for n in range(1, 4))


def clock() -> float:
    return TS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


class Teller:
    """Says things in one room."""

    def __init__(self, history: SqliteHistory | MemoryHistory, room: KeptRoom = DEV, ts: int = TS) -> None:
        self.history = history
        self.room = room
        self.seq = room.seq
        self.ts = ts

    def say(self, *texts: str) -> int:
        """A batch of messages; the number of the last."""
        return self.put(*(Said("alice", text, self.ts, "dev", self.seq + n) for n, text in enumerate(texts, 1)))

    def edit(self, id_: int, text: str) -> int:
        return self.put(Edited("alice", text, self.ts, id_, "dev", self.seq + 1))

    def retract(self, id_: int) -> int:
        return self.put(Retracted("alice", self.ts, id_, "dev", self.seq + 1))

    def put(self, *lines: Kept) -> int:
        batch = Batch(self.room.name, self.room.epoch, self.seq + 1, len(lines), self.ts, encode_answers(lines))
        self.history.append(batch)
        self.seq += len(lines)
        return self.seq


@contextlib.asynccontextmanager
async def opened(path: Path, **settings: Any) -> AsyncIterator[SqliteHistory]:
    history = SqliteHistory(path, HistorySettings(**settings), clock=clock)
    try:
        history.load()
        yield history
    finally:
        await history.aclose()


async def page(history: SqliteHistory | MemoryHistory, before: int = 0, limit: int = 50) -> list[str]:
    found = await history.read("dev", "e1", before, limit)
    return texts(found.lines)


def texts(lines: Sequence[bytes]) -> list[str]:
    return [json.loads(line).get("text", "") for line in lines]


async def found(history: SqliteHistory, words: str, before: int = 0, limit: int = 50) -> list[str]:
    return texts((await history.search("dev", "e1", words, before, limit)).lines)


def ask(path: Path, query: str) -> Any:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchone()[0]


async def upkept(history: SqliteHistory) -> None:
    """All upkeep is done."""
    await history.settle()
    upkeep = history._writer._upkeep
    await until(lambda: not upkeep.wanted, "upkeep")


# ---------------------------------------------------------------- keeping and giving back


async def test_what_was_kept_is_there_after_a_restart(path):
    async with opened(path) as history:
        room = KeptRoom("dev", "e1", 0, "a topic", b"hash", KEYS[:2], 7)
        history.remember(room)
        history.own("alice", KEYS[0])
        history.own("Bob", KEYS[1])
        Teller(history).say("one", "two", "three")
    history = SqliteHistory(path)
    stored = history.load()
    assert stored.rooms == (room._replace(seq=3),)
    assert stored.nicks == (("alice", KEYS[0]), ("Bob", KEYS[1]))
    assert await page(history) == ["one", "two", "three"]
    await history.aclose()
    assert sorted(one.name for one in path.parent.iterdir()) == ["hub.db", "hub.db.lock"], "the file stands alone"


async def test_a_room_that_is_made_anew_begins_without_what_was_said_before(path):
    async with opened(path) as history:
        history.remember(DEV)
        Teller(history).say("old")
        history.remember(DEV._replace(epoch="e2"))
        Teller(history, DEV._replace(epoch="e2")).say("new")
        assert await page(history) == []
        assert texts((await history.read("dev", "e2", 0, 9)).lines) == ["new"]
        await upkept(history)
        assert ask(path, "SELECT count(*) FROM batches") == 1, "the old lines are removed"
        assert ask(path, "SELECT count(*) FROM lives") == 1
        history.remember(DEV._replace(epoch="e2", closed=True))
        await upkept(history)
        assert ask(path, "SELECT count(*) FROM batches") == 0
    history = SqliteHistory(path)
    assert history.load().rooms == ()
    await history.aclose()


@examples(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    asks=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=12),
    long=st.booleans(),
)
def test_pages_are_those_that_the_history_in_memory_gives(tmp_path_factory, sizes, asks, long):
    async def compare() -> None:
        memory = MemoryHistory()
        async with opened(tmp_path_factory.mktemp("pages") / "hub.db") as history:
            for number, size in enumerate(sizes):
                said = [f"{number} {n} " + "x" * (9000 * long) for n in range(size)]
                for one in (history, memory):
                    one.remember(DEV)
                    teller = Teller(one)
                    teller.seq = sum(sizes[:number])
                    teller.say(*said)
            for before, limit in [(0, 5), *asks]:
                assert await history.read("dev", "e1", before, limit) == await memory.read("dev", "e1", before, limit)

    asyncio.run(compare())


async def test_a_reader_sees_what_was_appended_just_before(path):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        for number in range(1, 30):
            assert teller.say(f"{number}") == number
            assert (await page(history, limit=1)) == [f"{number}"]


async def test_many_small_batches_become_few_rows(path):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        for number in range(5000):
            teller.say(f"message {number}")
        await history.settle()
        assert ask(path, "SELECT count(*) FROM batches") < 100
        assert ask(path, "SELECT sum(length(raw)) FROM batches") < 5000 * 30, "they are compressed"
        assert await page(history, before=2001, limit=3) == ["message 1997", "message 1998", "message 1999"]


async def test_pages_of_a_room_that_is_not_known_are_empty(path):
    async with opened(path) as history:
        assert await history.read("nowhere", "e1", 0, 5) == LinesBefore((), False)
        assert (await history.search("nowhere", "e1", "word")).lines == ()


# ---------------------------------------------------------------- edits and retractions


async def test_history_shows_what_messages_say_now(path):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say("one", "two", "three")
        teller.edit(1, "uno")
        teller.edit(2, "due")
        teller.edit(2, "dos")
        teller.retract(2)
        teller.retract(3)
        shown = (await history.read("dev", "e1", 4, 9)).lines
        assert texts(shown) == ["uno", "", ""]
        assert [json.loads(line)["seq"] for line in shown] == [1, 2, 3]
        assert await page(history) == ["uno", "", "", "uno", "", "", "", ""], "nor do edits tell what was retracted"
        await upkept(history)
        assert await page(history) == ["uno", "", "", "uno", "", "", "", ""]


@pytest.mark.parametrize("indexed", [False, True])
async def test_retracted_text_is_taken_out_of_lines_and_index(path, indexed):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say("hello", "unspeakable", "bye")
        teller.edit(2, "ineffable")
        if indexed:
            await upkept(history)
        teller.retract(2)
        await upkept(history)
        assert await page(history, before=4) == ["hello", "", "bye"]
        for word in ("unspeakable", "ineffable"):
            assert ask(path, f"SELECT count(*) FROM words WHERE words MATCH '{word}'") == 0
            assert await found(history, word) == []
        assert ask(path, "SELECT count(*) FROM words WHERE words MATCH 'bye'") == 1
        assert ask(path, "SELECT count(*) FROM edits WHERE text != ''") == 0


def test_a_line_gets_another_text_and_stays_the_same_otherwise():
    said = Said("alice", "one", TS, "dev", 7, "id-1", 3, True)
    (line,) = encode_answers((said,)).splitlines()
    changed = decode_answer(with_text(line, 'tw"o\n'))
    assert changed == Said("alice", 'tw"o\n', TS, "dev", 7, "id-1", 3, True)


# ---------------------------------------------------------------- search


@pytest.mark.parametrize("indexed", [False, True])
async def test_search_finds_all_words_newest_first(path, indexed):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say("pizza on friday", "no pizza", "Friday: Pízza again", "nothing")
        teller.put(TopicSet("pizza friday", "alice", TS, "dev", teller.seq + 1))
        teller.put(Reacted("pizza", "friday", TS, 1, "dev", teller.seq + 1))
        Teller(history, KeptRoom("other", "e1")).say("pizza friday elsewhere")
        if indexed:
            await upkept(history)
            assert ask(path, "SELECT indexed FROM state") == ask(path, "SELECT max(n) FROM batches")
        assert await found(history, "pizza friday") == ["Friday: Pízza again", "pizza on friday"]
        assert await found(history, "piz") == ["Friday: Pízza again", "no pizza", "pizza on friday"]
        assert await found(history, "pizza", before=3) == ["no pizza", "pizza on friday"]
        assert await found(history, 'pizza" OR nothing *') == []
        assert await found(history, "\ud800\0 nothing") == ["nothing"]
        assert await found(history, "?") == []


async def test_search_goes_on_where_it_stopped_from_the_newest_into_the_index(path):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say(*(f"apple {n}" for n in range(30)))
        await upkept(history)
        teller.say(*(f"apple {n}" for n in range(30, 45)))
        heard: list[str] = []
        before, more = 0, True
        while more:
            answer = await history.search("dev", "e1", "apple", before, 7)
            assert answer.whole
            heard += texts(answer.lines)
            before, more = answer.before, answer.more
        assert heard == [f"apple {n}" for n in reversed(range(45))]


@pytest.mark.parametrize("indexed", [False, True])
async def test_search_finds_messages_by_what_they_say_now(path, indexed):
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say("first cat", "second cat", "third cat")
        if indexed:
            await upkept(history)
        teller.edit(1, "first dog")
        teller.edit(1, "first bird")
        teller.retract(2)
        if indexed:
            await upkept(history)
        assert await found(history, "cat") == ["third cat"]
        assert await found(history, "dog") == []
        (line,) = (await history.search("dev", "e1", "bird")).lines
        assert (json.loads(line)["seq"], json.loads(line)["type"]) == (1, "msg")


async def test_search_says_when_it_could_not_look_at_everything(path, monkeypatch):
    monkeypatch.setattr("sandpiper.hub.sqlite_reading.SCAN_BYTES", 100_000)
    for name in ("IDLE_SECONDS", "OVERDUE_SECONDS"):
        monkeypatch.setattr(sqlite_writer, name, 30.0)
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        for _ in range(40):
            teller.say(*["pear"] * 100)
            await history.settle()
        answer = await history.search("dev", "e1", "pear", limit=10_000)
        assert not answer.whole
        assert 1000 < len(answer.lines) < 4000


@pytest.mark.parametrize("words", ["", "  ", "a " * 17])
async def test_a_search_for_nothing_or_too_much_is_refused(path, words):
    async with opened(path) as history:
        with pytest.raises(UsageError):
            await history.search("dev", "e1", words)


# ---------------------------------------------------------------- retention


async def test_the_oldest_lines_go_when_there_are_too_many(path):
    rng = random.Random(1)
    async with opened(path, keep_bytes=200_000) as history:
        history.remember(DEV)
        teller = Teller(history)
        for batch in range(60):
            teller.say(*(f"plum {rng.randbytes(40).hex()}" for _ in range(100)))
            await history.settle()
            if batch == 20:  # still below the bound: these are indexed, and have to be forgotten there, too
                await upkept(history)
                assert ask(path, "SELECT min(first) FROM batches") == 1
        await upkept(history)
        assert 100_000 < ask(path, "SELECT sum(length(raw)) FROM batches") <= 200_000
        first = ask(path, "SELECT min(first) FROM batches")
        assert await page(history, before=first) == []
        assert len(await page(history, limit=500)) == 500
        left = ask(path, "SELECT count(*) FROM words WHERE words MATCH 'plum'")
        assert left == teller.seq - first + 1, "the index forgets with the lines"


async def test_old_lines_go_and_their_numbers_are_not_used_again(path):
    async with opened(path, keep_seconds=1000) as history:
        history.remember(DEV)
        Teller(history, ts=TS - 2000).say("old", "older")
        await upkept(history)
    async with opened(path, keep_seconds=1000) as history:
        await upkept(history)
        assert ask(path, "SELECT count(*) FROM batches") == 0
        assert ask(path, "SELECT count(*) FROM words WHERE words MATCH 'old*'") == 0
    history = SqliteHistory(path)
    assert history.load().rooms == (DEV._replace(seq=2),)
    await history.aclose()


async def test_the_file_gets_smaller_when_lines_were_removed(path, monkeypatch):
    monkeypatch.setattr(sqlite_upkeep, "SPARE_PAGES", 16)
    rng = random.Random(1)
    async with opened(path) as history:
        history.remember(DEV)
        teller = Teller(history)
        for _ in range(20):
            teller.say(*(rng.randbytes(400).hex() for _ in range(100)))
        await history.settle()
        size = ask(path, "PRAGMA page_count")
        history.remember(DEV._replace(closed=True))
        await upkept(history)
        assert ask(path, "PRAGMA page_count") < size / 3


async def test_no_more_rooms_than_a_bound_are_kept(path):
    async with opened(path, keep_rooms=3) as history:
        for number in range(5):
            room = KeptRoom(f"room{number}", "e1")
            history.remember(room)
            Teller(history, room, TS + 10 - number).say("x")
    history = SqliteHistory(path)
    assert {room.name for room in history.load().rooms} == {"room0", "room1", "room4"}
    await history.aclose()


# ---------------------------------------------------------------- disks that fail


class Failing:
    """The file of a history, on a disk that is full or not: SQLite itself fails, as it does on one."""

    def __init__(self, history: SqliteHistory) -> None:
        self._db = history._db

    def fail(self) -> None:
        self._db.execute("PRAGMA max_page_count = 1")

    def mend(self) -> None:
        self._db.execute("PRAGMA max_page_count = 1073741823")


async def test_a_full_disk_is_said_once_and_what_waits_is_kept_when_there_is_room(path, monkeypatch, caplog):
    monkeypatch.setattr(sqlite_writer, "RETRY_SECONDS", 0.01)
    async with opened(path) as history:
        history.remember(DEV)
        await history.settle()
        disk = Failing(history)
        disk.fail()
        teller = Teller(history)
        rng = random.Random(1)
        tries: list[None] = []
        history.watch(lambda: tries.append(None))
        said = [rng.randbytes(200).hex() for _ in range(1000)]
        teller.say(*said)
        await until(lambda: history.problem is not None, "the failure")
        assert history.problem is not None
        assert history.problem.code == "disk_full"
        assert history.waiting
        await until(lambda: len(tries) > 5, "more tries")
        assert await page(history) == [], "reading goes on"
        disk.mend()
        await until(lambda: history.problem is None, "its end")
        assert await page(history, limit=1000) == said
        assert history.lost == 0
    assert [record.levelno for record in caplog.records if "cannot be written" in record.message] == [logging.ERROR]


@pytest.mark.parametrize("durable", [False, True])
async def test_a_disk_that_fails_for_too_long_costs_lines_but_no_memory_and_no_number_twice(path, monkeypatch, durable):
    monkeypatch.setattr(sqlite_writer, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(sqlite_module, "MAX_QUEUE_BYTES", 300_000)
    monkeypatch.setattr(sqlite_module, "BEHIND_BYTES", 100_000)
    monkeypatch.setattr(sqlite_module, "COMMIT_BYTES", 50_000)
    rng = random.Random(1)
    async with opened(path, durable=durable) as history:
        history.remember(DEV)
        await history.settle()
        disk = Failing(history)
        disk.fail()
        teller = Teller(history)
        before = history.appended
        for _ in range(20):
            teller.say(*(rng.randbytes(200).hex() for _ in range(100)))
        assert history.behind
        assert history.waiting <= 300_000
        assert history.lost > 0
        history.remember(DEV._replace(lock=b"secret"))
        disk.mend()
        await until(lambda: not history.waiting, "the rest")
        await history.settle()
        assert history._writer.dropped == 0
        if durable:
            assert history.written < history.appended, "what was lost is never acknowledged, nor what came after"
            assert history.written > before
            assert history.problem is not None
        else:
            assert history.written == history.appended
            assert history.problem is None
    history = SqliteHistory(path)
    assert history.load().rooms == (DEV._replace(seq=teller.seq, lock=b"secret"),)
    await history.aclose()


async def test_what_cannot_be_kept_at_all_does_not_keep_the_rest_from_it(path):
    async with opened(path) as history:
        history.remember(DEV)
        await history.settle()
        history.append(Batch("\ud800", "e1", 1, 3, TS, b"x\n"))
        await until(lambda: history.lost == 3, "its loss")
        Teller(history).say("good")
        assert await page(history) == ["good"]


# ---------------------------------------------------------------- files that are not what they must be


async def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path):
    async with opened(path) as history:
        history.remember(DEV)
        Teller(history).say(*("x" * 500 for _ in range(500)))
    raw = bytearray(path.read_bytes())
    raw[4096 * 2 : 4096 * 5] = os.urandom(4096 * 3)
    path.write_bytes(raw)
    path.with_name("hub.db-wal").touch()  # as after a crash: only then is a file looked through
    history = SqliteHistory(path)
    assert history.set_aside is not None
    assert history.set_aside.read_bytes() == bytes(raw)
    assert history.load().rooms == ()
    await history.aclose()


async def test_damage_found_while_reading_is_told_and_the_next_start_sets_the_file_aside(path):
    async with opened(path) as history:
        history.remember(DEV)
        Teller(history).say(*("x" * 500 for _ in range(50)))
        await history.settle()
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE batches SET raw = x'00'")
        with pytest.raises(StoreError) as told:
            await page(history)
        assert told.value.code == "damaged"
    history = SqliteHistory(path)
    assert history.set_aside is not None
    history.load()
    await history.aclose()


def test_a_file_of_another_program_is_refused_and_not_touched(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(StoreError) as told:
        SqliteHistory(path)
    assert told.value.code == "foreign_file"
    assert path.read_bytes() == before


async def test_two_hubs_cannot_write_one_history(path):
    async with opened(path):
        with pytest.raises(StoreError) as told:
            SqliteHistory(path)
        assert told.value.code == "in_use"
    async with opened(path):
        pass


# ---------------------------------------------------------------- kill -9

_PROGRAM = Path(__file__).with_name("hub_acknowledging.py")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("durable", [False, True])
async def test_nothing_that_was_acknowledged_is_lost_by_kill_9(path, durable):
    rng = random.Random()
    highest = 0
    for _ in range(4):
        with subprocess.Popen(  # noqa: ASYNC220 - nothing else runs here meanwhile
            [sys.executable, "-m", "tests.unit.hub_acknowledging", str(path), str(int(durable))],
            stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            cwd=Path(__file__).parents[2],
        ) as program:  # fmt: skip
            assert program.stdout is not None
            begun = int(program.stdout.readline())
            assert begun >= highest, "a number that guests have seen is not used again"
            line = b""
            for _ in range(rng.randrange(1, 40)):
                line = program.stdout.readline()
                assert line
            program.send_signal(signal.SIGKILL)
            rest = program.stdout.read().splitlines()
            acknowledged, said = map(int, (rest or [line])[-1].split()[:2])
            highest = max(highest, said)
        history = SqliteHistory(path)
        (room,) = history.load().rooms
        assert room.seq >= highest
        lines = (await history.read("dev", "e1", 0, 1 << 30)).lines
        seqs = [json.loads(one)["seq"] for one in lines]
        assert len(set(seqs)) == len(seqs)
        assert seqs == sorted(seqs)
        this = [seq for seq in seqs if seq > begun]
        assert this == list(range(begun + 1, begun + 1 + len(this))), "no hole within one run"
        assert (this or [begun])[-1] >= acknowledged
        await history.aclose()


async def test_numbers_go_on_after_a_gap_only_when_the_hub_was_killed(path):
    async with opened(path) as history:
        history.remember(DEV)
        Teller(history).say("one")
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE state SET clean = 0")
    for _ in range(2):
        history = SqliteHistory(path)
        assert history.load().rooms == (DEV._replace(seq=1 + SEQ_JUMP),)
        await history.aclose()
