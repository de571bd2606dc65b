"""The dialogs over the screen, driven by keys and mouse on a headless terminal."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import date
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message as Posted
from textual.pilot import Pilot
from textual.widgets import Input
from typing_extensions import override

from sandpiper.crypto.codes import parse_code
from sandpiper.errors import StoreError
from sandpiper.faces.commands import COMMANDS
from sandpiper.faces.emojis import emoji_named
from sandpiper.faces.spans import Span, line, text_of
from sandpiper.faces.tui.dialogs.answers import Chip
from sandpiper.faces.tui.dialogs.ask import CODE_PASSWORD, NickDialog, PassphraseDialog, PasswordDialog
from sandpiper.faces.tui.dialogs.confirm import ConfirmDialog
from sandpiper.faces.tui.dialogs.dialog import Box, Dialog, Entry, fitting
from sandpiper.faces.tui.dialogs.help import HelpDialog
from sandpiper.faces.tui.dialogs.invitation import InvitationDialog
from sandpiper.faces.tui.dialogs.joining import JoiningDialog
from sandpiper.faces.tui.dialogs.jump import (
    Action,
    JumpDialog,
    ToAction,
    ToCommand,
    ToPeer,
    ToRoom,
    ToSearch,
)
from sandpiper.faces.tui.dialogs.otherkey import OtherKeyDialog
from sandpiper.faces.tui.dialogs.paste import PasteDialog
from sandpiper.faces.tui.dialogs.picks import Picks
from sandpiper.faces.tui.dialogs.react import COMMON, ReactDialog
from sandpiper.faces.tui.dialogs.search import Hit, SearchDialog
from sandpiper.faces.tui.dialogs.verify import VerifyDialog
from sandpiper.faces.tui.keys import KEYS
from sandpiper.faces.tui.palettes import DARK, PALETTES
from sandpiper.faces.tui.themes import textual_theme
from sandpiper.faces.tui.views import Around, Invited, OtherKey, PeerView, RoomView, Us
from sandpiper.faces.verifying import Comparison
from sandpiper.store.history import History
from sandpiper.store.reader import Message, Reader
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.limits import MAX_EMOJI_CHARS
from sandpiper.wire.text import clean_emoji
from tests.unit.authors import DEV, GENERAL, JOIN_DEV, JOIN_GENERAL, Author, keep

if TYPE_CHECKING:
    from sandpiper.core.events import RoomKind

SIZES = ((120, 34), (60, 20), (40, 12))
HOSTILE = "[/b][@click=app.bell]x[/] \x1b]52;c;AAAA\x07"
DAY = date(2023, 11, 14)
NOON = 1_700_000_000_000


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch):
    """Keys count as soon as a dialog is on the screen, so that no test sleeps."""
    monkeypatch.setattr(Dialog, "PAUSE", 0)


class Below(App[None]):
    """A screen with a line that must not get any key while a dialog is over it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "fell", priority=False)]

    def __init__(self, theme: str = DARK.name) -> None:
        super().__init__()
        self.fell = 0
        self.results: list[object] = []
        for palette in PALETTES.values():
            self.register_theme(textual_theme(palette))
        self.theme = theme

    @override
    def compose(self) -> ComposeResult:
        yield Input(id="composer")

    def action_fell(self) -> None:
        self.fell += 1

    def on_input_submitted(self) -> None:
        self.fell += 1


@asynccontextmanager
async def over(dialog: Dialog[Any], size: tuple[int, int] = (80, 24), theme: str = DARK.name):
    app = Below(theme)
    async with app.run_test(size=size) as pilot:
        await app.push_screen(dialog, app.results.append)
        await pilot.pause()
        yield pilot


def shows(pilot: Pilot[Any]) -> str:
    """What is on the screen, as lines of text."""
    compositor = pilot.app.screen._compositor
    return "\n".join(strip.text for strip in compositor.render_strips())


def flat(pilot: Pilot[Any]) -> str:
    """The same with single spaces, so that a wrapped sentence can be found."""
    return " ".join(shows(pilot).replace("│", " ").split())


