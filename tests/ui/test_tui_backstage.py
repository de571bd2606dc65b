"""The node behind the full-screen face: what it tells the screen of real nodes, and what it does for it."""

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest
from typing_extensions import override

from sandpiper.config import Paths
from sandpiper.core.events import CatchUp, Forked, Gap
from sandpiper.crypto.rooms import direct_room, open_room
from sandpiper.errors import StoreError, UsageError
from sandpiper.faces import comings
from sandpiper.faces.settings import Entering, TuiSettings
from sandpiper.faces.spans import text_of
from sandpiper.faces.tui import around, telling
from sandpiper.faces.tui.backstage import NodeBackstage
from sandpiper.faces.tui.lookup import NEWEST
from sandpiper.faces.tui.views import (
    Around,
    Ask,
    Clear,
    Delivery,
    Ended,
    Found,
    Named,
    NotDone,
    Note,
    OtherKey,
    PeerView,
    RoomView,
    Said,
    Show,
    Typing,
    Update,
    Who,
)
from sandpiper.faces.verifying import Comparison
from sandpiper.node import CodePassword, Node, NodeSettings, PlainPeer
from sandpiper.store.profile import Profile, open_profile
from sandpiper.store.reader import Message, Reader
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Edit, React, Retract, Text
from tests.ui.people import Person, person

GENERAL = open_room("general")
One = TypeVar("One", bound=Update)


class Nobody:
    """An `Ask` that must not be asked."""

    def nick(self, suggested: str) -> str:
        raise AssertionError(f"asked for a nick like {suggested}")

    def passphrase(self, prompt: str) -> str:
        raise AssertionError(prompt)

    def password(self, wanted: CodePassword) -> str:
        raise AssertionError(wanted)


class Front:
    """A screen that only writes down what it is told, and checks what it may rely on."""

    def __init__(self, backstage: NodeBackstage) -> None:
        self.backstage = backstage
        self.updates: list[Update] = []
        self.batches = 0
        self.who: dict[RoomId, dict[PeerKey, Who]] = {}
        self.messages: dict[RoomId, dict[RecordId, Message]] = {}
        self.room: RoomId | None = None
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def start(self, ask: Ask | None = None) -> "Front":
        self.backstage.start(lambda batch: self._loop.call_soon_threadsafe(self._take, batch), ask or Nobody())
        return self

    def _take(self, batch: tuple[Update, ...]) -> None:
        assert batch, "an empty batch"
        self.batches += 1
        for update in batch:
            self.updates.append(update)
            match update:
                case Named(room=room, who=who):
                    self.who.setdefault(room, {}).update(who)
                case Said(room=room, messages=messages):
                    for message in messages:
                        self._named(room, message)
                    self.messages.setdefault(room, {}).update({message.id: message for message in messages})
                    assert [m.place for m in messages] == sorted(m.place for m in messages)
                case Found(messages=messages):
                    for message in messages:
                        self._named(message.room, message)
                case Show(room=room):
                    self.room = room
                    assert room is None or room in {one.id for one in self.around.rooms}, "shown before it is around"
                case _:
                    pass
        self._changed.set()

    def _named(self, room: RoomId, message: Message) -> None:
        for author in (message.author, *(reaction.author for reaction in message.reactions)):
            assert author in self.who[room], "told before its author was named"

    async def until(self, predicate: Callable[["Front"], object], what: str = "") -> None:
        try:
            async with asyncio.timeout(20):
                while not predicate(self):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            tail = "\n".join(map(str, self.updates[-12:]))
            raise AssertionError(f"{what or 'it'} did not come\n{tail}") from None

    def of(self, kind: type[One]) -> list[One]:
        return [update for update in self.updates if isinstance(update, kind)]

    @property
    def around(self) -> Around:
        return self.of(Around)[-1]

    def texts(self, room: RoomId = GENERAL) -> list[str]:
        """As the transcript would have them."""
        kept = self.messages.get(room, {}).values()
        return [message.text for message in sorted(kept, key=lambda message: message.place)]

    def notes(self, kind: str) -> list[str]:
        return [text_of(line) for note in self.of(Note) if note.kind == kind for line in note.lines]

    def view(self, room: RoomId = GENERAL) -> RoomView:
        return next(view for view in self.around.rooms if view.id == room)

    def peer(self, name: str) -> PeerView:
        return next(peer for peer in self.around.peers if peer.name == name)

    async def says(self, text: str, room: RoomId = GENERAL) -> Message:
        """Until a message with this text is told."""
        await self.until(lambda me: text in me.texts(room), text)
        return next(message for message in self.messages[room].values() if message.text == text)

    async def notes_that(self, text: str, kind: str = "event") -> None:
        await self.until(lambda me: any(text in note for note in me.notes(kind)), text)

    async def unread(self, unread: int, mentions: int, room: RoomId = GENERAL) -> None:
        def counted(me: Front) -> bool:
            return any(
                view.id == room and (view.unread, view.mentions) == (unread, mentions) for view in me.around.rooms
            )

        await self.until(counted, f"{unread} unread, {mentions} mentions")

    async def ended(self) -> Ended:
        await self.until(lambda me: me.of(Ended), "the end")
        assert await asyncio.to_thread(self.backstage.join, 10)
        return self.of(Ended)[-1]


