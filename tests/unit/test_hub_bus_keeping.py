"""What hubs of a cluster keep beside the logs, and their nicks, with a bus of plain dictionaries that can be away."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from sandpiper.core.events import Now
from sandpiper.errors import ConfigError
from sandpiper.hub.bus import keeping, pages
from sandpiper.hub.bus.address import read_bus
from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.cells import Cell
from sandpiper.hub.bus.cluster import ASKED_SECONDS, END_SECONDS, Cluster
from sandpiper.hub.bus.keeping import DAY, RULED_SECONDS, Keeping
from sandpiper.hub.bus.link import STUCK_SECONDS, BusSettings, Link, Stored, Subjects
from sandpiper.hub.bus.log import (
    HOUSE,
    VERSION,
    Posted,
    Talk,
    decode_change,
    encode,
    number,
    token,
)
from sandpiper.hub.bus.nicks import Nicks
from sandpiper.hub.bus.pages import BusHistory
from sandpiper.hub.bus.replicated import Replicated
from sandpiper.hub.bus.rooms import STOP_BYTES, RoomLog
from sandpiper.hub.effects import Amend
from sandpiper.hub.guests import Guest
from sandpiper.hub.history import KeptRoom
from sandpiper.hub.history import Stored as Loaded
from sandpiper.hub.house import House
from sandpiper.hub.operators import ANSWERERS
from sandpiper.hub.settings import load
from sandpiper.wire.hub.asks import Join
from sandpiper.wire.ids import PeerKey
from tests.unit.parlour import SETTINGS, THEN

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Shelf:
    """Cells in a dictionary."""

    def __init__(self, link: Bus) -> None:
        self.link = link
        self.cells: dict[str, Cell] = {}
        self.seconds: dict[str, float | None] = {}
        self.puts = 0

    async def get(self, key: str) -> Cell | None:
        await self.link.answer()
        return self.cells.get(key)

    async def put(self, key: str, raw: bytes, revision: int | None = None, seconds: float | None = None) -> bool:
        await self.link.answer()
        before = self.cells[key].revision if key in self.cells else 0
        if revision is not None and revision != before:
            return False
        self.puts += 1
        self.cells[key], self.seconds[key] = Cell(raw, before + 1), seconds
        return True


class Bus:
    """What a `Link` does, without one. While `fails` is not 0, answers are that the bus is away."""

    def __init__(self, keep_seconds: int = 90 * DAY) -> None:
        self.settings = BusSettings(servers=(), keep_seconds=keep_seconds)
        self.names = Subjects("sandpiper")
        self.there = asyncio.Event()
        self.there.set()
        self.closing = False
        self.waiting = 0
        self.fails = 0
        self.rooms, self.nicks, self.hubs = Shelf(self), Shelf(self), Shelf(self)
        self.changed: dict[str, Stored] = {}
        self.log: list[Stored] = []
        self.purged: list[tuple[str, int, int]] = []

    async def answer(self) -> None:
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise BusAway("away")

    async def say(self, subject: str, raw: bytes) -> None:
        await self.answer()

    async def change(self, subject: str) -> Stored | None:
        await self.answer()
        return self.changed.get(subject)

    async def amend(self, subject: str, raw: bytes, place: int) -> bool:
        await self.answer()
        before = self.changed[subject].place if subject in self.changed else 0
        if before == place:
            self.changed[subject] = Stored(before + 1, before, subject, raw)
        return before == place

    async def changes(self, room: str, seqs: list[int]) -> list[Stored]:
        return [one for one in self.changed.values() if decode_change(one.raw).seq in seqs]

    async def changes_end(self) -> int:
        await self.answer()
        return len(self.changed)

    async def purge(self, room: str, place: int, changes: int) -> None:
        await self.answer()
        self.purged.append((room, place, changes))

    async def read(self, room: str, place: int) -> list[Stored]:
        return [one for one in self.log if one.place >= place][:256]

    async def last(self, room: str, place: int) -> Stored | None:
        return next((one for one in reversed(self.log) if one.place <= place), None)


class Outlet:
    def write(self, raw: bytes) -> None:
        return


def house_of(order: Replicated) -> House:
    return House(SETTINGS, ANSWERERS, random.Random(1), Loaded(), THEN, None, order)


def keeper(bus: Bus) -> tuple[Keeping, Replicated, House]:
    order = Replicated("a")
    return Keeping(cast("Link", bus), order), order, house_of(order)


def text_of(bus: Bus, seq: int) -> str:
    return decode_change(bus.changed[bus.names.changed("dev", seq, "e")].raw).text


async def test_an_older_edit_that_is_read_again_does_not_come_back() -> None:
    bus = Bus()
    keeping_, _, _ = keeper(bus)
    await keeping_.amend(Amend("dev", 7, 9, "second"))
    await keeping_.amend(Amend("dev", 7, 8, "first"))
    assert text_of(bus, 7) == "second"
    hubs = [keeper(bus)[0] for _ in range(4)]
    await asyncio.gather(*(hub.amend(Amend("dev", 7, seq, f"as of {seq}")) for seq in (11, 10, 12) for hub in hubs))
    assert text_of(bus, 7) == "as of 12"


async def test_a_closed_room_is_emptied_as_soon_as_the_bus_lets_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "PURGE_AGAIN_SECONDS", 0.0)
    bus = Bus()
    keeping_, _, house = keeper(bus)
    await keeping_.amend(Amend("dev", 7, 9, "of the old room"))
    bus.fails = 3
    await keeping_.purge(house, "dev", number(5, 0))
    assert bus.purged == [("dev", 5, 1)]


@pytest.mark.parametrize(
    ("kept", "seconds"),
    [
        (KeptRoom("dev", "e", topic="t"), 10 * DAY),
        (KeptRoom("dev", "e", lock=b"lock"), RULED_SECONDS),
        (KeptRoom("dev", "e", operators=(PeerKey(bytes(32)),)), RULED_SECONDS),
    ],
)
async def test_a_room_that_somebody_rules_is_remembered_longer_than_what_was_said(kept: KeptRoom, seconds: int) -> None:
    bus = Bus(10 * DAY)
    keeping_, order, house = keeper(bus)
    order.known(house, HOUSE, None, THEN)
    order.known(house, "dev", None, THEN)
    order._make(house, kept, THEN)
    for name in (HOUSE, "dev"):
        await keeping_.save(house, name)
    assert bus.rooms.seconds == {token(HOUSE): None, token("dev"): seconds}
    # Rooms that are in use are kept anew before they are forgotten, and not all the time.
    bus.rooms.puts = 0
    keeping_._kept = {HOUSE: float("-inf")}
    for _ in range(3):
        await keeping_.refresh(house, [HOUSE, "dev"])
    assert bus.rooms.puts == 2


async def test_who_comes_back_to_a_nick_keeps_it_though_it_was_to_be_released() -> None:
    bus = Bus()
    nicks = Nicks("a", cast("Link", bus), lambda number: True)
    guest = Guest(1, "", "anon-1", Outlet())
    assert await nicks.take(guest, "alice")
    nicks.release("alice", 1)
    assert await nicks.take(guest, "alice")
    releasing = asyncio.create_task(nicks.keep_releasing())
    for _ in range(20):
        await asyncio.sleep(0)
    other = Guest(2, "", "anon-2", Outlet())
    assert not await nicks.take(other, "alice")
    nicks.release("alice", 1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert await nicks.take(other, "alice")
    releasing.cancel()


async def test_a_hub_that_lost_its_slot_takes_another_and_does_not_write_over_it() -> None:
    bus = Bus()
    first, other = (Nicks(hub, cast("Link", bus), lambda number: True) for hub in "ab")
    await first.begin()
    assert await first.renew()
    bus.hubs.cells.clear()  # it was away for longer than its lease
    await other.begin()
    assert (first.slot, other.slot) == (0, 0)
    assert not await first.renew()
    await first.begin()
    assert (first.slot, other.slot) == (1, 0)
    assert await first.renew()
    assert await other.renew()
    # Another hub has the slot, though the lease is there again.
    bus.hubs.cells["slot.1"] = Cell(b"c", 9)
    assert not await first.renew()
    assert bus.hubs.cells["slot.1"].raw == b"c"
    del bus.hubs.cells["slot.1"]
    await first.begin()
    # Only its lease was lost: the slot is still its own.
    del bus.hubs.cells["hub.a"]
    assert not await first.renew()
    await first.begin()
    assert first.slot == 1


async def pages_of(bus: Bus, place: int) -> BusHistory:
    order = Replicated("late")
    replica = order.known(house_of(order), "dev", None, THEN)
    replica.place = place
    return BusHistory(cast("Cluster", SimpleNamespace(order=order, link=bus)))


def post(bus: Bus, turn: int, *texts: str, back: int = 0) -> None:
    talk = Talk(1, b"", "n", 1, [(text, f"id{turn}", 0, False) for text in texts])
    place = len(bus.log) + 1
    bus.log.append(Stored(place, 0, "", encode(Posted(VERSION, "a", turn, back, [talk]))))


async def test_a_page_leaves_out_what_stands_in_the_log_a_second_time() -> None:
    bus = Bus()
    post(bus, 1, "once")
    post(bus, 1, "once")
    keeping_, order, house = keeper(bus)
    replica = order.known(house, "dev", None, THEN)
    order._make(house, KeptRoom("dev", "e"), THEN)
    for stored in bus.log:
        order.apply(house, replica, stored.place, msgspec.msgpack.decode(stored.raw, type=Posted), THEN)
    for effect in house.flush(THEN):
        if isinstance(effect, Amend):
            await keeping_.amend(effect)
    found = await (await pages_of(bus, 2)).read("dev", "e", 0, 50)
    assert [line.count(b"once") for line in found.lines] == [1]


async def test_a_page_holds_a_bounded_part_of_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_HELD_BYTES", 5000)
    bus = Bus()
    for turn in range(1, 101):
        post(bus, turn, f"{turn:03} " + "x" * 1000)
    history = await pages_of(bus, 100)
    told: list[str] = []
    before = 0
    for _ in range(100):
        found = await history.read("dev", "e", before, 50)
        lines = [msgspec.json.decode(line) for line in found.lines]
        assert 0 < len(lines) <= 12
        told[:0] = [line["text"][:3] for line in lines]
        before = lines[0]["seq"]
        if not found.more:
            break
    assert told == [f"{turn:03}" for turn in range(1, 101)], "nothing is left out"


async def test_only_some_pages_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    bus, most, now = Bus(), 0, 0
    post(bus, 1, "hi")
    history = await pages_of(bus, 1)
    read = bus.read

    async def slowly(room: str, place: int) -> list[Stored]:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return await read(room, place)

    monkeypatch.setattr(bus, "read", slowly)
    await asyncio.gather(*(history.read("dev", "e", 0, 50) for _ in range(20)))
    assert most == pages.MAX_PAGES


def plain_link() -> tuple[Link, list[bool]]:
    told: list[bool] = []
    link = Link(BusSettings(servers=()), told.append)
    link.there.set()
    return link, told


async def test_a_server_that_stores_nothing_counts_as_away() -> None:
    link, told = plain_link()
    now = asyncio.get_running_loop().time()
    link._not_stored(now)
    assert (told, link.stuck) == ([], False)
    link._not_stored(now - STUCK_SECONDS)
    assert told == [], "from the first failure on"
    link._failing = now - STUCK_SECONDS
    link._not_stored(now)
    link._not_stored(now)
    assert (told, link.stuck) == ([False], True)
    link._stored()
    assert (told, link.stuck) == ([False, True], False)


async def test_a_connection_that_the_server_has_ended_for_good_ends_the_hubs_part() -> None:
    cluster = Cluster(BusSettings(servers=()))
    ready = asyncio.Event()
    cluster._life = asyncio.create_task(cluster._live(ready))
    await ready.wait()
    await cluster.link._end()
    await asyncio.wait((cluster.life,), timeout=5)
    assert cluster.life.done()
    assert cluster.away
    assert cluster.life.exception() is not None

    async def never() -> None:
        raise AssertionError("nothing is begun any more")

    asked: Coroutine[None, None, None] = never()
    cluster._begin(asked, "too late")  # and nothing is raised in the middle of a turn
    with pytest.raises(RuntimeError):
        asked.send(None)


async def test_a_room_that_is_being_opened_is_none_that_is_looked_at() -> None:
    cluster = Cluster(BusSettings(servers=()))
    order = cluster.order
    house = house_of(order)
    cluster._hall = cast("Any", SimpleNamespace(house=house, now=lambda: THEN, wake=lambda: None, stopped=False))
    cluster._telling = cast("Any", SimpleNamespace(heard=None))
    asked = asyncio.Event()

    async def get(key: str) -> None:
        asked.set()
        await asyncio.Event().wait()

    cluster.link.rooms = cast("Any", SimpleNamespace(get=get))
    opening = asyncio.create_task(cluster._follow("dev"))
    await asked.wait()
    assert all(one.replica.open for one in cluster._logs.values())
    opening.cancel()
    await asyncio.wait((opening,))


async def test_a_room_that_is_there_and_not_entered_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, now, waited = Cluster(BusSettings(servers=())), THEN, []
    house = house_of(cluster.order)
    hall = SimpleNamespace(house=house, now=lambda: now, wake=lambda: None, stopped=False)
    cluster._hall, cluster._telling = cast("Any", hall), cast("Any", SimpleNamespace(shut=lambda name: None))
    replica = cluster.order.known(house, "den", None, THEN)
    cluster.order._make(house, KeptRoom("den", "e", lock=b"lock"), THEN)
    cluster.order.opened(house, replica, None)

    async def close() -> None:
        return

    async def catch_up(until: int) -> None:
        waited.append(until)

    async def end(room: str) -> int:
        return 5

    monkeypatch.setattr(cluster.link, "end", end)
    cluster._logs["den"] = cast("Any", SimpleNamespace(catch_up=catch_up, close=close, replica=replica, idle=True))
    cluster._opening["den"] = [(house.enter("", Outlet(), THEN), Join(room="den", since=(1 << 48) - 1))]
    await cluster._open_for("den")
    assert waited == [5], "no longer than until the end of the log"
    assert "den" in cluster._shutting
    await cluster._shut("den")
    assert "den" in cluster._logs, "whoever asked may be about to enter"
    now = Now(THEN.mono + ASKED_SECONDS + 1, THEN.wall_ms)
    await cluster._shut("den")
    assert not cluster._logs.keys() | cluster.order.replicas.keys()
    assert "den" not in house.rooms


async def test_leaving_takes_one_time_for_all_rooms_and_none_while_the_bus_is_away() -> None:
    bus = Bus()
    keeping_, order, house = keeper(bus)
    for n in range(50):
        replica = order.known(house, f"r{n}", None, THEN)
        order.opened(house, replica, None)
        replica.unsaved = 1
    running, most = 0, 0
    put = bus.rooms.put

    async def slowly(*args: Any, **more: Any) -> bool:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return await put(*args, **more)

    bus.rooms.put = slowly  # type: ignore[method-assign]
    await keeping_.save_all(house)
    assert most == 50
    assert bus.rooms.puts == 50
    cluster = Cluster(BusSettings(servers=()))
    async with asyncio.timeout(END_SECONDS / 5):
        await cluster._leave()


async def test_too_much_that_waits_for_the_bus_stops_guests_until_it_is_stored() -> None:
    bus = Bus()
    order = Replicated("a")
    hall = SimpleNamespace(house=house_of(order), stopped=False, now=lambda: THEN, wake=lambda: None)
    tasks = []
    gate = asyncio.Event()

    async def store(stream: str, subject: str, raw: bytes, name: str) -> int:
        await gate.wait()
        return 1

    bus.store = store  # type: ignore[attr-defined]
    followed = RoomLog(
        "dev", cast("Any", hall), order, cast("Link", bus), lambda work, name: tasks.append(asyncio.ensure_future(work))
    )
    followed.replica = order.known(hall.house, "dev", None, THEN)
    talk = Talk(1, b"", "n", 1, [("x" * 4000, "", 0, False)] * 20)
    while bus.waiting <= STOP_BYTES:
        assert not hall.stopped
        followed.propose(talk)
    assert hall.stopped
    gate.set()
    await asyncio.gather(*tasks)
    assert not hall.stopped
    assert bus.waiting == 0
    # What is stored has still to come back: until then the room is not let go of.
    assert not followed.idle
    followed.replica.place = 1
    assert followed.idle


def test_durable_is_refused_where_it_would_do_nothing() -> None:
    with pytest.raises(ConfigError, match="durable is about the hub's own disk"):
        load({"bus": "nats://127.0.0.1", "durable": True}, env={})
    assert load({"bus": "embedded", "durable": True}, env={}).settings.durable


def test_the_service_lets_the_hub_end_its_own_nats_server() -> None:
    unit = Path(__file__).parents[2] / "contrib/systemd/sandpiper-hub.service"
    assert "KillMode=mixed" in unit.read_text().splitlines()


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("embedded", ()),
        ("embedded://127.0.0.1:4333", ()),
        ("nats://one", ("nats://one:4222",)),
        ("tls://one:1, nats://[::1]:2", ("tls://one:1", "nats://[::1]:2")),
    ],
)
def test_a_bus_is_named(text: str, servers: tuple[str, ...]) -> None:
    where = read_bus(text)
    assert where.servers == servers
    assert where.embedded == (not servers)
    assert where.tls == text.startswith("tls")


@pytest.mark.parametrize(
    "text", ["nowhere", "http://one", "nats://", "nats://me:secret@one", "nats://one/x", "nats://one:port",
             "embedded://a:1,nats://b", "nats://a,embedded://b:1"],
)  # fmt: skip
def test_what_is_no_bus_is_refused_without_its_secrets(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_bus(text)
    assert "secret@" not in refused.value.sentence()
