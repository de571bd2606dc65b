"""The thread that writes a hub's history: what a busy hub, a bad item, a full queue and a power cut must not cost."""

from __future__ import annotations

import contextlib
import random
import sqlite3
from typing import TYPE_CHECKING

import pytest

from sandpiper.hub import sqlite as sqlite_module
from sandpiper.hub import sqlite_reading, sqlite_schema, sqlite_upkeep, sqlite_writer
from sandpiper.hub.history import Barred, Batch, KeptRoom
from sandpiper.hub.settings import HubSettings
from sandpiper.hub.sqlite import SqliteHistory
from sandpiper.hub.sqlite_schema import HistorySettings
from sandpiper.hub.storing import open_history
from sandpiper.testing.conformance import until
from tests.unit.test_hub_sqlite import DEV, KEYS, TS, Failing, Teller, ask, clock, found, opened, page, upkept

if TYPE_CHECKING:
    from pathlib import Path

    from sandpiper.hub.history import Stored

NORMAL, FULL = 1, 2  # of SQLite's `synchronous`
ELSEWHERE = KeptRoom("elsewhere", "e1")
BANS = (Barred("mallory", 0, ("address 192.0.2.1",)),)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hub.db"


async def stored(path: Path) -> Stored:
    """What a hub finds there that starts now."""
    history = SqliteHistory(path, clock=clock)
    try:
        return history.load()
    finally:
        await history.aclose()


# ---------------------------------------------------------------- upkeep of a busy hub


async def test_a_hub_that_never_rests_indexes_erases_and_forgets_all_the_same(path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "IDLE_SECONDS", 30.0)  # as when somebody says something all the time
    monkeypatch.setattr(sqlite_writer, "OVERDUE_SECONDS", 0.02)
    async with opened(path, keep_seconds=1000) as history:
        for room in (DEV, ELSEWHERE, ELSEWHERE._replace(name="old")):
            history.remember(room)
        Teller(history, ELSEWHERE._replace(name="old"), TS - 2000).say("outdated")
        Teller(history, ELSEWHERE).say("closed")
        history.remember(ELSEWHERE._replace(closed=True))
        teller = Teller(history)
        teller.say("first")
        teller.retract(teller.say("unspeakable"))

        async def seen() -> bool:
            teller.say("and on")
            await history.settle()
            return bool(ask(path, "SELECT indexed FROM state")) and not (
                ask(path, "SELECT count(*) FROM batches JOIN lives ON life = lives.n WHERE room != 'dev'")
                or ask(path, "SELECT count(*) FROM retracted WHERE NOT erased")
            )

        for _ in range(2000):
            if await seen():
                break
        else:
            pytest.fail("upkeep has never had its turn")
        assert await found(history, "first") == ["first"]


async def test_retracted_texts_go_soon_however_much_there_is_to_remove(path, monkeypatch):
    monkeypatch.setattr(sqlite_upkeep, "STEP_BYTES", 1)
    history = SqliteHistory(path, clock=clock)
    rows, upkeep = history._writer._rows, history._writer._upkeep  # the thread does not run yet
    teller = Teller(history)
    teller.say("unspeakable")
    large = Teller(history, ELSEWHERE)
    for _ in range(50):
        large.say("x" * 60_000)
    rows.put([DEV, ELSEWHERE, *(item for _, item in history._queue), ELSEWHERE._replace(closed=True)])
    upkeep.stored(51, 0)
    upkeep.rooms_changed()
    for _ in range(3):
        upkeep.step()
    history._queue.clear()
    teller.retract(1)
    rows.put([item for _, item in history._queue])
    history._queue.clear()
    upkeep.stored(1, 0)
    for _ in range(2):
        upkeep.step()
    assert ask(path, "SELECT count(*) FROM retracted WHERE NOT erased") == 0
    assert 40 < ask(path, "SELECT count(*) FROM batches") < 50, "and there is more to remove"
    for _ in range(200):
        upkeep.step()
    assert not upkeep.wanted
    assert ask(path, "SELECT count(*) FROM batches") == 2
    await history.aclose()


# ---------------------------------------------------------------- things that cannot be kept


def bad(first: int = 1, room: str = DEV.name) -> Batch:
    """Three lines that no disk takes: SQLite has no such number."""
    line = b'{"type":"edit","nick":"alice","text":"x","ts":1,"id":%d,"room":"dev","seq":1}\n' % (1 << 63)
    return Batch(room, "e1", first, 3, TS, line * 3)


