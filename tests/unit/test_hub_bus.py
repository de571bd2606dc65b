"""A cluster without sockets: houses that follow the same logs, read at their own pace, say the same to their guests."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandpiper.core.events import Now
from sandpiper.errors import UsageError
from sandpiper.hub import answering, ruling
from sandpiper.hub.bus.here import Beat, Event, Here, Inside, Place
from sandpiper.hub.bus.log import (
    HOUSE,
    MAX_LINES,
    VERSION,
    BadLog,
    Begun,
    Change,
    Posted,
    Ruled,
    Talk,
    decode_posted,
    decode_state,
    encode,
    nick_token,
    number,
    place_of,
    token,
)
from sandpiper.hub.bus.pages import BusHistory
from sandpiper.hub.bus.replica import MARK_LINES, Replica
from sandpiper.hub.bus.replicated import Replicated
from sandpiper.hub.effects import Amend, Claim, Cut, Deliver, Keep, Open, Propose, Release, Save, Share, Shut
from sandpiper.hub.history import Stored
from sandpiper.hub.house import House
from sandpiper.hub.limits import MAX_CLIENT_IDS
from sandpiper.hub.operators import ANSWERERS
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Edited
from sandpiper.wire.hub.asks import Join
from sandpiper.wire.hub.lines import decode_chunk
from sandpiper.wire.ids import PeerKey
from tests.unit.parlour import SETTINGS, THEN, Parlour

if TYPE_CHECKING:
    from sandpiper.hub.bus.cluster import Cluster

Line = dict[str, Any]


class Sea:
    """The logs, and what is kept of rooms, as a NATS server has them."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []  # the place is the index and one
        self.states: dict[str, bytes] = {}
        self.hubs: list[Island] = []

    def store(self, room: str, raw: bytes) -> None:
        self.log.append((room, raw))

    def settle(self) -> None:
        """Until every hub has done everything."""
        while any([hub.step(len(self.log)) for hub in self.hubs]):
            pass


class Island:
    """One hub of the cluster: a house, and the bus done by hand."""

    def __init__(self, sea: Sea, name: str) -> None:
        self.sea = sea
        self.now = THEN
        self.order = Replicated(name)
        self.house = House(SETTINGS, ANSWERERS, random.Random(name), Stored(), self.now, None, self.order)
        self.house.guests.base = sum(name.encode()) << 32
        self.house.flush(self.now)
        self.house.drop(self.house.rooms[LOBBY])
        self.changes: list[Amend] = []
        self.shared: list[Share] = []
        self.read: dict[str, int] = {}
        self.opening: list[Open] = []
        self.shut: list[str] = []
        sea.hubs.append(self)
        self.follow(HOUSE)
        self.follow(LOBBY)
        if LOBBY not in self.house.rooms:
            self.propose(LOBBY, Begun(0, b"", f"lobby-{name}", b""))
            self.step(len(sea.log))

    def follow(self, room: str) -> None:
        kept = self.sea.states.get(room)
        state = decode_state(kept) if kept is not None else None
        replica = self.order.known(self.house, room, state, self.now)
        self.advance(replica, len(self.sea.log))
        self.order.opened(self.house, replica, state)

    def advance(self, replica: Replica, upto: int) -> bool:
        moved = False
        for place, (room, raw) in enumerate(self.sea.log[:upto], 1):
            if room == replica.name and place > replica.place:
                self.order.apply(self.house, replica, place, decode_posted(raw), self.now)
                moved = True
        return moved

    def propose(self, room: str, entry: Talk | Change | Begun | Ruled) -> None:
        replica = self.order.replicas[room]
        replica.turn += 1
        self.sea.store(room, encode(Posted(VERSION, self.order.hub, replica.turn, replica.back, [entry])))

    def step(self, upto: int) -> bool:
        """Read the logs so far; carry out what the house wants. True when anything happened."""
        moved = any([self.advance(replica, upto) for replica in list(self.order.replicas.values())])
        for effect in self.house.flush(Now(self.now.mono + 1, self.now.wall_ms)):
            moved = True
            match effect:
                case Deliver(raw, to):
                    for guest in to:
                        guest.outlet.write(raw)
                case Propose(room, entry):
                    self.propose(room, entry)
                case Open(guest, ask):
                    if ask.room not in self.order.replicas:
                        self.follow(ask.room)
                    self.advance(self.order.replicas[ask.room], len(self.sea.log))
                    self.order.go_on(self.house, guest, ask, self.now)
                case Claim(guest, nick):
                    free = not any(hub is not self and hub.house.guests.find(nick) for hub in self.sea.hubs)
                    self.order.claimed(self.house, guest, nick, free, self.now)
                case Save(room):
                    replica = self.order.replicas[room]
                    self.sea.states[room] = encode(replica.state(self.house.rooms.get(room)))
                    replica.unsaved = 0
                case Amend():
                    self.changes.append(effect)
                case Share(room, event):
                    for hub in self.sea.hubs:
                        others, key = hub.order.others, (self.order.hub, room)
                        if hub is not self and room in hub.house.rooms:
                            turn = others._turns.get(key, 0) + 1
                            here = Here(VERSION, self.order.hub, room, turn, key not in others._turns, [event])
                            others.take(hub.house, here, self.now)
                case Cut(guest, code):
                    assert isinstance(guest.outlet, Visitor)
                    guest.outlet.cut = code
                case Shut(room):
                    self.shut.append(room)
                case _:
                    pass
        return moved