async def until(pilot: Pilot[Any], predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not predicate():
            await pilot.pause()


def closed(pilot: Pilot[Any]) -> bool:
    return not isinstance(pilot.app.screen, Dialog)


async def answer(dialog: Dialog[Any], *keys: str, size: tuple[int, int] = (80, 24)) -> object:
    """The result after these keys; fails if the dialog is still open or a key got through."""
    async with over(dialog, size) as pilot:
        await pilot.press(*keys)
        assert closed(pilot), shows(pilot)
        assert pilot.app.fell == 0
        assert pilot.app.query_one("#composer", Input).value == ""
        assert len(pilot.app.results) == 1
        return pilot.app.results[0]


def titles(pilot: Pilot[Any]) -> list[str]:
    return [text_of(row.title).strip() for row in pilot.app.screen.query_one(Picks).rows]


# ---------------------------------------------------------------- what is around


def room(number: int, label: str, unread: int = 0, mentions: int = 0, peer: PeerKey | None = None) -> RoomView:
    kind: RoomKind = "open" if peer is None else "direct"
    return RoomView(RoomId(bytes([number]) * 32), label, kind, peer, "", 3, unread, mentions, (0, b""))


def peer(number: int, name: str, presence="here", unread: int = 0, seen: int = 0, plain: bool = False) -> PeerView:
    key, theirs = PeerKey(bytes([number]) * 32), RoomId(bytes([number + 100]) * 32)
    return PeerView(key, name, 33, False, presence, "", "lan", 0.001, seen, theirs, unread, plain)


US = Us(PeerKey(b"u" * 32), "me", "", False, "127.0.0.1", 1, False)
MAYA = peer(1, "maya", unread=2)
AROUND = Around(
    US,
    (
        room(1, "#harbour"),
        room(2, "#build-crew", unread=2, mentions=1),
        room(4, "#marina-ops"),
        room(101, "@maya", unread=2, peer=MAYA.key),
    ),
    (
        MAYA,
        peer(2, "tomas"),
        peer(3, "kenji", "away"),
        peer(4, "priya", "gone", seen=NOON - 2 * 3_600_000),
        peer(5, "oldie [plain]", plain=True),
    ),
)
ACTIONS = (Action("read_all", "Mark all as read", "alt+h"),)


def jump(**more) -> JumpDialog:
    return JumpDialog(AROUND, ACTIONS, now=NOON, **more)


# ---------------------------------------------------------------- all dialogs


WORDS = ("tide", "otter", "maple", "forty", "lantern", "quay", "velvet", "moss")
DIGITS = ("30112", "88714", "09235", "61180", "47720", "15593", "20468", "77301")
INVITED = Invited("#birds", parse_code("pine-ocean-42"), "relay.example")
EVE = OtherKey(
    PeerKey(b"e" * 32), "bob~6565", (line("ANOTHER KEY"), line("It comes with a name."), line("Nothing goes."))
)
KENJI = Comparison(PeerKey(b"k" * 32), "kenji", WORDS, DIGITS, verified=False, first_seen=NOON, path="lan")


def no_reader() -> Reader:
    raise StoreError("The history cannot be read.", hint="Make room on the disk.")


ALL: dict[str, Callable[[], Dialog[Any]]] = {
    "jump": jump,
    "search": lambda: SearchDialog(no_reader, lambda message: message.nick, lambda _: "#general"),
    "verify": lambda: VerifyDialog(KENJI, today=DAY),
    "help": lambda: HelpDialog(settings="/some/where/config.toml", log="/some/where/sandpiper.log"),
    "nick": lambda: NickDialog("alice"),
    "passphrase": lambda: PassphraseDialog("Passphrase of alice"),
    "react": ReactDialog,
    "other key": lambda: OtherKeyDialog(EVE),
    "invitation": lambda: InvitationDialog(INVITED, qr=True),
    "joining": lambda: JoiningDialog("Joining: looking for a member on this network."),
    "code password": lambda: PasswordDialog("the room of code 42", "It has one.", about=CODE_PASSWORD),
    "confirm": lambda: ConfirmDialog("Delete?", [line("It goes away for everybody.")], "delete it", "keep it"),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["a line\n" * 20, "\u65e5\u672c " * 60 + "\n" * 300 + "end"], ids=["short", "long"])
async def test_the_answers_about_a_paste_are_on_the_screen(size, text):
    async with over(PasteDialog(text), size) as pilot:
        rows = [row.strip(" │▌▐┃▎▕") for row in shows(pilot).split("\n")]
        for answer in ("enter  put it into the message", "s  send it as one message", "esc  drop it"):
            assert any(row.startswith(answer) for row in rows), shows(pilot)
        assert "You pasted" in flat(pilot)
        assert "more lines" in flat(pilot)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ALL)