def paths_of(home: Path, nick: str) -> Paths:
    return Paths(home / nick, home / nick, home / nick / "log", portable=True)


def backstage(nick: str, home: Path, *, port: int = 0, plain: bool = False, quiet: bool = False) -> NodeBackstage:
    def opened(ask: Ask) -> Profile:
        return open_profile(paths_of(home, nick), nick, nick=nick, keyring=False)

    def network() -> NodeSettings:
        return NodeSettings(ports=range(port, port + 1), hosts=("127.0.0.1",), multicast=False, plain=plain)

    return NodeBackstage(opened, network, TuiSettings(quiet=quiet, log_file=home / "sandpiper.log"))


@asynccontextmanager
async def front(nick: str, home: Path, **settings: bool) -> AsyncIterator[Front]:
    """Somebody with a screen, in #general."""
    one = Front(backstage(nick, home, **settings)).start()
    try:
        await one.until(lambda me: me.room == GENERAL, "the start")
        yield one
    finally:
        one.backstage.stop()
        assert await asyncio.to_thread(one.backstage.join, 20), "it has not ended"


@asynccontextmanager
async def guest(nick: str, home: Path, *hosts: Front) -> AsyncIterator[Person]:
    """Somebody with line mode, linked to those with a screen."""
    async with person(nick, home, linked=False) as one:
        for host in hosts:
            one.node.connect("127.0.0.1", host.around.us.port)
            await host.until(lambda me: any(p.name == nick and p.presence == "here" for p in me.around.peers), nick)
            await host.until(lambda me: me.view().others, "company")
        await one.until(lambda me: len(me.node.members(GENERAL)) == len(hosts))
        yield one


@pytest.fixture
async def alice(tmp_path: Path) -> AsyncIterator[Front]:
    async with front("alice", tmp_path) as alice:
        yield alice


@pytest.fixture
async def bob(tmp_path: Path, alice: Front) -> AsyncIterator[Person]:
    async with guest("bob", tmp_path, alice) as bob:
        yield bob


# ---------------------------------------------------------------- the start


async def test_the_first_batch_has_what_is_around_before_the_room_to_show(alice: Front):
    kinds = [type(update) for update in alice.updates]
    assert kinds[0] is Around
    assert kinds.index(Named) < kinds.index(Show)
    us = alice.around.us
    assert (us.nick, us.temporary, us.address) == ("alice", False, f"127.0.0.1:{us.port}")
    assert [view.label for view in alice.around.rooms] == ["#general"]
    assert alice.who[GENERAL][us.key].name == "alice"
    assert not alice.notes("event"), "that we are in the room to start in is no news"


async def test_the_history_can_be_read_once_something_is_around(alice: Front):
    alice.backstage.obey(GENERAL, "kept")
    await alice.says("kept")
    with alice.backstage.reader() as reader:
        assert [message.text for message in reader.page(GENERAL)] == ["kept"]


async def test_whoever_has_only_written_before_is_named_from_the_start(tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice) as bob:
        bob.type("old")
        await alice.says("old")
        key = bob.node.key
    async with front("alice", tmp_path) as again:
        assert again.who[GENERAL][key].name == "bob"
        assert again.peer("bob").presence == "gone"
        assert again.peer("bob").seen > 0


async def test_a_nick_is_asked_for_in_the_thread_and_what_was_asked_for_meanwhile_is_done_after(tmp_path: Path):
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    class Person(Nobody):
        @override
        def nick(self, suggested: str) -> str:
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(20)
            return f"{suggested}-2"

    def opened(ask: Ask) -> Profile:
        nick = ask.nick("robin")
        return open_profile(paths_of(tmp_path, nick), nick, nick=nick, keyring=False)

    stage = NodeBackstage(opened, lambda: NodeSettings(range(1), ("127.0.0.1",), multicast=False), TuiSettings())
    one = Front(stage).start(Person())
    one.backstage.obey(GENERAL, "typed early")
    assert stage.join(0), "there is nothing to wait for while a person is asked"
    release.set()
    await one.says("typed early")
    assert one.around.us.nick == "robin-2"
    stage.stop()
    assert await one.ended() == Ended()


async def test_a_person_who_would_rather_leave_ends_it_with_their_sentence(tmp_path: Path):
    def opened(ask: Ask) -> Profile:
        raise UsageError("No nick, no chat.", hint="Come again.")

    one = Front(NodeBackstage(opened, lambda: NodeSettings(multicast=False), TuiSettings())).start()
    assert await one.ended() == Ended("No nick, no chat. Come again.", 2)