async def test_what_cannot_be_kept_costs_nothing_that_was_to_be_written_with_it(path, caplog):
    history = SqliteHistory(path, clock=clock)
    teller = Teller(history)
    locked = KeptRoom("vault", "e1", lock=b"secret")
    history.remember(DEV)
    teller.say("one", "two")
    history.append(bad(3))
    history.remember(KeptRoom("\ud800", "e1"))
    history.append(Batch("\ud800", "e1", 1, 4, TS, b"x\n" * 4))
    history._writer.late[KeptRoom, "vault"] = locked
    history.own("alice", KEYS[0])
    history.bar(BANS)
    teller.seq = 5
    teller.say("six")
    history.load()  # all of this is one commit
    await history.settle()
    assert history.lost == 7
    assert history.problem is None
    assert await page(history) == ["one", "two", "six"]
    assert len([one for one in caplog.records if "cannot be kept" in one.message]) == 1
    await history.aclose()
    after = await stored(path)
    assert {room.name: room for room in after.rooms} == {"dev": DEV._replace(seq=6), "vault": locked}
    assert after.nicks == (("alice", KEYS[0]),)
    assert after.bans == BANS


async def test_numbers_of_lines_that_cannot_be_kept_are_not_used_again(path):
    async with opened(path) as history:
        history.remember(DEV)
        Teller(history).say("one")
        history.append(bad(2))
    assert (await stored(path)).rooms == (DEV._replace(seq=4),)


async def test_a_durable_hub_acknowledges_all_that_came_before_what_cannot_be_kept(path):
    history = SqliteHistory(path, HistorySettings(durable=True), clock=clock)
    history.remember(DEV)
    Teller(history).say("one")
    before = history.appended
    history.append(bad(2))
    Teller(history, DEV._replace(seq=4)).say("five")
    history.load()
    await until(lambda: history.lost == 3, "the loss")
    assert history.written == before, "what was lost is never acknowledged, nor what came after"
    assert history.problem is not None
    assert await page(history) == ["one", "five"]
    await history.aclose()


async def test_what_fails_for_a_reason_that_nobody_knows_waits_and_is_tried_again(path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "RETRY_SECONDS", 0.01)
    async with opened(path) as history:
        history.remember(DEV)
        await history.settle()
        with monkeypatch.context() as broken:
            broken.setattr(history._writer, "_sift", None)
            broken.setattr(history._writer._rows, "put", None)
            Teller(history).say("one")
            await until(lambda: history.problem is not None, "the failure")
        await until(lambda: history.problem is None, "its end")
        assert await page(history) == ["one"]
        assert history.lost == 0