async def test_every_dialog_fits_the_screen_and_esc_closes_it_with_none(name, size):
    async with over(ALL[name](), size) as pilot:
        box = pilot.app.screen.query_one(Box)
        assert pilot.app.screen.region.contains_region(box.region)
        assert box.region.width <= 80
        assert "esc" in shows(pilot)
        await pilot.press("escape")
        assert closed(pilot)
        assert pilot.app.results == [None]


@pytest.mark.parametrize("name", ALL)
async def test_a_click_beside_the_box_closes_and_one_in_it_does_not(name):
    async with over(ALL[name](), (120, 34)) as pilot:
        box = pilot.app.screen.query_one(Box).region
        await pilot.click(offset=(box.x, box.y))
        assert not closed(pilot)
        await pilot.click(offset=(1, 1))
        assert closed(pilot)
        assert pilot.app.results == [None]


@pytest.mark.parametrize("name", ALL)
async def test_keys_never_fall_through_to_the_screen_below(name):
    async with over(ALL[name]()) as pilot:
        await pilot.press("tab", "shift+tab", "x", "tab")
        await pilot.press("escape", "escape")
        assert pilot.app.results == [None]
        assert pilot.app.query_one("#composer", Input).value == ""
    async with over(ALL[name]()) as pilot:
        await pilot.press("enter")
        assert pilot.app.fell == 0


@pytest.mark.parametrize("theme", [palette.name for palette in PALETTES.values()])
@pytest.mark.parametrize("name", ALL)
async def test_every_dialog_is_drawn_in_every_theme(name, theme):
    async with over(ALL[name](), theme=theme) as pilot:
        assert shows(pilot).strip()


async def test_a_dialog_is_answered_once_however_many_keys_come():
    async with over(jump()) as pilot:
        for _ in range(3):
            pilot.app.screen.query_one(Entry).post_message(_key("enter"))
        await pilot.pause()
        await until(pilot, partial(closed, pilot))
        assert len(pilot.app.results) == 1
        assert len(pilot.app.screen_stack) == 1


async def test_what_is_typed_while_a_dialog_opens_is_not_lost():
    app = Below()
    async with app.run_test() as pilot:
        dialog = jump()
        opening = app.push_screen(dialog, app.results.append)
        for key in "ken":
            dialog.post_message(_key(key))
        await opening
        await until(pilot, lambda: dialog.query_one(Entry).value == "ken")
        assert titles(pilot)[0] == "kenji"


def _key(key: str) -> events.Key:
    return events.Key(key, key if len(key) == 1 else None)


def test_of_key_hints_the_way_out_stays_longest():
    assert fitting(("a pick", "b open", "esc close"), 100) == "a pick · b open · esc close"
    assert fitting(("a pick", "b open", "esc close"), 18) == "b open · esc close"
    assert fitting(("a pick", "b open", "esc close"), 5) == "esc close"


# ---------------------------------------------------------------- jump


async def test_jump_offers_what_waits_first_and_the_current_room_last_of_the_rooms():
    async with over(jump(current=AROUND.rooms[0].id)) as pilot:
        assert titles(pilot)[:3] == ["build-crew", "maya", "marina-ops"]
        assert titles(pilot)[-2:] == ["harbour", "Search history"]
        assert "2 unread · 1 for you" in shows(pilot)
        assert "seen 2h ago" in shows(pilot)
        assert "on the screen now" in shows(pilot)


async def test_jump_hints_the_keys_that_go_to_rooms_by_their_number_in_the_sidebar():
    direct_first = msgspec.structs.replace(AROUND, rooms=AROUND.rooms[::-1])
    async with over(JumpDialog(direct_first, now=NOON)) as pilot:
        hints = {text_of(row.title): row.hint for row in pilot.app.screen.query_one(Picks).rows}
        assert hints["marina-ops"] == "Alt+1"
        assert hints["maya"] == "Alt+4"
        assert hints["tomas"] == ""


async def test_jump_does_not_offer_peers_of_the_old_dialect():
    async with over(jump()) as pilot:
        await pilot.press(*"oldie")
        assert titles(pilot) == ["Search history for “oldie”"]


async def test_jump_shows_a_direct_room_once_as_the_person():
    async with over(jump()) as pilot:
        assert titles(pilot).count("maya") == 1


async def test_jump_goes_where_the_letters_say():
    assert await answer(jump(), *"marina", "enter") == ToRoom(AROUND.rooms[2].id)
    assert await answer(jump(), *"maya", "enter") == ToPeer(MAYA.key, "maya")
    assert await answer(jump(), *"mark", "enter") == ToAction("read_all")
    assert await answer(jump(), *"topic", "enter") == ToCommand("/topic ")
    assert await answer(jump(), *"rooms", "enter") == ToCommand("/rooms")
    assert await answer(jump(), *"dm", "enter") == ToCommand("/msg ")
    assert await answer(jump(), *"zz top", "enter") == ToSearch("zz top")
    assert await answer(jump(), *"ma", "up", "enter") == ToSearch("ma")