class Visitor:
    """A guest of one hub."""

    def __init__(self, hub: Island, nick: str, *rooms: str) -> None:
        self.hub = hub
        self.got: list[Line] = []
        self.cut = ""
        self.waiting: list[bytes] = []
        self.guest = hub.house.enter("", self, hub.now)
        self.send({"type": "hello"}, {"type": "nick", "nick": nick}, *({"type": "join", "room": one} for one in rooms))

    def write(self, raw: bytes) -> None:
        self.got += [json.loads(line) for line in raw.splitlines()]

    def send(self, *lines: Line) -> None:
        """Say it, as fast as the hub takes it."""
        self.waiting += [json.dumps(line).encode() + b"\n" for line in lines]
        while self.waiting:
            taken = self.hub.house.take(self.guest, decode_chunk(b"".join(self.waiting)), self.hub.now)
            del self.waiting[:taken]
            if self.waiting:
                self.hub.sea.settle()

    def say(self, text: str, room: str = "dev", **more: object) -> None:
        self.send({"type": "msg", "text": text, "room": room, **more})

    def numbered(self, room: str = "dev") -> list[Line]:
        return [line for line in self.got if line.get("seq") and line["type"] in KEPT and line.get("room", "") == room]

    def last(self, kind: str) -> Line:
        return [line for line in self.got if line["type"] == kind][-1]


KEPT = ("msg", "edit", "retract", "react", "topic")


def cluster(*names: str) -> tuple[Sea, list[Island]]:
    sea = Sea()
    hubs = [Island(sea, name) for name in names]
    sea.settle()
    return sea, hubs


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_every_hub_tells_the_same_lines_whatever_it_reads_first(seed: int) -> None:
    rng = random.Random(seed)
    sea, hubs = cluster("a", "b", "c")
    guests = [Visitor(hub, f"{hub.order.hub}{n}", "dev") for hub in hubs for n in range(2)]
    sea.settle()
    for n in range(rng.randrange(60)):
        guest = rng.choice(guests)
        match rng.randrange(8):
            case 0:
                own = rng.randrange(6)  # often an id that was used before
                guest.say(f"again {own}", client_id=f"id{own}")
            case 1:
                if mine := [line for line in guest.numbered() if line["nick"] == guest.guest.nick]:
                    guest.send({"type": "edit", "room": "dev", "id": rng.choice(mine)["seq"], "text": f"edited {n}"})
            case 2:
                guest.send({"type": "topic", "room": "dev", "text": f"topic {n}"})
            case 3:
                hub = rng.choice(hubs)
                hub.step(rng.randrange(len(sea.log) + 1))
            case _:
                guest.say(f"{guest.guest.nick} {n}", client_id=f"c{n}")
        if rng.random() < 0.3:
            rng.choice(hubs).step(rng.randrange(len(sea.log) + 1))
    sea.settle()
    told = guests[0].numbered()
    assert [line["seq"] for line in told] == sorted({line["seq"] for line in told})
    ids = [(line["nick"], line["client_id"]) for line in told if "client_id" in line]
    assert len(ids) == len(set(ids)), "said once"
    for guest in guests:
        assert guest.numbered() == told
    late = Visitor(Island(sea, "d"), "late", "dev")
    sea.settle()
    rooms = [hub.house.rooms["dev"] for hub in sea.hubs]
    assert late.guest in rooms[3].members
    assert len({(room.epoch, room.topic, room.seq, frozenset(room.operators)) for room in rooms}) == 1