async def test_it_begins_in_a_private_room_and_tells_its_code(tmp_path: Path):
    def opened(ask: Ask) -> Profile:
        return open_profile(paths_of(tmp_path, "robin"), "robin", nick="robin", keyring=False)

    entering = TuiSettings(entering=Entering(create="birds"))
    stage = NodeBackstage(opened, lambda: NodeSettings(range(1), ("127.0.0.1",), multicast=False), entering)
    one = Front(stage).start()
    await one.until(lambda me: me.of(Show), "a room")
    await one.until(lambda me: any(room.id == me.room and room.label == "#birds" for room in me.around.rooms), "birds")
    await one.notes_that("The code of #birds: ")
    stage.stop()
    assert await one.ended() == Ended()


# ---------------------------------------------------------------- messages


async def test_messages_come_with_names_and_only_those_of_others_are_fresh(alice: Front, bob: Person):
    bob.type("hello alice")
    theirs = await alice.says("hello alice")
    alice.backstage.obey(GENERAL, "hello bob")
    ours = await alice.says("hello bob")
    await bob.sees("alice: hello bob")
    fresh = frozenset().union(*(said.fresh for said in alice.of(Said)))
    assert theirs.id in fresh
    assert ours.id not in fresh
    who = alice.who[GENERAL]
    assert who[theirs.author].name == "bob"
    assert who[theirs.author].colour != who[ours.author].colour


async def test_an_edit_a_reaction_and_a_deletion_tell_the_message_again_in_its_place(alice: Front, bob: Person):
    bob.type("helo", "second")
    said = await alice.says("helo")
    await alice.says("second")
    bob.node.post(GENERAL, Edit(said.id, "hello"))
    assert (await alice.says("hello")).edited
    alice.backstage.obey(GENERAL, f"/react {said.id.hex()} 👍")
    await alice.until(lambda me: me.messages[GENERAL][said.id].reactions)
    bob.node.post(GENERAL, Retract(said.id))
    await alice.until(lambda me: me.messages[GENERAL][said.id].retracted)
    assert alice.messages[GENERAL][said.id].place == said.place
    assert alice.texts()[1] == "second"
    assert not alice.notes("event")[1:], "the transcript shows that in its place"


async def test_two_thousand_messages_in_a_row_are_all_told_in_few_batches(alice: Front, bob: Person):
    before = alice.batches
    for n in range(2000):
        bob.node.post(GENERAL, Text(f"{n}"))
        if n % 50 == 0:
            await asyncio.sleep(0)
    await alice.until(lambda me: len(me.texts()) == 2000, "all messages")
    assert sorted(alice.texts(), key=int) == [str(n) for n in range(2000)]
    assert alice.batches - before < 100


async def test_what_happens_at_short_intervals_is_told_in_few_batches(alice: Front):
    before = alice.batches
    for n in range(500):
        alice.backstage.obey(GENERAL, f"{n}")
    await alice.until(lambda me: len(me.texts()) == 500, "all messages")
    assert alice.texts() == [str(n) for n in range(500)]
    assert alice.batches - before < 50


async def test_a_late_joiner_is_told_the_newest_before_the_rest(alice: Front, tmp_path: Path):
    async with person("bob", tmp_path, linked=False) as bob:
        for n in range(600):
            bob.node.post(GENERAL, Text(f"{n}"))
        bob.node.connect("127.0.0.1", alice.around.us.port)
        await alice.until(lambda me: len(me.texts()) == 600, "all messages")
    first = alice.of(Said)[0]
    assert "599" in [message.text for message in first.messages]
    assert not first.fresh
    await alice.until(lambda me: not me.view().fetching)
    with alice.backstage.reader() as reader:
        assert [m.place for m in reader.page(GENERAL, limit=600)] == sorted(
            m.place for m in alice.messages[GENERAL].values()
        ), "a guessed place stayed"


async def test_what_an_ignored_author_says_and_puts_on_messages_is_not_told(alice: Front, bob: Person, tmp_path: Path):
    async with guest("carol", tmp_path, alice) as carol:
        bob.type("before")
        said = await alice.says("before")
        alice.backstage.obey(GENERAL, "/ignore bob")
        await alice.notes_that("", "reply")
        bob.node.post(GENERAL, Text("unheard"))
        bob.node.post(GENERAL, React(said.id, "👎"))
        alice.backstage.obey(GENERAL, "mine")
        ours = await alice.says("mine")
        await bob.sees("alice: mine")
        bob.node.post(GENERAL, React(ours.id, "👎"))
        await carol.sees("bob: unheard")
        carol.node.post(GENERAL, React(ours.id, "👍"))
        await alice.until(lambda me: me.messages[GENERAL][ours.id].reactions)
        alice.backstage.obey(GENERAL, "/history")
        await alice.until(lambda me: me.of(Found))
        assert "unheard" not in alice.texts()
        assert [message.text for message in alice.of(Found)[-1].messages] == ["mine"]
        assert {r.author for r in alice.messages[GENERAL][ours.id].reactions} == {carol.node.key}
        await alice.unread(0, 0)
        alice.backstage.obey(GENERAL, "/unignore bob")
        await alice.unread(2, 0)


def holds_the_last(room: RoomId, person: Person) -> bool:
    """The only other member holds our newest message."""
    last = RecordId(person.node.newest_place(room)[1])
    return person.node.delivery(room, last) == (1, 1)