async def test_jump_by_sign_leaves_only_rooms_people_or_commands():
    async with over(jump()) as pilot:
        await pilot.press("#")
        assert titles(pilot)[:-1] == ["build-crew", "harbour", "marina-ops"]
        await pilot.press("backspace", "@", "k")
        assert titles(pilot)[:-1] == ["kenji"]
        await pilot.press("backspace", "backspace", "/")
        assert len(titles(pilot)) == len(COMMANDS) + len(ACTIONS) + 1


async def test_enter_in_a_burst_goes_to_what_was_typed_and_not_to_what_stood_there_before():
    async with over(jump()) as pilot:
        entry = pilot.app.screen.query_one(Entry)
        for key in (*"kenji", "enter"):
            entry.post_message(_key(key))
        await until(pilot, partial(closed, pilot))
        assert pilot.app.results == [ToPeer(PeerKey(b"\3" * 32), "kenji")]


async def test_a_click_on_a_row_goes_there():
    async with over(jump()) as pilot:
        await pilot.click(Picks, offset=(5, 1))
        assert pilot.app.results == [ToPeer(MAYA.key, "maya")]


async def test_the_list_scrolls_with_the_chosen_row_on_a_low_screen():
    async with over(jump(), (40, 12)) as pilot:
        await pilot.press("/", "end")
        assert "Search history for" in shows(pilot)
        await pilot.press("home", "home")
        assert "Mark all" in shows(pilot)
        await pilot.press("pagedown")
        assert pilot.app.screen.query_one(Picks).chosen > 1
        assert "▸" in shows(pilot)


async def test_the_list_takes_the_focus_by_tab_and_typing_goes_on_in_the_line():
    async with over(jump()) as pilot:
        await pilot.press("k", "tab")
        assert isinstance(pilot.app.focused, Picks)
        await pilot.press("e", "n")
        assert pilot.app.screen.query_one(Entry).value == "ken"
        await pilot.press("tab", "down", "up", "enter")
        assert pilot.app.results == [ToPeer(PeerKey(b"\3" * 32), "kenji")]


async def test_names_of_peers_are_never_markup():
    hostile = Around(US, (room(1, f"#{HOSTILE}"),), (peer(1, HOSTILE),))
    async with over(JumpDialog(hostile, now=NOON), (120, 34)) as pilot:
        assert "[/b][@click=app.bell]x[/]" in shows(pilot)
        assert "\x1b" not in shows(pilot)
        await pilot.press(*"[/b]")
        assert "“[/b]”" in shows(pilot)


# ---------------------------------------------------------------- search


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as history:
        history.save_room(JOIN_GENERAL)
        history.save_room(JOIN_DEV)
        author = Author(1)
        keep(
            history,
            author.write("pizza on friday"),
            author.write("more pizza in dev", room=DEV),
            author.write(f"pizza {HOSTILE}"),
            author.write("nothing of the kind"),
        )
        yield history


LABELS = {GENERAL: "#general", DEV: "#dev"}


def search(history: History, reader: Callable[[], Reader] | None = None, **more) -> SearchDialog:
    return SearchDialog(reader or (lambda: Reader(history.path)), lambda _: "alice", LABELS.__getitem__, **more)


def found(pilot: Pilot[Any]) -> list[str]:
    return [text_of(row.note) for row in pilot.app.screen.query_one(Picks).rows]


async def test_search_finds_while_typing_newest_first_and_goes_to_the_hit(history):
    async with over(search(history)) as pilot:
        await pilot.press(*"pizz")
        await until(pilot, lambda: len(found(pilot)) == 3)
        assert found(pilot)[2] == "pizza on friday"
        assert found(pilot)[1] == "more pizza in dev"
        assert "3 messages in all rooms" in shows(pilot)
        assert "#dev" in shows(pilot)
        assert "\x1b" not in shows(pilot)
        await pilot.press("down", "enter")
        with Reader(history.path) as reader:
            [message] = reader.page(DEV)
        assert pilot.app.results == [Hit(DEV, message.id, message.place)]


async def test_searched_words_are_highlighted(history):
    async with over(search(history, words="friday")) as pilot:
        await until(pilot, lambda: found(pilot))
        [row] = pilot.app.screen.query_one(Picks).rows
        assert Span("friday", "mention") in row.note