def test_the_one_who_makes_a_room_first_makes_it_for_all() -> None:
    sea, (a, b) = cluster("a", "b")
    first, second = Visitor(a, "first"), Visitor(b, "second")
    sea.settle()
    for guest in (first, second):
        guest.hub.house.take(guest.guest, decode_chunk(b'{"type":"join","room":"dev"}\n'), THEN)
    sea.settle()
    one, two = first.last("joined"), second.last("joined")
    assert one["epoch"] == two["epoch"]
    assert [answer.get("operator", False) for answer in (one, two)].count(True) == 1


def test_a_ban_holds_at_every_hub_and_in_what_is_kept() -> None:
    sea, (a, b) = cluster("a", "b")
    ruler, loud = Visitor(a, "ruler", "dev"), Visitor(b, "loud", "dev")
    sea.settle()
    ruler.send({"type": "ban", "room": "dev", "nick": "loud"})
    sea.settle()
    assert loud.last("left")["code"] == "banned"
    b.house.gone(loud.guest, "", b.now)
    again = Visitor(Island(sea, "c"), "LOUD", "dev")
    sea.settle()
    assert again.last("error")["code"] == "banned"


async def test_a_cluster_says_that_it_cannot_search_and_one_hub_that_it_can() -> None:
    sea, (a,) = cluster("a")
    alice = Visitor(a, "alice")
    sea.settle()
    assert "find" not in alice.last("hello")["features"]
    assert "find" in Parlour().visitor("alice", "", "lobby").got("hello")[0]["features"]
    with pytest.raises(UsageError, match="cluster"):
        await BusHistory(cast("Cluster", None)).search("dev", "epoch", "words")


def test_a_command_about_a_room_is_none_about_the_hub() -> None:
    _, (a,) = cluster("a")
    before = a.house.rooms.keys()
    ruling.carry_out(a.house, None, None, ruling.Closed("all of it"), THEN)
    assert a.house.rooms.keys() == before


def test_a_message_that_arrived_twice_is_taken_once() -> None:
    sea, (a, b) = cluster("a", "b")
    guest, other = Visitor(a, "guest", "dev"), Visitor(b, "other", "dev")
    sea.settle()
    guest.say("once")
    sea.settle()
    sea.log.append(sea.log[-1])  # sent again later than the server remembers
    sea.settle()
    guest.say("next")
    sea.settle()
    assert (
        [line["text"] for line in other.numbered()] == ["once", "next"] == [line["text"] for line in guest.numbered()]
    )


def test_who_said_it_before_is_told_its_number() -> None:
    sea, (a, b) = cluster("a", "b")
    guest = Visitor(a, "guest", "dev")
    guest.say("hi", client_id="x")
    sea.settle()
    seq = guest.numbered()[0]["seq"]
    guest.guest.open = True
    guest.say("hi", client_id="x")
    sea.settle()
    assert guest.last("ack") == {"type": "ack", "client_id": "x", "seq": seq, "room": "dev"}
    # On its way twice: found when it comes back, and left out of pages.
    guest.say("ho", client_id="y")
    a.propose("dev", Talk(guest.guest.number, b"", "guest", 1, [("ho", "y", 0, False)]))
    sea.settle()
    assert [line["text"] for line in guest.numbered()] == ["hi", "ho"]
    assert [change.text for change in a.changes] == [None]
    assert b.changes == [], "it does not follow the room"


