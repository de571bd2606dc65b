"""The composer, its suggestions and the question about pastes, in an app that holds nothing else."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from rich.cells import cell_len
from textual import on
from textual.app import App
from textual.color import Color
from textual.containers import Vertical
from textual.events import AppBlur, AppFocus, Key, Paste
from textual.widgets import Static
from typing_extensions import override

from sandpiper.faces.terminal import PromptState
from sandpiper.faces.tui.composer import Change, Composer, Plain, Reply
from sandpiper.faces.tui.dialogs.dialog import Dialog
from sandpiper.faces.tui.dialogs.paste import PasteDialog
from sandpiper.faces.tui.drafts import MAX_PAST, Draft, Past
from sandpiper.faces.tui.palettes import DARK
from sandpiper.faces.tui.terminal import BURST_SECONDS, Parser
from sandpiper.faces.tui.themes import textual_theme
from sandpiper.faces.tui.views import Around, PeerView, RoomView, Us
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.limits import MAX_TEXT_CHARS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from textual.app import ComposeResult
    from textual.message import Message
    from textual.pilot import Pilot

STATE = PromptState(rooms=("#dev", "#general"), nicks=("bob", "Bonnie", "[/b]evil"))
PERSIAN = "می\u200cخواهم"  # noqa: RUF001
WIDE, NARROW = (100, 30), (60, 20)


@pytest.fixture(autouse=True)
def dialogs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types here by mistake: dialogs need no pause before they take an answer."""
    monkeypatch.setattr(Dialog, "PAUSE", 0)


class Bench(App[None]):
    """A composer below a transcript, and what it posts."""

    CSS = "#above { height: 1fr; }"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Message] = []
        self.register_theme(textual_theme(DARK))
        self.theme = DARK.name

    @override
    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(id="above")
            yield Composer()
        yield Static("status")

    def on_mount(self) -> None:
        self.composer.room = "#harbour"
        self.composer.state = STATE
        self.composer.focus()

    @on(Composer.Sent)
    @on(Composer.Typed)
    @on(Composer.SelectMessages)
    @on(Composer.Leave)
    @on(Composer.BigPaste)
    def _keep(self, message: Message) -> None:
        self.posted.append(message)

    @property
    def composer(self) -> Composer:
        return self.screen_stack[0].query_one(Composer)

    @property
    def sent(self) -> list[str]:
        return [message.text for message in self.posted if isinstance(message, Composer.Sent)]

    @property
    def names(self) -> list[str]:
        """What was posted, but for typing."""
        return [type(message).__name__ for message in self.posted if not isinstance(message, Composer.Typed)]

    @property
    def warnings(self) -> list[str]:
        return [notification.message for notification in self._notifications]

    @property
    def offered(self) -> list[str]:
        return [row.text.strip() for row in self.composer.suggestions.rows]

    def type(self, keys: str) -> None:
        """Bytes of a terminal, all at once, as a driver posts them."""
        parser = Parser()
        for event in (*parser.feed(keys), *parser.feed("")):
            self.post_message(event)

    def paste(self, text: str) -> None:
        self.post_message(Paste(text))


@asynccontextmanager
async def bench(size: tuple[int, int] = WIDE) -> AsyncIterator[tuple[Bench, Pilot[None]]]:
    app = Bench()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        yield app, pilot


async def typed(app: Bench, pilot: Pilot[None], keys: str) -> None:
    app.type(keys)
    await pilot.pause()
    await pilot.pause()


# ---------------------------------------------------------------- sending


async def test_a_burst_of_keys_is_sent_in_order_and_whole():
    async with bench() as (app, pilot):
        await typed(app, pilot, "hello\rworld\r")
        assert app.sent == ["hello", "world"]
        assert app.composer.text == ""


async def test_editing_keys_in_a_burst_keep_their_place():
    async with bench() as (app, pilot):
        await typed(app, pilot, "hellp\x7fo\x1b[D\x1b[DX\x1b[F!\rnext\r")
        assert app.sent == ["helXlo!", "next"]


@pytest.mark.parametrize("keys", ["\n", "\x1b\r", "\x1b[13;2u", "\x1b[13;3u", "\x1b[27;2;13~"])
async def test_a_new_line_in_any_dialect_of_terminals_does_not_send(keys: str):
    async with bench() as (app, pilot):
        await typed(app, pilot, f"one{keys}two\r")
        assert app.sent == ["one\ntwo"]