async def test_search_in_this_room_only_and_back(history):
    async with over(search(history, words="pizza", current=DEV)) as pilot:
        await until(pilot, lambda: len(found(pilot)) == 3)
        await pilot.press("ctrl+r")
        await until(pilot, lambda: found(pilot) == ["more pizza in dev"])
        assert "1 message in this room" in shows(pilot)
        assert "ctrl+r all rooms" in shows(pilot)
        assert "#dev" not in shows(pilot)
        await pilot.press("alt+r")
        await until(pilot, lambda: len(found(pilot)) == 3)


async def test_search_says_when_nothing_is_found_and_when_the_history_cannot_be_read(history):
    async with over(search(history, words="absent")) as pilot:
        await until(pilot, lambda: "No message has: absent" in shows(pilot))
    async with over(search(history, no_reader, words="pizza")) as pilot:
        await until(pilot, lambda: "The history cannot be read. Make room on the disk." in flat(pilot))


async def test_search_runs_off_the_event_loop_one_at_a_time_and_the_newest_wins(history):
    begun, gate = threading.Semaphore(0), threading.Semaphore(0)
    threads: set[threading.Thread] = set()
    at_work: list[str] = []
    seen: list[tuple[str, int]] = []

    class Slow(Reader):
        @override
        def search(self, words: str, **more: Any) -> list[Message]:
            threads.add(threading.current_thread())
            at_work.append(words)
            seen.append((words, len(at_work)))
            begun.release()
            assert gate.acquire(timeout=20)
            try:
                return super().search(words, **more)
            finally:
                at_work.remove(words)

    try:
        async with over(search(history, lambda: Slow(history.path), words="nothing")) as pilot:
            await until(pilot, lambda: begun.acquire(blocking=False))
            for words in ("piz", "pizza fri", "pizza friday"):  # typed while the first search is at work
                pilot.app.screen.query_one(Entry).value = words
                await pilot.pause()
            assert not closed(pilot)
            gate.release()
            await until(pilot, lambda: begun.acquire(blocking=False))
            assert found(pilot) == []  # what was found for "nothing" is not shown any more
            gate.release()
            await until(pilot, lambda: found(pilot) == ["pizza on friday"])
            assert seen == [("nothing", 1), ("pizza friday", 1)]
            assert threading.main_thread() not in threads
    finally:
        gate.release(10)


async def test_search_closed_while_it_is_at_work_ends_in_peace(history):
    gate, begun = threading.Event(), threading.Event()

    def slow() -> Reader:
        begun.set()
        assert gate.wait(20)
        return Reader(history.path)

    try:
        async with over(search(history, slow, words="pizza")) as pilot:
            await until(pilot, begun.is_set)
            await pilot.press("escape")
            assert pilot.app.results == [None]
            gate.set()
            await pilot.pause()
    finally:
        gate.set()


async def test_search_first_shows_what_was_found_already(history):
    with Reader(history.path) as reader:
        messages: tuple[Message, ...] = tuple(reader.search("pizza"))
    async with over(search(history, no_reader, words="pizza", messages=messages)) as pilot:
        assert len(found(pilot)) == 3
        await pilot.press("end", "end", "enter")
        assert pilot.app.results == [Hit(GENERAL, messages[0].id, messages[0].place)]


async def test_a_list_of_messages_stays_to_choose_from_until_words_are_typed(history):
    with Reader(history.path) as reader:
        messages = tuple(reader.page(GENERAL))
    async with over(search(history, messages=messages)) as pilot:
        assert found(pilot)[0] == "nothing of the kind"
        await pilot.press(*"friday")
        await until(pilot, lambda: found(pilot) == ["pizza on friday"])
        await pilot.press("ctrl+u", "enter")
        assert len(found(pilot)) == 3
        assert not closed(pilot)
        await pilot.press("enter")
        assert pilot.app.results == [Hit(GENERAL, messages[-1].id, messages[-1].place)]


async def test_search_without_words_asks_for_some(history):
    async with over(search(history)) as pilot:
        assert "Type words to find messages" in flat(pilot)
        await pilot.press("enter")
        assert not closed(pilot)


# ---------------------------------------------------------------- verify, confirm