def test_ids_are_remembered_by_count_and_not_by_what_was_loaded() -> None:
    early, late = Replica("a", "dev"), Replica("b", "dev")
    for n in range(3 * MAX_CLIENT_IDS):
        for replica in (early, late) if n >= MAX_CLIENT_IDS else (early,):
            replica.take(n + 1, Posted(VERSION, "c", n + 1, 0, []), 1)
            replica.says("n", f"{n}", n)
    newest = 3 * MAX_CLIENT_IDS - 1
    for replica in (early, late):
        assert replica.said("n", f"{newest}") == newest
        assert replica.said("n", f"{newest - MAX_CLIENT_IDS + 1}")
        assert not replica.said("n", f"{newest - MAX_CLIENT_IDS - 1}")
        assert not replica.said("m", f"{newest}")


def test_lines_without_ids_count_too_so_that_whoever_loads_a_room_finds_the_same() -> None:
    early = Replica("a", "dev")
    early.take(1, Posted(VERSION, "c", 1, 0, []), 1)
    early.says("n", "old", 1)
    for n in range(2, MAX_CLIENT_IDS + 2):
        early.take(n, Posted(VERSION, "c", n, 0, []), 1)
    assert early.said("n", "old")
    early.take(MAX_CLIENT_IDS + 2, Posted(VERSION, "c", MAX_CLIENT_IDS + 2, 0, []), 1)
    assert not early.said("n", "old")


def test_a_message_that_arrived_twice_is_read_once_by_whoever_comes_later() -> None:
    sea, (a,) = cluster("a")
    guest = Visitor(a, "guest", "dev")
    guest.say("once")
    sea.settle()
    sea.log.append(sea.log[-1])
    sea.settle()
    assert [change.text for change in a.changes] == [None], "pages leave it out"
    replica = a.order.replicas["dev"]
    sea.states["dev"] = encode(msgspec.structs.replace(replica.state(a.house.rooms["dev"]), since=1))
    late = Island(sea, "b")
    late.follow("dev")
    lines = b"".join(batch.raw for batch in late.house.rooms["dev"]._tail).splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["once"]


def test_what_was_said_before_a_room_is_opened_is_not_handed_over_as_news() -> None:
    sea, (a, b) = cluster("a", "b")
    guest = Visitor(a, "guest", "dev")
    for n in range(5):
        guest.say(f"{n}")
    sea.settle()
    b.follow("dev")
    assert not [effect for effect in b.house.flush(THEN) if isinstance(effect, Keep)]
    late = Visitor(b, "late", "dev")
    late.send({"type": "join", "room": "dev", "epoch": b.house.rooms["dev"].epoch, "since": 1})
    sea.settle()
    assert [line["text"] for line in late.numbered()] == [f"{n}" for n in range(5)]


def test_hubs_that_could_not_be_heard_while_the_bus_was_away_are_there_still() -> None:
    _, (a,) = cluster("a")
    others = a.order.others
    others.heard(a.house, Beat(VERSION, "b", True, []), THEN)
    after = Now(THEN.mono + 100, THEN.wall_ms)
    others.back(after)
    assert others.silent(a.house, after, 8.0) == []
    assert others.silent(a.house, Now(after.mono + 9, THEN.wall_ms), 8.0) == ["b"]


def test_who_is_inside_is_not_waited_for_whatever_it_says_to_have_seen() -> None:
    sea, (a,) = cluster("a")
    guest = Visitor(a, "guest", "dev")
    sea.settle()
    join = {"type": "join", "room": "dev", "since": (1 << 48) - 1}
    a.house.take(guest.guest, decode_chunk(json.dumps(join).encode() + b"\n"), THEN)
    assert not [effect for effect in a.house.flush(THEN) if isinstance(effect, Open)]
    assert not guest.guest.waiting


def test_a_room_that_was_let_go_of_while_a_password_was_hashed_is_opened_again() -> None:
    sea, (a,) = cluster("a")
    guest = Visitor(a, "guest")
    sea.settle()
    ask = Join(room="den", password="swan")
    answering.unlocked(a.house, guest.guest, ask, b"lock", True, THEN)
    assert [effect.ask for effect in a.house.flush(THEN) if isinstance(effect, Open)] == [ask]
    # And what would never come back is refused at once.
    a.follow("den")
    a.order.begin(a.house, guest.guest, "den", ask, b"lock", THEN)
    [begun] = [effect.entry for effect in a.house.flush(THEN) if isinstance(effect, Propose)]
    a.order.unheard(a.house, "den", begun, "later")
    sea.settle()
    assert not guest.guest.waiting
    assert guest.last("error")["code"] == "busy"