def lists(room: RoomId) -> Callable[[Front], bool]:
    return lambda me: any(view.id == room for view in me.around.rooms)


async def test_a_direct_message_of_somebody_ignored_is_no_event_and_lists_no_room(tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice) as bob:
        room = direct_room(alice.around.us.key, bob.node.key)
        alice.backstage.obey(GENERAL, "/ignore bob")
        await alice.notes_that("no longer see", "reply")
        bob.type("/msg alice look at me", "/msg alice look!")
        await bob.until(partial(holds_the_last, room))
        alice.backstage.obey(GENERAL, "later")
        await alice.says("later")
        assert not any(view.id == room for around in alice.of(Around) for view in around.rooms)
        assert not any("Direct room" in note for note in alice.notes("event"))
    async with front("alice", tmp_path) as again, guest("bob", tmp_path, again) as bob:
        assert not lists(room)(again), "it came back with the next start"
        again.backstage.obey(GENERAL, "/unignore bob")
        await again.until(lists(room), "the room")
        await again.unread(2, 2, room)
        again.backstage.obey(GENERAL, "/ignore bob")
        await again.until(lambda me: not lists(room)(me), "its end")


async def test_a_direct_room_with_somebody_ignored_is_listed_once_we_go_there(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(telling, "AROUND_SECONDS", 1000.0)  # from the next picture on only what cannot wait is told
    room = direct_room(alice.around.us.key, bob.node.key)
    alice.backstage.obey(GENERAL, "/ignore bob")
    await alice.until(lambda me: bob.node.key in me.around.ignored)
    bob.type("/msg alice look at me")
    await bob.until(partial(holds_the_last, room), "delivery")
    assert not lists(room)(alice)
    alice.backstage.open_direct(bob.node.key)  # `Front` checks that it is around before it is shown
    await alice.until(lambda me: me.room == room)
    alice.backstage.obey(room, "/join #general")
    await alice.until(lambda me: me.room == GENERAL)
    assert lists(room)(alice)
    assert (alice.view(room).unread, alice.view(room).mentions) == (0, 0)


async def test_a_room_where_we_have_answered_stays_when_they_are_ignored(alice: Front, bob: Person):
    room = direct_room(alice.around.us.key, bob.node.key)
    bob.type("/msg alice psst")
    await alice.says("psst", room)
    alice.backstage.obey(GENERAL, "/msg bob what?")
    await alice.says("what?", room)
    alice.backstage.obey(GENERAL, "/ignore bob")
    await alice.until(lambda me: bob.node.key in me.around.ignored)
    assert lists(room)(alice)


async def test_delivery_is_told_as_it_grows_and_again_for_an_earlier_run(tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice):
        alice.backstage.obey(GENERAL, "hello")
        said = await alice.says("hello")
        await alice.until(lambda me: Delivery(GENERAL, said.id, 1, 1) in me.updates)
    async with front("alice", tmp_path) as again:
        assert Delivery(GENERAL, said.id, 0, 0) in again.updates
        async with guest("bob", tmp_path, again):
            again.backstage.look(None, focused=True)
            again.backstage.look(GENERAL, focused=True)
            await again.until(lambda me: Delivery(GENERAL, said.id, 1, 1) in me.updates)


async def test_typing_is_told_with_a_name(alice: Front, bob: Person):
    bob.node.typing(GENERAL)
    await alice.until(lambda me: me.of(Typing))
    [typing] = alice.of(Typing)
    assert (typing.room, typing.name) == (GENERAL, "bob")


async def test_that_we_are_typing_reaches_the_others(alice: Front, bob: Person):
    seen: list[object] = []
    bob.node.subscribe(seen.append)
    alice.backstage.typing(GENERAL)
    alice.backstage.typing(RoomId(b"x" * 32))  # one that was just left
    await bob.until(lambda me: any(type(notice).__name__ == "TypingSeen" for notice in seen))


# ---------------------------------------------------------------- commands


async def test_what_cannot_be_done_is_said_and_comes_back(alice: Front):
    alice.backstage.obey(GENERAL, "/nope")
    await alice.until(lambda me: me.of(NotDone))
    assert alice.of(NotDone) == [NotDone(GENERAL, "/nope")]
    assert any(note.startswith("There is no command /nope; nothing was sent.") for note in alice.notes("trouble"))
    alice.backstage.obey(GENERAL, "still here")
    await alice.says("still here")


async def test_lines_are_done_in_their_order_also_when_one_takes_long(alice: Front):
    alice.backstage.obey(GENERAL, "one")
    alice.backstage.obey(GENERAL, "/search one")
    alice.backstage.obey(GENERAL, "/react ^ 👍")
    alice.backstage.obey(GENERAL, "two")
    alice.backstage.obey(GENERAL, "/reply ^2 three")
    said = await alice.says("three")
    assert alice.texts() == ["one", "two", "three"]
    assert alice.messages[GENERAL][RecordId(said.reply_to)].text == "one"
    assert [found.words for found in alice.of(Found)] == ["one"]


async def test_a_call_returns_at_once_however_slow_the_disk_is(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch
):
    let_go = asyncio.Event()
    loop = asyncio.get_running_loop()
    read = Reader.messages

    def slow(self: Reader, ids: list[RecordId]) -> list[Message]:
        asyncio.run_coroutine_threadsafe(let_go.wait(), loop).result(20)
        return read(self, ids)

    monkeypatch.setattr(Reader, "messages", slow)
    alice.backstage.obey(GENERAL, "first")
    await bob.sees("alice: first")  # the node goes on while the history is read
    alice.backstage.obey(GENERAL, "second")
    await bob.sees("alice: second")
    assert alice.texts() == []
    let_go.set()
    await alice.says("second")


async def test_joining_and_leaving_change_what_is_around_and_on_the_screen(alice: Front):
    alice.backstage.obey(GENERAL, "/join #tea")
    tea = open_room("tea")
    await alice.until(lambda me: me.room == tea)
    await alice.notes_that("You joined #tea, with nobody else yet. OPEN: anyone on this network can join")
    alice.backstage.obey(tea, "/topic green or black?")
    await alice.notes_that("alice set the topic: green or black?")
    await alice.until(lambda me: me.view(tea).topic == "green or black?")
    alice.backstage.obey(tea, "/leave")
    await alice.until(lambda me: me.room == GENERAL and len(me.around.rooms) == 1)
    await alice.notes_that("You left #tea; its history stays.")
    alice.backstage.obey(GENERAL, "/leave")
    await alice.until(lambda me: me.room is None)
    alice.backstage.obey(None, "to nobody")
    await alice.until(lambda me: NotDone(None, "to nobody") in me.updates)
    assert any("You are in no room." in note for note in alice.notes("trouble"))


async def test_a_reply_goes_to_the_room_that_it_was_asked_in(alice: Front):
    alice.backstage.obey(GENERAL, "/rooms")
    await alice.notes_that("#general", "reply")
    assert {note.room for note in alice.of(Note)} == {GENERAL}
    alice.backstage.obey(GENERAL, "/clear")
    await alice.until(lambda me: me.of(Clear))


async def test_that_nobody_hears_us_is_said_once(alice: Front):
    alice.backstage.obey(GENERAL, "anybody?")
    alice.backstage.obey(GENERAL, "really nobody?")
    await alice.says("really nobody?")
    alone = [note for note in alice.notes("event") if "Nobody else is in #general now." in note]
    assert len(alone) == 1


# ---------------------------------------------------------------- who is here


async def test_peers_come_go_and_change_in_the_picture_and_in_notes(alice: Front, tmp_path: Path):
    async with guest("bob", tmp_path, alice) as bob:
        view = alice.peer("bob")
        assert (view.presence, view.path, view.room) == ("here", "lan", direct_room(alice.around.us.key, bob.node.key))
        await alice.notes_that("bob is here (lan)")
        bob.type("/away lunch")
        await alice.until(lambda me: me.peer("bob").presence == "away")
        assert alice.peer("bob").status == "lunch"
        bob.type("hi")
        await alice.says("hi")
        bob.type("/nick robert")
        await alice.until(lambda me: me.who[GENERAL][bob.node.key].name == "robert", "the new name for old messages")
        await alice.notes_that("bob is called robert now")
    await alice.until(lambda me: me.peer("robert").presence == "gone")
    assert alice.peer("robert").seen > 0
    await alice.notes_that("robert is gone")


async def test_nobody_speaks_before_it_is_told_that_they_are_here(alice: Front, bob: Person):
    bob.node.post(GENERAL, Text("at once"))
    await alice.says("at once")
    await alice.notes_that("bob is here (lan)")
    [note] = alice.of(Note)
    assert alice.updates.index(note) < alice.updates.index(alice.of(Said)[0])


async def test_authors_who_were_never_met_are_named_also_those_of_long_ago(tmp_path: Path):
    async with front("alice", tmp_path) as alice, person("bob", tmp_path, linked=False) as bob:
        async with person("carol", tmp_path, bob) as carol:
            carol.type("carried by bob")
            await bob.sees("carol: carried by bob")
        bob.node.connect("127.0.0.1", alice.around.us.port)
        message = await alice.says("carried by bob")
        assert alice.who[GENERAL][message.author].name == "carol"
        for n in range(NEWEST + 1):
            bob.node.post(GENERAL, Text(f"{n}"))
        await alice.says(f"{NEWEST}")
    async with front("alice", tmp_path) as again:
        assert again.who[GENERAL][message.author].name == "carol"


async def test_a_quiet_screen_is_told_of_no_comings_and_goings(tmp_path: Path):
    async with front("alice", tmp_path, quiet=True) as alice:
        async with guest("bob", tmp_path, alice) as bob:
            bob.type("hi")
            await alice.says("hi")
        await alice.until(lambda me: me.peer("bob").presence == "gone")
        assert alice.notes("event") == []


async def test_a_direct_room_is_opened_by_key_with_anybody_but_us(alice: Front, bob: Person):
    alice.backstage.open_direct(bob.node.key)
    await alice.until(lambda me: me.room == direct_room(me.around.us.key, bob.node.key))
    alice.backstage.open_direct(alice.around.us.key)
    await alice.notes_that("That is you.", "trouble")


async def test_the_peer_of_a_direct_room_is_told_however_many_others_are_gone(
    alice: Front, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(around, "MAX_GONE", 0)
    never_met = PeerKey(b"\x05" * 32)
    alice.backstage.open_direct(never_met)
    await alice.until(lambda me: any(peer.key == never_met for peer in me.around.peers))
    alice.backstage.verify(never_met, verified=True)
    await alice.until(lambda me: any(peer.key == never_met and peer.verified for peer in me.around.peers))


async def test_of_a_peer_that_changes_all_the_time_the_last_state_is_told(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(comings, "CHANGE_SECONDS", 0.5)
    await alice.notes_that("bob is here")
    for n in range(300):
        bob.node.set_presence(f"bob{n}", f"away {n}")
    await alice.notes_that("bob299 now and is away: away 299")
    assert len([note for note in alice.notes("event") if "is called" in note]) <= 3


@pytest.fixture
def long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a peer that was told to be gone nothing more is told until the test says so."""
    monkeypatch.setattr(comings, "CHANGE_SECONDS", 1000.0)


async def test_of_a_peer_that_comes_and_goes_all_the_time_the_last_state_is_told(
    tellings: list[telling.Telling], long_rest: None, tmp_path: Path
):
    async with front("alice", tmp_path) as alice:
        loop, [made] = alice.backstage._loop, tellings
        assert loop is not None

        async def told() -> list[str]:
            """All events, once everything before is told."""
            said = f"{len(alice.texts())}"
            alice.backstage.obey(GENERAL, said)
            await alice.says(said)
            return [note for note in alice.notes("event") if note.startswith("bob")]

        async with guest("bob", tmp_path, alice) as bob:
            key = bob.node.key
            await alice.notes_that("bob is here")
        await alice.notes_that("bob is gone")
        for _ in range(3):
            async with guest("bob", tmp_path, alice):
                pass
            await alice.until(lambda me: me.peer("bob").presence == "gone")
        assert await told() == ["bob is here (lan)", "bob is gone"]
        async with guest("bob", tmp_path, alice) as bob:
            bob.node.set_presence("bob", "lunch")
            await alice.until(lambda me: me.peer("bob").status == "lunch")
            assert len(await told()) == 2, "they are told later"
            loop.call_soon_threadsafe(made._comings._rested, key)
            await alice.notes_that("bob (away: lunch) is here (lan)")
        await alice.until(lambda me: me.notes("event").count("bob is gone") == 2)
        loop.call_soon_threadsafe(made._comings._rested, key)
        assert len(await told()) == 4, "nobody is here of whom more could be told"


async def test_whoever_is_back_and_speaks_is_told_to_be_here_before(long_rest: None, tmp_path: Path, alice: Front):
    async with guest("bob", tmp_path, alice):
        await alice.notes_that("bob is here")
    await alice.notes_that("bob is gone")
    async with guest("bob", tmp_path, alice) as bob:
        bob.type("back again")
        await alice.says("back again")
        here = [note for note in alice.of(Note) if "bob is here" in text_of(note.lines[0])]
        [said] = alice.of(Said)
        assert len(here) == 2
        assert alice.updates.index(here[1]) < alice.updates.index(said)


async def test_verifying_names_everybody_anew(alice: Front, bob: Person):
    bob.type("hi")
    await alice.says("hi")
    alice.backstage.obey(GENERAL, "/verify bob")
    await alice.until(lambda me: me.of(Comparison))
    [comparison] = alice.of(Comparison)
    assert (comparison.key, comparison.name, comparison.verified) == (bob.node.key, "bob", False)
    assert not alice.who[GENERAL][bob.node.key].verified
    alice.backstage.verify(bob.node.key, verified=True)
    await alice.until(lambda me: me.who[GENERAL][bob.node.key].verified and me.peer("bob").verified)
    alice.backstage.verify(bob.node.key, verified=False)
    await alice.until(lambda me: not me.who[GENERAL][bob.node.key].verified and not me.peer("bob").verified)


async def test_another_key_with_a_verified_name_is_told_marked_and_held_back_from(tmp_path: Path):
    async with front("alice", tmp_path) as alice:
        async with guest("bob", tmp_path, alice) as bob:
            alice.backstage.verify(bob.node.key, verified=True)
            await alice.until(lambda me: me.peer("bob").verified)
        async with person("eve", tmp_path, linked=False) as eve:
            eve.node.set_presence("bоb")  # noqa: RUF001  (a Cyrillic letter)
            eve.node.connect("127.0.0.1", alice.around.us.port)
            await alice.until(lambda me: me.of(OtherKey), "the other key")
            [told] = alice.of(OtherKey)
            name = f"bоb~{eve.node.key.hex()[:4]}"  # noqa: RUF001
            assert (told.key, told.name) == (eve.node.key, name)
            assert any("ANOTHER KEY" in note for note in alice.notes("trouble")), "it stays in the transcript, too"
            await alice.until(lambda me: any(peer.key == told.key and peer.other_key for peer in me.around.peers))
            eve.type("it is me")
            await alice.says("it is me")
            await alice.until(lambda me: me.who[GENERAL][told.key].name == f"{name} [other key]")
            alice.backstage.open_direct(told.key)
            room = direct_room(alice.around.us.key, told.key)
            await alice.until(lambda me: me.room == room)
            await alice.until(lambda me: me.view(room).held_back == (name,))
            alice.backstage.obey(room, "a secret")
            await alice.until(lambda me: NotDone(room, "a secret") in me.updates, "what was typed, back")
            await alice.notes_that("Nothing was sent", "trouble")
            alice.backstage.obey(room, f"/verify {told.key.hex()} accept")
            await alice.until(lambda me: not me.view(room).held_back)
            alice.backstage.obey(room, "well then")
            await eve.sees("well then")
            assert "a secret" not in eve.paper.out


async def test_an_equal_picture_is_not_told_twice(alice: Front, bob: Person):
    for n in range(5):
        bob.type(f"{n}")
        alice.backstage.look(GENERAL, focused=True)
        await alice.says(f"{n}")
    pictures = alice.of(Around)
    assert all(one != other for one, other in pairwise(pictures))


# ---------------------------------------------------------------- unread


async def test_unread_and_mentions_are_counted_zeroed_by_reading_and_kept_over_a_restart(tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice) as bob:
        bob.type("one", "two for @alice", "three")
        await alice.unread(3, 1)
        last = (await alice.says("two for @alice")).place
        alice.backstage.read(GENERAL, last)
        await alice.unread(1, 0)
        assert alice.view().read == last
    async with front("alice", tmp_path) as again:
        await again.unread(1, 0)
        assert again.view().read == last
        again.backstage.look(GENERAL, focused=True)
        await again.unread(0, 0)
        again.backstage.look(GENERAL, focused=False)
        await again.unread(1, 0)


async def test_nothing_past_the_newest_message_is_ever_read(alice: Front, bob: Person):
    bob.type("one")
    last = (await alice.says("one")).place
    alice.backstage.read(GENERAL, ((1 << 48) - 1, b"p" * 32))
    await alice.until(lambda me: me.view().read == last)
    bob.type("two")
    await alice.unread(1, 0)


async def test_what_was_read_is_saved_when_the_disk_has_room_again(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch
):
    kept, tries = asyncio.Event(), 0
    loop = asyncio.get_running_loop()

    def full_at_first(self: Node, room: RoomId, place: tuple[int, bytes]) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise StoreError("The disk is full.")
        loop.call_soon_threadsafe(kept.set)

    monkeypatch.setattr(Node, "mark_read", full_at_first)
    bob.type("hi")
    alice.backstage.read(GENERAL, (await alice.says("hi")).place)
    async with asyncio.timeout(20):
        await kept.wait()
    assert alice.notes("trouble").count("The disk is full.") == 1


async def test_what_was_read_is_remembered_without_waiting_for_the_end(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch
):
    kept = asyncio.Event()
    loop = asyncio.get_running_loop()
    mark_read = Node.mark_read

    def noted(self: Node, room: RoomId, place: tuple[int, bytes]) -> None:
        mark_read(self, room, place)
        loop.call_soon_threadsafe(kept.set)

    monkeypatch.setattr(Node, "mark_read", noted)
    bob.type("hi")
    alice.backstage.read(GENERAL, (await alice.says("hi")).place)
    async with asyncio.timeout(20):
        await kept.wait()


async def test_every_direct_message_is_for_us(alice: Front, bob: Person):
    bob.type("/msg alice psst", "/msg alice psst again")
    room = direct_room(alice.around.us.key, bob.node.key)
    await alice.says("psst again", room)
    await alice.unread(2, 2, room)
    await alice.until(lambda me: me.peer("bob").unread == 2)
    assert [view.kind for view in alice.around.rooms] == ["open", "direct"]
    assert alice.view(room).label == "@bob"


async def test_our_own_messages_are_never_unread(alice: Front, bob: Person):
    alice.backstage.obey(GENERAL, "from alice to alice")
    bob.type("x")
    await alice.unread(1, 0)


# ---------------------------------------------------------------- notices that nodes rarely give


@pytest.fixture
async def tellings(monkeypatch: pytest.MonkeyPatch) -> list[telling.Telling]:
    """Every `Telling` that is made."""
    made: list[telling.Telling] = []
    begin = telling.Telling.begin

    async def noted(self: telling.Telling, room: RoomId) -> None:
        made.append(self)
        await begin(self, room)

    monkeypatch.setattr(telling.Telling, "begin", noted)
    return made


async def test_old_dialect_peers_and_messages_are_marked(tellings: list[telling.Telling], tmp_path: Path):
    async with front("alice", tmp_path) as alice:
        loop, [made] = alice.backstage._loop, tellings
        assert loop is not None
        old = PeerKey(b"p" * 32)
        loop.call_soon_threadsafe(made.notice, PlainPeer(old, "gopher", True))
        await alice.notes_that("gopher [plain] is here")
        await alice.until(lambda me: me.around.peers)
        view = alice.peer("gopher [plain]")
        assert (view.plain, view.presence) == (True, "here")
        assert alice.view().others == 1
        said = (old, RecordId(b"m" * 32), "gopher", 1_700_000_000_000, "hi from the old days, alice")
        loop.call_soon_threadsafe(made._node._run.plain_said, *said)
        message = await alice.says("hi from the old days, alice")
        assert message.plain
        assert alice.who[GENERAL][old] == Who("gopher [plain]", alice.who[GENERAL][old].colour, plain=True)
        assert message.id in alice.of(Said)[-1].fresh
        await alice.unread(1, 1)
        alice.backstage.obey(GENERAL, "/react ^ 👍")
        await alice.until(lambda me: NotDone(GENERAL, "/react ^ 👍") in me.updates, "the text back")
        await alice.notes_that("You cannot react to a [plain] message", "trouble")
        assert alice.texts() == ["hi from the old days, alice"]
        loop.call_soon_threadsafe(made.notice, PlainPeer(old, "gopher", False))
        await alice.until(lambda me: not me.around.peers)


async def test_holes_catching_up_and_forks_are_told(tellings: list[telling.Telling], tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice) as bob:
        loop, [made], key = alice.backstage._loop, tellings, bob.node.key
        assert loop is not None
        loop.call_soon_threadsafe(made.notice, Gap(GENERAL, key, 2))
        await alice.until(lambda me: [(m.name, m.count) for m in me.view().missing] == [("bob", 2)])
        loop.call_soon_threadsafe(made.notice, CatchUp(GENERAL, 300))
        await alice.until(lambda me: me.view().fetching == 300 and not me.view().missing)
        loop.call_soon_threadsafe(made.notice, CatchUp(GENERAL, 0, 300))
        loop.call_soon_threadsafe(made.notice, Gap(GENERAL, key, 0))
        await alice.until(lambda me: not me.view().fetching and not me.view().missing)
        loop.call_soon_threadsafe(made.notice, Forked(GENERAL, key, 3))
        await alice.notes_that("bob signed two different records as number 3", "trouble")


# ---------------------------------------------------------------- the end


async def test_stop_does_what_was_typed_before_and_ends_the_thread(tmp_path: Path):
    async with front("alice", tmp_path) as alice, guest("bob", tmp_path, alice) as bob:
        alice.backstage.obey(GENERAL, "hello")
        await bob.sees("alice: hello")
        alice.backstage.obey(GENERAL, "/search hello")  # takes a while
        alice.backstage.obey(GENERAL, "goodbye")
        alice.backstage.stop()
        await bob.sees("alice: goodbye")
        assert await alice.ended() == Ended()
        alice.backstage.obey(GENERAL, "too late")
        await bob.until(lambda me: not me.node.linked())
    with open_profile(paths_of(tmp_path, "alice"), "alice", keyring=False) as profile:
        assert not profile.temporary, "the profile was not closed"


async def test_quit_ends_it(alice: Front):
    alice.backstage.obey(GENERAL, "/quit")
    assert await alice.ended() == Ended()
    assert alice.backstage.ended == Ended()


async def test_a_port_in_use_ends_it_with_the_reason(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = await Front(backstage("alice", tmp_path, port=port)).start().ended()
    assert str(port) in ended.sentence
    assert ended.code != 0


async def test_a_mistake_of_ours_in_a_command_ends_it_and_is_logged(
    alice: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
):
    def broken(self: Node, room: RoomId, body: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(Node, "post", broken)
    alice.backstage.obey(GENERAL, "hello")
    ended = await alice.ended()
    assert ended.code == 1
    assert ended.sentence == f"Sandpiper has failed: KeyError: 'a mistake'. The log says more: {tmp_path}/sandpiper.log"
    [record] = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert record.exc_info


async def test_a_mistake_of_ours_while_telling_ends_it_too(
    alice: Front, bob: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a mistake")

    monkeypatch.setattr(telling, "look_up", broken)
    bob.type("hello")
    assert "KeyError" in (await alice.ended()).sentence


async def test_a_mistake_of_ours_in_a_timer_ends_it_too(alice: Front, caplog: pytest.LogCaptureFixture):
    def broken() -> None:
        raise KeyError("a mistake")

    assert alice.backstage._loop is not None
    alice.backstage._loop.call_soon_threadsafe(broken)
    assert "KeyError" in (await alice.ended()).sentence


async def test_a_screen_that_is_gone_keeps_nothing_from_ending(tmp_path: Path):
    begun = threading.Event()

    def gone(batch: tuple[Update, ...]) -> None:
        begun.set()
        raise RuntimeError("Event loop is closed")

    stage = backstage("alice", tmp_path)
    stage.start(gone, Nobody())
    assert await asyncio.to_thread(begun.wait, 20)
    stage.obey(GENERAL, "kept all the same")
    stage.stop()
    assert await asyncio.to_thread(stage.join, 20)
    with Reader(paths_of(tmp_path, "alice").profiles / "alice" / "history.db") as reader:
        assert [message.text for message in reader.page(GENERAL)] == ["kept all the same"]