async def test_safety_words_stand_in_two_rows_of_four_with_when_they_were_first_seen():
    async with over(VerifyDialog(KENJI, today=DAY)) as pilot:
        lines = [" ".join(each.replace("│", " ").split()) for each in shows(pilot).splitlines()]
        for words in (WORDS[:4], WORDS[4:], DIGITS[:4], DIGITS[4:]):
            assert " ".join(words) in lines
        assert "ed25519 · first seen " in shows(pilot)
        assert "via lan" in shows(pilot)
        assert "Compare these words with kenji over a call or in person." in flat(pilot)


async def test_what_the_person_says_of_safety_words_is_the_result():
    assert await answer(VerifyDialog(KENJI), "y") is True
    assert await answer(VerifyDialog(KENJI), "Y") is True
    assert await answer(VerifyDialog(KENJI), "n") is False
    assert await answer(VerifyDialog(KENJI), "tab", "enter") is True
    assert await answer(VerifyDialog(KENJI), "tab", "tab", "enter") is False
    assert await answer(VerifyDialog(KENJI), "tab", "tab", "tab", "enter") is None


@pytest.mark.parametrize(
    ("key", "command"), [("v", "/verify {}"), ("a", "/verify {} accept"), ("i", "/ignore {}"), ("escape", None)]
)
async def test_what_the_person_decides_about_another_key_is_a_command_about_that_key(key: str, command: str | None):
    assert await answer(OtherKeyDialog(EVE), key) == command


async def test_enter_alone_and_letters_of_a_word_accept_no_other_key():
    async with over(OtherKeyDialog(EVE)) as pilot:
        await pilot.press("enter", "space", "x", "q")
        assert not closed(pilot)


async def test_a_code_is_shown_with_its_command_and_copied_when_asked():
    async with over(InvitationDialog(INVITED, qr=True), (100, 40)) as pilot:
        assert "pine-ocean-42" in shows(pilot)
        assert "sandpiper join pine-ocean-42 --relay relay.example" in shows(pilot)
        assert "█▀▀▀▀▀█" in shows(pilot), "a corner of the QR code"
        await pilot.press("c")
        assert pilot.app.clipboard == "sandpiper join pine-ocean-42 --relay relay.example"
        assert not closed(pilot)
        await pilot.press("escape")
        assert closed(pilot)


@pytest.mark.parametrize(("qr", "size"), [(False, (100, 40)), (True, (100, 20)), (True, (30, 40))])
async def test_a_qr_code_is_left_out_where_it_is_not_wanted_or_does_not_fit(qr: bool, size: tuple[int, int]):
    async with over(InvitationDialog(INVITED, qr=qr), size) as pilot:
        assert "▀▀▀▀▀" not in shows(pilot)


async def test_the_steps_into_a_room_follow_each_other_and_what_is_typed_meanwhile_is_kept():
    dialog = JoiningDialog("Joining: one")
    async with over(dialog, (80, 24)) as pilot:
        assert "… one" in shows(pilot)
        dialog.went_on("Joining: two")
        await pilot.pause()
        assert "✓ one" in shows(pilot)
        assert "… two" in shows(pilot)
        await pilot.press("h", "i")
        assert dialog.early == ["h", "i"]
        dialog.end()
        await pilot.pause()
        assert closed(pilot)


async def test_enter_alone_verifies_nobody():
    async with over(VerifyDialog(KENJI)) as pilot:
        await pilot.press("enter", "space")
        assert not closed(pilot)


async def test_a_key_typed_before_the_safety_words_could_be_seen_is_no_answer():
    app = Below()
    async with app.run_test() as pilot:
        dialog = VerifyDialog(KENJI)
        opening = app.push_screen(dialog, app.results.append)
        dialog.post_message(_key("y"))
        await opening
        await pilot.pause()
        assert not closed(pilot)
        assert dialog.early == ["y"]
        await pilot.press("y")
        assert app.results == [True]


async def test_a_verified_peer_is_said_to_be_and_can_be_taken_back():
    verified = msgspec.structs.replace(KENJI, verified=True, path="", first_seen=0)
    async with over(VerifyDialog(verified)) as pilot:
        assert "✓ You have verified kenji." in shows(pilot)
        assert "never linked" in shows(pilot)
        await pilot.press("y")
        assert not closed(pilot)
        await pilot.press("n")
        assert pilot.app.results == [False]


async def test_safety_words_can_be_read_and_answered_on_a_tiny_screen():
    async with over(VerifyDialog(KENJI), (40, 12)) as pilot:
        seen = shows(pilot)
        for _ in range(6):
            await pilot.press("pagedown")
            await pilot.pause()
            seen += shows(pilot)
        for each in (*WORDS, *DIGITS, "they match", "they do not"):
            assert each in seen
        await pilot.press("y")
        assert pilot.app.results == [True]