def test_a_room_that_nobody_enters_after_all_is_let_go_of() -> None:
    sea, (a,) = cluster("a")
    guest = Visitor(a, "guest")
    sea.settle()
    a.follow("den")
    a.order.begin(a.house, guest.guest, "den", Join(room="den"), b"", THEN)
    [begun] = [effect.entry for effect in a.house.flush(THEN) if isinstance(effect, Propose)]
    a.propose("den", begun)
    a.house.gone(guest.guest, "", THEN)
    a.advance(a.order.replicas["den"], len(sea.log))
    assert [effect.room for effect in a.house.flush(THEN) if isinstance(effect, Shut)] == ["den"]


def test_an_id_of_a_closed_room_is_none_of_the_next_of_its_name() -> None:
    sea, (a, b) = cluster("a", "b")
    alice, bob = Visitor(a, "alice", "dev"), Visitor(b, "bob", "lobby")
    sea.settle()
    alice.say("one", client_id="c1")
    sea.settle()
    alice.send({"type": "close", "room": "dev"})
    sea.settle()
    alice.send({"type": "join", "room": "dev"})
    bob.send({"type": "join", "room": "dev"})
    sea.settle()
    alice.say("two", client_id="c1")
    sea.settle()
    assert [line["text"] for line in bob.numbered()] == ["two"]


def test_while_the_bus_is_away_nothing_is_ruled_and_no_room_is_made() -> None:
    sea, (a,) = cluster("a")
    alice = Visitor(a, "alice", "dev")
    sea.settle()
    a.house.unkept = "The bus is away."
    alice.send({"type": "slowmode", "room": "dev", "seconds": 9}, {"type": "join", "room": "den"})
    sea.settle()
    assert [(line["code"], line["text"]) for line in alice.got if line["type"] == "error"] == [
        ("busy", a.house.unkept)
    ] * 2
    assert not a.house.rooms["dev"].slowmode


def test_nicks_that_hubs_give_are_taken_by_nobody_and_of_two_who_claim_one_the_second_goes_without() -> None:
    sea, (a,) = cluster("a")
    alice, bob = Visitor(a, "alice"), Visitor(a, "bob")
    sea.settle()
    bob.send({"type": "nick", "nick": "anon-77"})
    sea.settle()
    assert bob.last("error")["code"] == "nick_taken"
    a.order.claimed(a.house, bob.guest, "alice", True, THEN)
    assert [effect.number for effect in a.house._out if isinstance(effect, Release)] == [bob.guest.number]
    sea.settle()
    assert bob.last("error")["suggestion"] == "alice2"
    assert (alice.guest.nick, bob.guest.nick) == ("alice", "bob")


def test_a_hub_follows_only_so_many_rooms() -> None:
    sea, (a,) = cluster("a")
    alice = Visitor(a, "alice", "dev")
    sea.settle()
    a.house.settings = msgspec.structs.replace(a.house.settings, rooms=len(a.order.replicas))
    alice.send({"type": "join", "room": "den"})
    sea.settle()
    assert alice.last("error")["code"] == "too_many_rooms"


def test_what_was_missed_of_who_is_in_a_room_is_asked_for() -> None:
    _, (a,) = cluster("a")
    others, room = a.order.others, a.house.rooms[LOBBY]

    def here(turn: int, *numbers: int, whole: bool = False) -> bool:
        events: list[Event] = [Inside(number, f"n{number}", b"", named=True, maker=False) for number in numbers]
        return others.take(a.house, Here(VERSION, "b", LOBBY, turn, whole, events), THEN)

    def beat(turn: int) -> list[str]:
        return others.heard(a.house, Beat(VERSION, "b", True, [Place(LOBBY, 1, turn, "", False)]), THEN)

    assert not here(7, 1), "what was before it is not known"
    assert here(8, 1, 2, whole=True)
    assert here(9, 3)
    assert set(room.far) == {1, 2, 3}
    assert beat(9) == []
    assert beat(10) == [LOBBY]
    assert not here(11, 4)
    assert here(12, 4, whole=True)
    assert set(room.far) == {4}, "whoever is not named any more is gone"
    others.shut(LOBBY)
    assert beat(12) == [LOBBY], "it is not known here any more"