async def test_nothing_but_white_space_is_not_sent():
    async with bench() as (app, pilot):
        await typed(app, pilot, "  \n \r")
        assert app.sent == []


async def test_indentation_is_kept_and_the_end_is_trimmed():
    async with bench() as (app, pilot):
        await typed(app, pilot, "    code  \n\n\r")
        assert app.sent == ["    code"]


async def test_names_of_emoji_are_sent_as_emoji_but_not_in_code():
    async with bench() as (app, pilot):
        await typed(app, pilot, "hi :wave: at 12:30:45 `:wave:` \r")
        assert app.sent == ["hi 👋 at 12:30:45 `:wave:`"]


async def test_joiners_of_other_scripts_can_be_typed():
    async with bench() as (app, pilot):
        await typed(app, pilot, f"{PERSIAN}\r")
        assert app.sent == [PERSIAN]


# ---------------------------------------------------------------- room for text


async def test_the_field_grows_with_its_text_to_eight_lines_and_then_scrolls():
    async with bench() as (app, pilot):
        heights = []
        for _ in range(10):
            heights.append(app.composer.size.height)
            await typed(app, pilot, "x\n")
        assert heights == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
        assert app.composer.scroll_offset.y + app.composer.size.height == 11
        await typed(app, pilot, "\r")
        assert app.composer.size.height == 1


async def test_a_long_line_wraps_and_grows_the_field():
    async with bench() as (app, pilot):
        await typed(app, pilot, "word " * 30)
        assert app.composer.size.height == 2
        assert app.composer.scroll_offset.y == 0


async def test_typing_over_the_limit_is_refused_and_nothing_is_lost():
    async with bench() as (app, pilot):
        app.composer.restore(Draft("x" * MAX_TEXT_CHARS))
        await typed(app, pilot, "abc\n")
        assert app.composer.text == "x" * MAX_TEXT_CHARS
        assert len(app.warnings) == 1
        assert "16,000" in app.warnings[0]
        await typed(app, pilot, "\x1b[3~y\r")  # what there is room for goes in again
        assert app.sent == ["y" + "x" * (MAX_TEXT_CHARS - 1)]


# ---------------------------------------------------------------- pastes


async def test_a_paste_is_one_text_and_sends_nothing():
    async with bench() as (app, pilot):
        await typed(app, pilot, "[] \x1b[D\x1b[D")
        app.paste("a\r\n\tb\x1b[31m\u202ec\r\n")
        await pilot.pause()
        assert app.composer.text == "[a\n\tb␛[31mc\n] "
        assert app.names == []


BEGIN, END = "\x1b[200~", "\x1b[201~"


class Typist:
    """What a parser makes of what comes from a terminal, read by read."""

    def __init__(self) -> None:
        self.now = 50.0
        self.parser = Parser(clock=lambda: self.now)
        self.events: list[Message] = []

    def sends(self, *reads: str, after: float = 0.0) -> list[Message]:
        """These come at once, so many seconds after what came before; the events of all of them."""
        self.now += after
        new = [event for read in reads for event in self.parser.feed(read)]
        self.events += new
        return new

    def told(self, *reads: str, after: float = 0.0) -> tuple[str, list[str]]:
        """What was pasted by these, and the keys that they were."""
        new = self.sends(*reads, after=after)
        pasted = "".join(event.text for event in new if isinstance(event, Paste))
        return pasted, [event.key for event in new if isinstance(event, Key)]


HOSTILE_PASTE = "a\x1b[31mb\x1b\x1b\r/quit\r\x1b[200~\x1b[13u\x1bOP\x11\x03\x1b[<0;5;5M\x1b]0;" + "x" * 40 + "\r\x1b"
TEXT = HOSTILE_PASTE.replace("\x1b", "")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_nothing_in_a_paste_is_a_key_however_it_is_read(size: int):
    sent = f"x{BEGIN}{HOSTILE_PASTE}{END}"
    typist = Typist()
    assert typist.told(*(sent[at : at + size] for at in range(0, len(sent), size))) == (TEXT, ["x"])
    assert typist.told("y\r", after=BURST_SECONDS) == ("", ["y", "enter"])
    assert typist.told("\x1b[A", BEGIN, "z", END, after=1.0) == ("z", ["up"])