async def test_a_hostile_name_is_shown_as_it_is():
    async with over(VerifyDialog(msgspec.structs.replace(KENJI, name=HOSTILE))) as pilot:
        assert "[/b][@click=app.bell]x[/]" in shows(pilot)
        assert "\x1b" not in shows(pilot)


async def test_chips_can_be_clicked():
    async with over(VerifyDialog(KENJI)) as pilot:
        second = list(pilot.app.screen.query(Chip))[1]
        await pilot.click(second)
        assert pilot.app.results == [False]


async def test_confirming():
    assert await answer(ALL["confirm"](), "y") is True
    assert await answer(ALL["confirm"](), "n") is False


# ---------------------------------------------------------------- going on writing while a dialog opens

GUARDED: dict[str, Callable[[], Dialog[Any]]] = {
    "verify": ALL["verify"],
    "confirm": ALL["confirm"],
    "paste": lambda: PasteDialog("a line\n" * 20),
}
LONG = 1000.0  # seconds, as a pause: longer than any test takes


async def typing(pilot: Pilot[Any], keys: str, *, after: float) -> None:
    """Somebody types these keys in a burst, so many seconds from now by the clock that stamps keys."""
    named = {"\r": "enter", "\t": "tab", "\b": "backspace", " ": "space"}
    for number, key in enumerate(keys):
        event = events.Key(named.get(key, key), key)
        event.time += after + number / 100
        pilot.app.post_message(event)
    await pilot.pause()
    await pilot.pause()


@pytest.mark.parametrize("name", GUARDED)
async def test_going_on_writing_answers_nothing_and_is_kept_for_the_composer(name, monkeypatch):
    monkeypatch.setattr(Dialog, "PAUSE", LONG)
    dialog = GUARDED[name]()
    async with over(dialog) as pilot:
        await typing(pilot, "hey my\t sonn\b\r", after=0.1)
        assert not closed(pilot)
        assert "not taken: hey my son · pause a moment to answer" in shows(pilot)
        await typing(pilot, "nsyp", after=LONG - 1)  # a pause since it opened, and none since the last letter
        assert not closed(pilot)
        assert "".join(dialog.early) == "hey my sonnsyp"
        await pilot.press("escape")
        assert pilot.app.results == [None]


@pytest.mark.parametrize(("name", "keys"), [("verify", "hey\r"), ("paste", "as here\r"), ("confirm", "my\r")])
async def test_a_word_begun_after_a_pause_is_no_answer_unless_its_first_letter_is_one(name, keys, monkeypatch):
    monkeypatch.setattr(Dialog, "PAUSE", LONG)
    dialog = GUARDED[name]()
    async with over(dialog) as pilot:
        await typing(pilot, keys, after=2 * LONG)
        assert not closed(pilot)
        assert "".join(dialog.early) == keys[:-1]


@pytest.mark.parametrize(
    ("name", "key", "result"), [("verify", "y", True), ("paste", "s", "send"), ("confirm", "y", True)]
)
async def test_after_a_pause_a_letter_is_an_answer(name, key, result, monkeypatch):
    monkeypatch.setattr(Dialog, "PAUSE", LONG)
    dialog = GUARDED[name]()
    async with over(dialog) as pilot:
        await typing(pilot, "so", after=0.1)
        await typing(pilot, key, after=2 * LONG)
        assert pilot.app.results == [result]
        assert "".join(dialog.early) == "so"


async def test_going_on_writing_after_a_command_searches_nothing_and_opens_nothing(history, monkeypatch):
    monkeypatch.setattr(Dialog, "PAUSE", LONG)
    with Reader(history.path) as reader:
        messages = tuple(reader.search("pizza"))
    dialog = search(history, no_reader, words="pizza", messages=messages)
    async with over(dialog) as pilot:
        await typing(pilot, "hey my friend\r", after=0.1)
        assert not closed(pilot)
        assert dialog.query_one(Entry).value == "pizza"
        assert len(found(pilot)) == 3
        assert "".join(dialog.early) == "hey my friend"
        assert "pause a moment to search" in shows(pilot)
        await typing(pilot, " x", after=2 * LONG)  # from the first pause on it is an ordinary line to type in
        assert dialog.query_one(Entry).value == "pizza x"
        assert "".join(dialog.early) == "hey my friend"
        assert "not taken" not in shows(pilot)