def test_a_room_whose_last_guest_was_put_out_is_let_go_of() -> None:
    sea, (a, b) = cluster("a", "b")
    maker, other = Visitor(a, "maker", "den"), Visitor(b, "other", "den")
    sea.settle()
    maker.send({"type": "kick", "room": "den", "nick": "other"})
    sea.settle()
    assert other.last("left")["code"] == "kicked"
    assert ("den" in a.shut, "den" in b.shut) == (False, True)


def test_an_operator_of_the_hub_enters_a_locked_room_that_nobody_is_in() -> None:
    sea, (a,) = cluster("a")
    maker = Visitor(a, "maker")
    sea.settle()
    a.follow("den")
    a.propose("den", Begun(maker.guest.number, b"", "epoch", b"lock"))
    sea.settle()
    root = Visitor(a, "root")
    root.guest.key = PeerKey(bytes(32))
    a.house.settings = msgspec.structs.replace(a.house.settings, operators=frozenset({PeerKey(bytes(32))}))
    root.send({"type": "join", "room": "den"})
    sea.settle()
    assert root.last("joined")["room"] == "den"


def test_marks_lead_back_by_a_page_at_least() -> None:
    replica = Replica("a", "dev")
    replica.begin()
    assert replica.back == 0
    lines = 0
    for place in range(1, 400):
        replica.take(place, Posted(VERSION, "b", place, 0, []), 10)
        lines += 10
    mark = replica.mark_before(399, 1)
    assert (399 - mark) * 10 >= MARK_LINES
    assert (399 - mark) * 10 <= 3 * MARK_LINES
    assert replica.back <= mark
    assert replica.mark_before(1, 1) == 0, "not known here any more"


@pytest.mark.parametrize("room", ["dev", "dev-2", "Käse", "日本", "a.b", "a*", "x" * 64])
def test_rooms_have_tokens_that_nats_takes(room: str) -> None:
    assert set(token(room)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert token(room) != token(room + "x")
    assert token(HOUSE) != token("house")
    assert set(nick_token(room)).isdisjoint(".*> ")


def test_numbers_fit_a_program_that_knows_doubles_only() -> None:
    seq = number((1 << 38) - 1, MAX_LINES - 1)
    assert seq < 1 << 48
    assert place_of(seq) == (1 << 38) - 1
    assert number(2, 0) > number(1, MAX_LINES - 1)


def test_what_is_no_log_is_refused() -> None:
    talk, change = Talk(1, b"", "n", 1, [("hi", "", 0, False)]), Change(1, b"", Edited("n", "x", 1, 7))
    good = Posted(VERSION, "a", 1, 0, [talk, change])
    assert decode_posted(encode(good)) == good
    too_much = Posted(VERSION, "a", 1, 0, [Talk(1, b"", "n", 1, [("", "", 0, False)] * (MAX_LINES + 1))])
    for raw in (b"", b"\xc1", b"{}", encode(good)[:-1], encode(too_much), encode(Posted(VERSION + 1, "a", 1, 0, []))):
        with pytest.raises(BadLog):
            decode_posted(raw)
        with pytest.raises(BadLog):
            decode_state(raw)


def test_a_hub_that_says_nothing_is_gone_with_its_guests() -> None:
    sea, (a, b) = cluster("a", "b")
    guest, other = Visitor(a, "guest", "dev"), Visitor(b, "other", "dev")
    sea.settle()
    others = a.order.others
    places = [Place("dev", 1, others._turns["b", "dev"], "", False), Place("far", 3, 1, "t", True)]
    beat = Beat(VERSION, "b", True, places)
    assert others.heard(a.house, beat, THEN) == []
    assert [(line.room, line.members) for line in others.lines(a.house)] == [("far", 3)]
    guest.send({"type": "who", "room": "dev"})
    sea.settle()
    assert guest.last("who")["count"] == 2
    a.now = Now(THEN.mono + 100, THEN.wall_ms)
    assert others.silent(a.house, a.now, 8.0) == ["b"]
    sea.settle()
    assert guest.last("notice")["text"] == "other left (its hub is gone)"
    assert others.lines(a.house) == []
    assert other.guest.open