async def test_locks_bans_and_nicks_are_kept_however_full_the_queue_is(path, monkeypatch):
    monkeypatch.setattr(sqlite_writer, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(sqlite_module, "MAX_QUEUE_BYTES", 100_000)
    monkeypatch.setattr(sqlite_module, "COMMIT_BYTES", 20_000)
    monkeypatch.setattr(sqlite_module, "MAX_LATE_NICKS", 2)
    async with opened(path) as history:
        history.remember(DEV)
        await history.settle()
        rng = random.Random(1)
        disk = Failing(history)
        disk.fail()
        for _ in range(20):
            Teller(history).say(rng.randbytes(4500).hex())
        assert history.lost
        history.bar(())
        history.own("alice", KEYS[1])
        for nick in ("alice", "bob", "carol"):
            history.own(nick, KEYS[0])
        history.remember(DEV._replace(lock=b"secret"))
        history.bar(BANS)
        assert history.waiting <= 100_000
        disk.mend()
        await until(lambda: not history.waiting, "the rest")
    after = await stored(path)
    assert after.rooms[0].lock == b"secret"
    assert after.bans == BANS
    assert dict(after.nicks) == {"alice": KEYS[0], "bob": KEYS[0]}, "so many, and no more"


# ---------------------------------------------------------------- power cuts


@pytest.mark.parametrize("durable", [False, True])
async def test_the_note_that_somebody_writes_survives_a_power_cut(path, monkeypatch, durable):
    levels: list[int] = []
    begin = sqlite_schema._begin

    def noting(db: sqlite3.Connection) -> None:
        levels.append(synchronous(db))
        begin(db)

    monkeypatch.setattr(sqlite_schema, "_begin", noting)
    async with opened(path, durable=durable):
        assert levels == [FULL], "else the next start takes this one for one that ended well, and uses numbers again"


def synchronous(db: sqlite3.Connection) -> int:
    level: int = db.execute("PRAGMA synchronous").fetchone()[0]
    return level


@pytest.mark.parametrize(("durable", "level"), [(False, NORMAL), (True, FULL)])
async def test_a_durable_hub_has_sqlite_wait_for_the_disk_at_each_commit(tmp_path, durable, level):
    history = open_history(HubSettings(durable=durable), tmp_path)
    assert isinstance(history, SqliteHistory)
    history.load()
    try:
        for db in (history._db, history._writer._db, history._writer._rows._db):
            assert synchronous(db) == level
        Teller(history).say("one")
        await history.settle()
        assert synchronous(history._db) == level, "and it stays so"
        assert history._db.execute("PRAGMA journal_mode").fetchone() == ("wal",), "in which FULL means just that"
    finally:
        await history.aclose()


# ---------------------------------------------------------------- rooms that are kept


async def test_all_rooms_come_back_the_longest_unused_first(path):
    async with opened(path) as history:
        for number in range(3):
            room = KeptRoom(f"room{number}", "e1", operators=KEYS[:number])
            history.remember(room)
            Teller(history, room, TS + (20, 0, 10)[number]).say("x")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE rooms SET used = ? WHERE name = 'room1'", (TS + 15,))
    assert [room.name for room in (await stored(path)).rooms] == ["room2", "room1", "room0"]


async def test_rooms_that_somebody_rules_stay_longest(path):
    ruled = [
        KeptRoom("locked", "e1", lock=b"secret"),
        KeptRoom("ruled", "e1", operators=KEYS[:1]),
        KeptRoom("guarded", "e1", bans=BANS),
    ]
    async with opened(path, keep_rooms=4) as history:
        for room in ruled:
            history.remember(room)
        for number in range(9):
            room = KeptRoom(f"room{number}", "e1")
            history.remember(room)
            Teller(history, room, TS + 10 + number).say("x")
    assert {room.name for room in (await stored(path)).rooms} == {"locked", "ruled", "guarded", "room8"}


@pytest.mark.parametrize("removed", [False, True])
async def test_a_room_that_had_to_make_place_lives_on_when_the_hub_remembers_it_again(path, monkeypatch, removed):
    if not removed:
        monkeypatch.setattr(sqlite_writer, "IDLE_SECONDS", 30.0)
    async with opened(path, keep_rooms=2) as history:
        history.remember(DEV)
        teller = Teller(history)
        teller.say("one", "two")
        await history.settle()
        for number in range(2):
            history.remember(KeptRoom(f"room{number}", "e1", lock=b"secret"))
        if removed:
            await upkept(history)
        assert await page(history) == []
        history.remember(DEV._replace(seq=teller.seq, operators=KEYS[:1]))
        teller.say("three")
        assert await page(history) == (["three"] if removed else ["one", "two", "three"])
    after = {room.name: room for room in (await stored(path)).rooms}
    assert after["dev"] == DEV._replace(seq=3, operators=KEYS[:1])


async def test_numbers_of_a_room_are_kept_with_it_though_its_lines_are_gone(path):
    async with opened(path) as history:
        history.remember(DEV._replace(seq=7))
    assert (await stored(path)).rooms == (DEV._replace(seq=7),)


def test_a_hub_with_many_rooms_keeps_all_of_those(tmp_path):
    history = open_history(HubSettings(rooms=9000), tmp_path)
    assert isinstance(history, SqliteHistory)
    assert history.settings.keep_rooms == 9000
    history._db.close()
    history._lock.release()


# ---------------------------------------------------------------- search


async def test_a_search_before_a_number_beyond_all_numbers_stays_in_its_room(path, monkeypatch):
    monkeypatch.setattr(sqlite_reading, "MAX_HITS", 2)
    async with opened(path) as history:
        for room in (DEV, ELSEWHERE):
            history.remember(room)
            Teller(history, room).say(*[f"pear of {room.name}"] * (1 if room is DEV else 3))
        await upkept(history)
        answer = await history.search("dev", "e1", "pear", 1 << 48, 9)
        assert (len(answer.lines), answer.more) == (1, False)