def test_a_paste_is_told_when_it_ends_and_once():
    typist = Typist()
    assert typist.sends(BEGIN, "one ") == []
    [paste] = typist.sends(f"two{END}", after=30.0)
    assert isinstance(paste, Paste)
    assert paste.text == "one two"
    assert typist.sends(BEGIN, END, after=1.0) == []


def test_what_comes_in_one_burst_behind_the_end_of_a_paste_is_text():
    typist = Typist()
    assert typist.told(f"{BEGIN}ha{END}/quit\r\x1b[13u\x03", f"more\r{END}\x11") == ("ha/quit\r\x03more\r\x11", [])
    assert typist.told("still\r", after=BURST_SECONDS / 2) == ("still\r", [])
    assert typist.told("\r", after=BURST_SECONDS) == ("", ["enter"])


def test_what_a_terminal_reports_right_behind_a_paste_is_heeded():
    typist = Typist()
    new = typist.sends(f"{BEGIN}text{END}\x1b[O", "\x1b[I", f"{BEGIN}again{END}")
    assert [type(event) for event in new] == [Paste, AppBlur, AppFocus, Paste]


def test_a_lone_escape_is_still_a_key():
    typist = Typist()
    assert typist.told("\x1b") == ("", [])
    typist.parser._timeout_time = 0.0  # as when nothing has come for a while
    assert [event.key for event in typist.parser.tick() if isinstance(event, Key)] == ["escape"]


async def test_a_hostile_paste_is_one_text_and_sends_nothing():
    async with bench() as (app, pilot):
        await typed(app, pilot, f"{BEGIN}ha\x1b\x1b[ok{END}\r/quit\r")
        assert app.names == []
        assert app.composer.text == "ha[ok\n/quit\n"


async def test_a_paste_of_many_lines_is_asked_about():
    async with bench() as (app, pilot):
        app.paste("1\n2\n3\n4\n5\n")
        await pilot.pause()
        assert app.names == []
        await typed(app, pilot, "\r")
        app.paste("1\n2\n3\n4\n5\n6")
        await pilot.pause()
        assert app.names == ["Sent", "BigPaste"]
        assert app.composer.text == ""