async def test_a_search_that_was_asked_for_by_a_key_takes_letters_at_once(history, monkeypatch):
    monkeypatch.setattr(Dialog, "PAUSE", LONG)
    async with over(search(history)) as pilot:
        await pilot.press(*"friday")
        await until(pilot, lambda: found(pilot) == ["pizza on friday"])


# ---------------------------------------------------------------- help


def scrolled_past(box: Box, before: int) -> bool:
    return box.scroll_offset.y > before


async def test_help_has_all_keys_and_commands_and_scrolls():
    mine = tuple(msgspec.structs.replace(key, keys=("f9",)) if key.action == "jump" else key for key in KEYS)
    dialog = HelpDialog(mine, settings="/some/where/config.toml", log="/some/where/sandpiper.log")
    async with over(dialog, (60, 20)) as pilot:
        seen = ""
        box = pilot.app.screen.query_one(Box)
        while True:
            seen += shows(pilot) + "\n"
            if box.scroll_offset.y >= box.max_scroll_y:
                break
            before = box.scroll_offset.y
            await pilot.press("down")
            await pilot.wait_for_scheduled_animations()
            await until(pilot, partial(scrolled_past, box, before))
        seen = " ".join(seen.replace("│", " ").split())
        for command in COMMANDS:
            assert command.usage in seen
        for key in KEYS:
            assert key.help.split()[0] in seen
        for each in ("F9", "Shift+Enter", "Alt+1 to Alt+9", "/some/where/config.toml", "//", "Ctrl+Q"):
            assert each in seen
        assert "Ctrl+K" not in seen


# ---------------------------------------------------------------- nick, passphrase


async def test_the_suggested_nick_is_taken_with_enter_and_replaced_by_typing():
    assert await answer(NickDialog("alice"), "enter") == "alice"
    assert await answer(NickDialog("alice"), *"bob", "enter") == "bob"


async def test_a_nick_that_cannot_be_used_is_said_to_be_and_the_dialog_stays():
    async with over(NickDialog("alice"), (60, 20)) as pilot:
        await pilot.press(*"a b", "enter")
        assert "The nick 'a b' cannot be used" in flat(pilot)
        assert "--nick" not in shows(pilot)
        await pilot.press("backspace", "backspace")
        assert "cannot be used" not in shows(pilot)
        await pilot.press("enter")
        assert pilot.app.results == ["a"]


async def test_a_passphrase_is_never_shown_and_in_no_description():
    dialog = PassphraseDialog("Passphrase of [b]alice")
    async with over(dialog) as pilot:
        heard: list[str] = []
        original = dialog.post_message

        def hear(message: Posted) -> bool:
            heard.append(repr(message))
            return original(message)

        dialog.post_message = hear  # type: ignore[method-assign]
        entry = dialog.query_one(Entry)
        entry.value = "xyzzy"
        await pilot.pause()
        assert "Passphrase of [b]alice" in shows(pilot)
        assert "xyzzy" not in shows(pilot) + repr(entry) + repr(dialog) + "".join(heard)
        entry.action_select_all()
        await pilot.press("ctrl+c")
        assert pilot.app.clipboard == ""
        await pilot.press("enter")
        assert pilot.app.results == ["xyzzy"]
        assert entry.value == ""


# ---------------------------------------------------------------- react


async def test_common_reactions_are_on_the_digits_and_under_the_arrows():
    assert await answer(ReactDialog(), "3") == COMMON[2][0]
    assert await answer(ReactDialog(), "down", "enter") == COMMON[1][0]


async def test_a_reaction_by_name_as_emoji_or_as_a_word():
    assert await answer(ReactDialog(), *":tada:", "enter") == emoji_named("tada")
    assert await answer(ReactDialog(), *":tada", "enter") == emoji_named("tada")
    assert await answer(ReactDialog(), *"ok", "enter") == "ok"
    assert await answer(ReactDialog(), "🦀", "enter") == "🦀"


async def test_what_can_be_no_reaction_is_not_taken():
    async with over(ReactDialog()) as pilot:
        await pilot.press(*"two words", "enter")
        assert not closed(pilot)
        assert "without spaces" in flat(pilot)
        pilot.app.screen.query_one(Entry).value = "x" * 33
        await pilot.press("enter")
        assert not closed(pilot)
        pilot.app.screen.query_one(Entry).value = ":nosuchname"
        await pilot.press("enter")
        assert not closed(pilot)
        assert "No emoji has a name like this." in flat(pilot)


def test_every_common_reaction_is_one_that_react_takes():
    assert all(clean_emoji(emoji) == emoji and len(emoji) <= MAX_EMOJI_CHARS for emoji, _ in COMMON)