@pytest.mark.parametrize("size", [MAX_TEXT_CHARS + 1, 5 * MAX_TEXT_CHARS])
async def test_a_paste_that_is_too_large_is_refused_with_size_and_limit(size: int):
    async with bench() as (app, pilot):
        await typed(app, pilot, "mine")
        app.paste("x\n" * (size // 2) + "x" * (size % 2))
        await pilot.pause()
        assert app.composer.text == "mine"
        assert app.names == []
        assert f"{size:,}" in app.warnings[0]
        assert f"{MAX_TEXT_CHARS:,}" in app.warnings[0]


async def test_a_paste_that_does_not_fit_beside_what_is_there_is_refused():
    async with bench() as (app, pilot):
        await typed(app, pilot, "mine")
        app.paste("x" * (MAX_TEXT_CHARS - 3))
        await pilot.pause()
        assert app.composer.text == "mine"
        assert len(app.warnings) == 1


@pytest.mark.parametrize(
    ("keys", "result"), [("\r", "paste"), ("p", "paste"), ("s", "send"), ("\x1b", None), ("x\rs", "paste")]
)
async def test_the_question_about_a_paste_is_answered_by_one_key(keys: str, result: str | None):
    text = "\n".join(f"[/b]line {i}" for i in range(20))
    async with bench() as (app, pilot):
        answers: list[str | None] = []
        await app.push_screen(PasteDialog(text), answers.append)
        await pilot.pause()
        seen = app.export_screenshot().replace("&#160;", " ")
        assert "20 lines, " in seen
        assert "[/b]line 7" in seen
        assert "[/b]line 8" not in seen
        assert "12 more lines" in seen
        await typed(app, pilot, keys)
        assert answers == [result]


async def test_a_pasted_text_sent_by_itself_is_no_command_and_leaves_the_draft():
    async with bench() as (app, pilot):
        await typed(app, pilot, "draft")
        app.composer.send_paste("/quit\nnow :wave:\n")
        await pilot.pause()
        assert app.sent == ["//quit\nnow :wave:"]
        assert app.composer.text == "draft"


async def test_a_pasted_text_answers_when_an_answer_was_begun():
    async with bench() as (app, pilot):
        app.composer.answer("ab", "maya", "hi")
        app.composer.send_paste("/etc\nlist")
        await pilot.pause()
        [sent] = [message for message in app.posted if isinstance(message, Composer.Sent)]
        assert (sent.text, sent.mode) == ("/etc\nlist", Reply("ab", "maya", "hi"))
        assert app.composer.mode == Plain()


# ---------------------------------------------------------------- keys


async def test_up_in_an_empty_composer_selects_messages_and_moves_the_cursor_otherwise():
    async with bench() as (app, pilot):
        await typed(app, pilot, "\x1b[A")
        assert app.names == ["SelectMessages"]
        app.composer.elsewhere = False  # there are no messages here
        await typed(app, pilot, "ab\ncd\x1b[A!\x1b[A\x1b[A?\x1b[B.")
        assert app.names == ["SelectMessages"]
        assert app.composer.text == "?ab!\nc.d"


async def test_what_was_sent_comes_back_and_the_draft_stays():
    async with bench() as (app, pilot):
        await typed(app, pilot, "one\r/who\rtwo\rdraft")
        await typed(app, pilot, "\x10")
        assert app.composer.text == "two"
        await typed(app, pilot, "\x10")
        assert app.composer.text == "/who"
        assert not app.composer.suggestions.is_open
        await typed(app, pilot, "\x10\x10\x10")
        assert app.composer.text == "one"
        await typed(app, pilot, "\x0e\x0e\x0e\x0e")
        assert app.composer.text == "draft"


async def test_an_old_line_sent_again_gives_the_draft_back():
    async with bench() as (app, pilot):
        await typed(app, pilot, "one\rdraft\x10\r")
        assert app.sent == ["one", "one"]
        assert app.composer.text == "draft"


async def test_an_old_line_that_was_changed_becomes_the_draft():
    async with bench() as (app, pilot):
        await typed(app, pilot, "one\rdraft\x10!\x10")
        assert app.composer.text == "draft"
        await typed(app, pilot, "\x0e")
        assert app.composer.text == "one!"


def test_the_past_has_an_end():
    past = Past()
    for i in range(MAX_PAST + 50):
        past.sent(str(i))
    lines, now = [], ""
    while (older := past.older(now)) is not None:
        lines.append(now := older)
    assert lines == [str(i) for i in reversed(range(50, MAX_PAST + 50))]


async def test_ctrl_d_leaves_only_from_an_empty_composer():
    async with bench() as (app, pilot):
        await typed(app, pilot, "ab\x1b[D\x04")
        assert app.composer.text == "a"
        assert app.names == []
        await typed(app, pilot, "\x7f\x04")
        assert app.names == ["Leave"]


async def test_typing_is_told_for_messages_and_only_when_the_text_changes():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/who")
        assert app.posted == []
        await typed(app, pilot, "\x15ab\x1b[D\x1b[D")
        assert len(app.posted) == 2
        app.composer.restore(Draft("back"))
        await pilot.pause()
        assert len(app.posted) == 2


async def test_wiping_clears_and_ctrl_p_brings_it_back():
    async with bench() as (app, pilot):
        await typed(app, pilot, "precious")
        assert app.composer.wipe()
        assert app.composer.text == ""
        assert not app.composer.wipe()
        await typed(app, pilot, "\x10")
        assert app.composer.text == "precious"


# ---------------------------------------------------------------- answers and changes


async def test_an_answer_is_sent_as_one_and_the_draft_comes_back():
    async with bench() as (app, pilot):
        await typed(app, pilot, "dra\x1b[D")
        app.composer.answer("ab12", "[/b]maya", "can you bring the [red]VHF?")
        await pilot.pause()
        seen = app.export_screenshot().replace("&#160;", " ")
        assert "reply to [/b]maya" in seen
        assert "can you bring the [red]VHF?" in seen
        await typed(app, pilot, "/sure\r/who\r")
        sent = [message for message in app.posted if isinstance(message, Composer.Sent)]
        assert [(message.text, type(message.mode)) for message in sent] == [("/sure", Reply), ("dr/whoa", Plain)]
        assert sent[0].mode == Reply("ab12", "[/b]maya", "can you bring the [red]VHF?")


async def test_esc_leaves_an_answer_and_keeps_what_was_written():
    async with bench() as (app, pilot):
        await typed(app, pilot, "draft")
        app.composer.answer("ab12", "maya", "hm?")
        await typed(app, pilot, "half an")
        await typed(app, pilot, "\x1b")
        assert (app.composer.text, app.composer.mode) == ("draft", Plain())
        await typed(app, pilot, "\x1b\x10")
        assert app.composer.text == "half an"
        assert app.names == []


async def test_a_change_begins_with_the_text_and_is_sent_as_one():
    async with bench() as (app, pilot):
        app.composer.change("ab12", "/etc/hosts si nice")
        await typed(app, pilot, "!\r")
        [sent] = [message for message in app.posted if isinstance(message, Composer.Sent)]
        assert (sent.text, sent.mode) == ("/etc/hosts si nice!", Change("ab12", "/etc/hosts si nice"))
        app.composer.change("ab12", "same")
        await typed(app, pilot, "\r")
        assert len(app.sent) == 1
        assert app.composer.mode == Plain()


async def test_a_draft_holds_text_cursor_and_mode():
    async with bench() as (app, pilot):
        assert app.composer.draft == Draft()
        await typed(app, pilot, "before")
        app.composer.answer("ab12", "maya", "hm?")
        await typed(app, pilot, "one\ntwo\x1b[D")
        draft = app.composer.draft
        app.composer.restore()
        assert app.composer.draft == Draft()
        app.composer.restore(draft)
        await typed(app, pilot, "X\r")
        assert app.sent == ["one\ntwXo"]
        assert app.composer.text == "before"


async def test_what_could_not_be_sent_comes_back_without_overwriting():
    async with bench() as (app, pilot):
        app.composer.give_back("/nope")
        assert app.composer.text == "/nope"
        app.composer.give_back("other")
        assert app.composer.text == "/nope"
        await typed(app, pilot, "\x10")
        assert app.composer.text == "other"


# ---------------------------------------------------------------- suggestions


async def test_a_slash_lists_commands_right_above_the_composer():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/")
        above, composer = app.composer.suggestions.region, app.composer.region
        assert (above.width, above.height) == (84, 12)
        assert above.bottom == composer.y
        seen = app.export_screenshot().replace("&#160;", " ")
        assert "list the commands" in seen
        await typed(app, pilot, "wh")
        assert app.offered == ["/who", "/whois"]
        assert app.composer.suggestions.region.bottom == composer.y
        await typed(app, pilot, "\x7f\x7f\x7f")
        assert not app.composer.suggestions.display


async def test_a_narrow_screen_has_a_short_list():
    async with bench(NARROW) as (app, pilot):
        await typed(app, pilot, "/")
        assert app.composer.suggestions.size.height == 6
        assert app.composer.suggestions.region.width == 60


async def test_the_list_follows_the_pick():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/" + "\x1b[B" * 11)
        await pilot.pause()
        picked = app.composer.suggestions.picked
        assert picked is not None
        seen = app.export_screenshot().replace("&#160;", " ")
        assert "▸" in seen
        assert picked.help[:20] in seen
        await typed(app, pilot, "\x10" * 12)
        assert app.composer.suggestions.picked is app.composer.suggestions.rows[-1]


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ("/wh\t", "/who "),
        ("/wh\x1b[B\t", "/whois "),
        ("/jo\t#d\t", "/join #dev "),
        ("/msg bo\t", "/msg Bonnie "),
        ("hi @bob\t", "hi @bob "),
        (":wave\t", "👋 "),
        ("see :tad\tdone", "see 🎉 done"),
    ],
)
async def test_tab_takes_the_suggestion(keys: str, text: str):
    async with bench() as (app, pilot):
        await typed(app, pilot, keys)
        assert app.composer.text == text


async def test_tab_completes_without_a_list_and_lists_what_is_not_clear():
    async with bench() as (app, pilot):
        await typed(app, pilot, "hi b\t")
        assert app.composer.text == "hi @bo"
        app.composer.restore()
        await typed(app, pilot, "hi b\t\x1b")
        await typed(app, pilot, "\t")
        assert app.composer.text == "hi @bo"
        assert app.offered == ["@Bonnie", "@bob"]


async def test_enter_sends_an_exact_command_and_takes_half_a_one():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/who\r")
        assert app.sent == ["/who"]
        await typed(app, pilot, "/hel\r")
        assert app.sent == ["/who"]
        assert app.composer.text == "/help "
        await typed(app, pilot, "\r")
        assert app.sent == ["/who", "/help"]


async def test_enter_takes_what_the_person_has_picked():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/who\x1b[B\r")
        assert app.sent == []
        assert app.composer.text == "/whois "
        await typed(app, pilot, "\x15hi @bo\r")
        assert app.sent == ["hi @bo"]


async def test_a_pick_that_changes_nothing_does_not_stand_in_the_way_of_enter():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/rooms\x1b[B\r\r")
        assert app.sent == ["/rooms"]


async def test_an_unknown_command_is_sent_as_typed():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/frobnicate\r")
        assert app.sent == ["/frobnicate"]


async def test_esc_closes_the_list_until_the_next_word():
    async with bench() as (app, pilot):
        await typed(app, pilot, "@b")
        assert app.offered
        await typed(app, pilot, "\x1b")
        await typed(app, pilot, "o")
        assert not app.offered
        await typed(app, pilot, " @b")
        assert app.offered


async def test_a_click_takes_a_suggestion_and_the_person_types_on():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/wh")
        await pilot.click(app.composer.suggestions, offset=(5, 2))
        await typed(app, pilot, "bob\r")
        assert app.sent == ["/whois bob"]


async def test_a_hostile_nick_is_text():
    async with bench() as (app, pilot):
        await typed(app, pilot, "@[")
        assert app.offered == ["@[/b]evil"]
        assert "[/b]evil" in app.export_screenshot()


async def test_the_list_closes_when_nobody_types_here():
    async with bench() as (app, pilot):
        await typed(app, pilot, "/")
        app.set_focus(None)
        await pilot.pause()
        assert not app.composer.suggestions.is_open


# ---------------------------------------------------------------- looks


@pytest.mark.parametrize(
    ("size", "title", "hints"),
    [
        (WIDE, "message #harbour", "enter send · shift+enter new line · / commands · @ people"),
        (NARROW, "#harbour", "enter send · / commands"),
    ],
)
async def test_the_border_says_where_one_is_and_what_keys_do(size: tuple[int, int], title: str, hints: str):
    async with bench(size) as (app, pilot):
        assert app.composer.border_title == title
        assert app.composer.border_subtitle == hints
        app.composer.room = "[/b]#evil[@click=app.quit]"
        await pilot.pause()
        assert "[/b]#evil[@click=app.quit]" in app.export_screenshot()


async def test_it_knows_the_room_and_those_around():
    key, other, gone = (PeerKey(bytes([i]) * 32) for i in range(3))
    room = RoomView(RoomId(bytes(16)), "@wren [plain]", "direct", other, "", 1, 0, 0, (0, b""))
    us = Us(key, "me", "", False, "", 1, True)
    peers = (
        PeerView(other, "wren [plain]", 1, False, "here", "", "lan", 0.001, 0, room.id, 0, plain=True),
        PeerView(gone, "priya", 2, False, "gone", "", "", None, 5, room.id, 0),
    )
    async with bench() as (app, pilot):
        app.composer.about(Around(us, (room,), peers), room)
        assert app.composer.border_title == "message @wren \\[plain]"
        await typed(app, pilot, "/join ")
        assert app.offered == ["@wren"]
        await typed(app, pilot, "\x15@")
        assert app.offered == ["@wren"]
        app.composer.about(Around(us, (), ()), None)
        assert app.composer.border_title == "message"


async def test_the_border_tells_commands_from_messages():
    async with bench() as (app, pilot):

        def colour() -> Color:
            return app.composer.styles.border_top[1]

        assert colour() == Color.parse(app.theme_variables["primary"])
        await typed(app, pilot, "/")
        assert colour() == Color.parse(app.theme_variables["secondary"])
        await typed(app, pilot, "/")
        assert colour() == Color.parse(app.theme_variables["primary"])


async def test_joined_emoji_cannot_break_the_line_they_are_written_in():
    async with bench() as (app, pilot):
        app.paste("👨‍👩‍👧 ❤️ 👍🏽 🇩🇪 x")
        await pilot.pause()
        drawn = app.composer.get_line(0).plain
        assert len(drawn) == len(app.composer.text)
        assert cell_len(drawn) == sum(cell_len(char) for char in drawn)
        await typed(app, pilot, "\r")
        assert app.sent == ["👨‍👩‍👧 ❤️ 👍🏽 🇩🇪 x"]
