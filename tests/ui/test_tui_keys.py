"""The whole screen, headless: every key does what its help says, and what the backstage tells is to be seen."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual._xterm_parser import XTermParser
from textual.drivers.headless_driver import HeadlessDriver
from textual.widgets import Input

from sandpiper.errors import ConfigError, StoreError
from sandpiper.faces.signals import EXIT_INTERRUPTED
from sandpiper.faces.spans import Span, line
from sandpiper.faces.tui import activity, notify
from sandpiper.faces.tui.dialogs.confirm import ConfirmDialog
from sandpiper.faces.tui.dialogs.dialog import Dialog
from sandpiper.faces.tui.dialogs.help import HelpDialog
from sandpiper.faces.tui.dialogs.jump import JumpDialog
from sandpiper.faces.tui.dialogs.paste import PasteDialog
from sandpiper.faces.tui.dialogs.react import ReactDialog
from sandpiper.faces.tui.dialogs.search import SearchDialog
from sandpiper.faces.tui.dialogs.verify import VerifyDialog
from sandpiper.faces.tui.drafts import Plain, Reply
from sandpiper.faces.tui.keys import KEYS, chosen_keys
from sandpiper.faces.tui.palettes import PALETTES
from sandpiper.faces.tui.sidebar import rooms_in_order
from sandpiper.faces.tui.transcript.paging import PAGE
from sandpiper.faces.tui.transcript.sheets import MAX_SHEETS
from sandpiper.faces.tui.views import Clear, Delivery, Ended, Found, NotDone, Note, Said, Show, Typing
from sandpiper.faces.verifying import Comparison
from sandpiper.store.reader import Message, Reader
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import Edit, React, Retract, Text
from tests.ui.stage import Play, Stage, at, event, harbour, playing, stage_in

FAR = 3_000  # messages back: more than one looks at, and many pages


@pytest.fixture(autouse=True)
def dialogs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody types here by mistake: dialogs need no pause before they take an answer."""
    monkeypatch.setattr(Dialog, "PAUSE", 0)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with stage_in(tmp_path) as stage:
        yield stage


@asynccontextmanager
async def crew(stage: Stage, size: tuple[int, int] = (120, 34), **settings: Any) -> AsyncIterator[Play]:
    """The scripted chat."""
    after = harbour(stage)
    async with playing(stage, size, **settings) as play:
        await play.tell(*after)
        await play.sees("thanks Wren!  ✓")
        yield play


def rooms(stage: Stage) -> list[RoomId]:
    return rooms_in_order(stage.around())


async def opens(play: Play, dialog: type[Dialog[Any]]) -> None:
    """It is there, and painted: before that no key that writes is taken."""

    def painted() -> bool:
        screen = play.app.screen
        return isinstance(screen, dialog) and screen._shown_at is not None

    await play.until(painted, dialog.__name__)


def lines(stage: Stage, room: RoomId, count: int, what: str = "line") -> list[Message]:
    """So many short messages, numbered from 0."""
    names = ("maya", "tomas", "wren")
    return stage.say_all([(names[n % 3], f"{what} {n}") for n in range(count)], room)


def top(play: Play) -> str:
    """The first row of the transcript that has something in it."""
    return next(row for row in play.read_lines if row)


def bottom(play: Play) -> str:
    return play.read_lines[-1]


# ---------------------------------------------------------------- going to rooms


async def test_the_node_gives_way_to_each_key_until_something_is_painted(stage: Stage):
    async with crew(stage) as play:
        await play.press(*"xyz")
        assert stage.keys == 3
        await play.until(lambda: not stage.hushed, "a paint")


async def test_jump_goes_to_a_room_by_letters_of_its_name(stage: Stage):
    async with crew(stage) as play:
        await play.press("ctrl+k", *"tid", "enter")
        await play.room_is(rooms(stage)[2])
        await play.sees("message #tides")
        assert stage.asked("look")[-1] == (rooms(stage)[2], True)
        assert play.chat.composer.has_focus
        assert stage.asked("obey") == []


async def test_jump_opens_a_direct_room_and_asks_for_one_that_is_not_open(stage: Stage):
    async with crew(stage) as play:
        await play.press("ctrl+k", *"@may", "enter")
        await play.room_is(rooms(stage)[4])
        await play.press("ctrl+k", *"@wren", "enter")
        await play.until(lambda: stage.asked("open_direct"))
        assert stage.asked("open_direct") == [(stage.key("wren"),)]


async def test_jump_puts_a_command_into_the_composer(stage: Stage):
    async with crew(stage) as play:
        await play.press("ctrl+k", *"/topic", "enter")
        await play.until(lambda: play.chat.composer.text == "/topic ")
        await play.enter("hello")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(rooms(stage)[0], "/topic hello")]


async def test_jump_searches_for_what_was_typed(stage: Stage):
    async with crew(stage) as play:
        await play.press("ctrl+k", *"jacket", "enter")
        await opens(play, SearchDialog)
        await play.sees("1 message in all rooms")
        await play.press("enter")
        await play.until(lambda: play.chosen is not None)
        assert play.chosen == "Always. Bring a jacket, the forecast says F4 gusting 6."


async def test_alt_and_a_digit_go_to_rooms_in_the_order_of_the_sidebar(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        for number in (5, 2, 4, 1, 3):
            await play.press(f"alt+{number}")
            await play.room_is(order[number - 1])
        await play.press("alt+6", "alt+9")
        await play.pilot.pause()
        assert play.chat.room == order[2]


async def test_next_unread_goes_where_somebody_calls_first(stage: Stage):
    async with crew(stage) as play:
        harbour_, build, tides, _, maya = rooms(stage)
        for room in (build, maya, tides):
            await play.press("alt+a")
            await play.room_is(room)
            stage.view(room, unread=0, mentions=0)
            stage.view(harbour_, unread=0)
            await play.tell(stage.around())
            await play.until(lambda: play.chat.around == stage.around())
        await play.press("alt+a")
        await play.pilot.pause()
        assert play.chat.room == tides


async def test_alt_down_and_up_go_round_through_all_rooms(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        for room in (*order[1:], order[0]):
            await play.press("alt+down")
            await play.room_is(room)
        for room in (order[4], order[3]):
            await play.press("alt+up")
            await play.room_is(room)


async def test_the_backstage_shows_a_room_and_a_room_that_was_left_gives_way(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        await play.tell(Show(order[3]))
        await play.room_is(order[3])
        del stage.rooms[order[3]]
        await play.tell(stage.around())
        await play.room_is(order[0])
        await play.sees("message #harbour")
        stage.rooms.clear()
        await play.tell(stage.around())
        await play.room_is(None)
        await play.sees("You are in no room.")


async def test_ten_rooms_and_back_show_what_they_had(stage: Stage):
    count = MAX_SHEETS + 3
    names = [f"room{n}" for n in range(count)]
    ids = [stage.enter(name) for name in names]
    for name, room in zip(names, ids, strict=True):
        lines(stage, room, 40, f"said in {name}:")
    async with playing(stage) as play:
        for key, order in (("alt+down", [*names[1:], names[0]]), ("alt+up", [*names[:0:-1], names[0]])):
            for name in order:
                await play.press(key)
                await play.sees(f"message #{name} ", f"said in {name}: 39")
                assert play.transcript.count(f"said in {name}: ") == play.transcript.count("said in")
        news = stage.say("wren", "meanwhile", ids[5], time=at("15:00"))
        await play.tell(Said(ids[5], (news,)))
        await play.press("alt+6")
        await play.sees("meanwhile", "said in room5: 39")


# ---------------------------------------------------------------- going through a room


async def test_pages_up_reach_the_first_message_and_pages_down_the_last(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 2 * PAGE + 150)
    async with playing(stage, (80, 24)) as play:
        await play.sees(f"line {2 * PAGE + 149}")
        seen: set[str] = set()
        for _ in range(100):
            seen.update(row.split("│")[-1].strip() for row in play.read_lines)
            if "line 0" in seen:
                break
            await play.press("pageup")
            await play.settled()
        assert {f"line {n}" for n in range(2 * PAGE + 150)} <= seen
        for _ in range(100):
            if play.chat.transcript.following:
                break
            await play.press("pagedown")
            await play.settled()
        assert bottom(play).endswith(f"line {2 * PAGE + 149}")


async def test_oldest_and_newest_go_to_both_ends_of_a_long_room(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, FAR + 50)
    async with playing(stage) as play:
        await play.press("ctrl+home")
        await play.sees("line 0", "line 5")
        assert "Thursday 20 November" in top(play)
        await play.press("ctrl+end")
        await play.until(lambda: bottom(play).endswith(f"line {FAR + 49}"))
        assert play.chat.transcript.following


async def test_scrolling_up_goes_on_by_itself_to_the_first_message(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 3 * PAGE)
    async with playing(stage, (80, 24)) as play:
        transcript = play.chat.transcript
        for _ in range(200):
            if "line 0" in play.transcript.split("\n")[1]:
                break
            transcript.scroll_to(y=0, animate=False, force=True)  # a wheel that is turned fast
            await play.settled()
        assert top(play).endswith("─")
        assert play.read_lines[1].endswith("│ line 0")


async def test_what_one_reads_stays_while_messages_come(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, FAR)
    async with playing(stage, (100, 30)) as play:
        await play.press(*["pageup"] * 5)
        await play.settled()
        reading = play.read_lines
        assert any("line" in row for row in reading)
        for n in range(20):
            await stage.tell_said(*stage.say_all([("wren", f"news {n} {m}") for m in range(15)], room))
            await play.pilot.pause()
            assert play.read_lines == reading
        late = stage.say("kenji", "this one is late", room, time=at("12:00") + 2_700_500)
        await stage.tell_said(late)
        await play.pilot.pause()
        assert play.read_lines == reading
        await play.press("ctrl+end")
        await play.until(lambda: bottom(play).endswith("news 19 14"))


async def test_new_messages_follow_at_the_end(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 500)
    async with playing(stage) as play:
        for n in range(20):
            await stage.tell_said(*stage.say_all([("wren", f"news {n} {m}") for m in range(7)], room))
            await play.sees(f"news {n} 6")
            assert bottom(play).endswith(f"news {n} 6")


async def test_a_message_that_comes_while_a_page_is_read_is_not_lost(stage: Stage):
    room, other = stage.enter("harbour"), stage.enter("tides")
    lines(stage, room, 30)
    lines(stage, other, 30, "tide")
    async with playing(stage) as play:
        stage.gate.shut()
        await play.press("alt+2")
        await play.until(lambda: stage.gate.waiting)
        await stage.tell_said(stage.say("maya", "in between", other))
        await play.pilot.pause()
        stage.gate.open()
        await play.settled()
        await play.sees("tide 29")
        await stage.tell_said(stage.say("maya", "afterwards", other))
        await play.sees("afterwards")
        assert "in between" in play.transcript


async def test_a_message_that_comes_on_the_way_to_the_end_is_not_lost(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, FAR)
    async with playing(stage) as play:
        await play.press("ctrl+home")
        await play.sees("line 0")
        await play.settled()
        stage.gate.shut()
        await play.press("ctrl+end")
        await play.until(lambda: stage.gate.waiting)
        await stage.tell_said(stage.say("maya", "in between", room))
        await play.pilot.pause()
        stage.gate.open()
        await play.sees(f"line {FAR - 1}", "in between")


async def test_a_room_with_news_is_read_though_another_was_just_being_read(stage: Stage):
    for name in ("harbour", "tides", "random"):
        lines(stage, stage.enter(name), 10, f"said in {name}:")
    async with playing(stage) as play:
        stage.gate.shut()
        await play.press("alt+2")
        await play.until(lambda: stage.gate.waiting)
        await play.press("alt+3")
        await play.tell(event("maya came", time=at("15:00")))
        await play.sees("message #random", "maya came")
        stage.gate.open()
        await play.sees("said in random: 9")


async def test_a_key_pressed_while_a_page_is_read_is_not_lost(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, FAR)
    async with playing(stage) as play:
        await play.press("ctrl+home")
        await play.sees("line 0")
        await play.settled()
        stage.gate.shut()
        for _ in range(PAGE // 30 + 1):
            await play.press("pagedown")
        await play.until(lambda: stage.gate.waiting)
        await play.press("ctrl+end")
        await play.pilot.pause()
        stage.gate.open()
        await play.sees(f"line {FAR - 1}")


async def test_marks_told_before_the_page_is_read_are_shown(stage: Stage):
    room = stage.enter("harbour")
    message = stage.say("you", "Is anybody there?", room)
    async with playing(stage, (120, 34), Delivery(room, message.id, 3, 3)) as play:
        await play.sees("Is anybody there?  ✓✓")


async def test_marks_are_still_there_after_going_to_the_beginning_and_back(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 2 * PAGE)
    message = stage.say("you", "Is anybody there?", room)
    async with playing(stage) as play:
        await play.tell(Delivery(room, message.id, 3, 3))
        await play.sees("Is anybody there?  ✓✓")
        await play.press("ctrl+home")
        await play.sees("line 0")
        await play.press("ctrl+end")
        await play.sees("Is anybody there?")
        await play.sees("Is anybody there?  ✓✓")


# ---------------------------------------------------------------- search


async def open_first(play: Play, words: str) -> None:
    """Search for these words and go to the newest message that has them."""
    await play.press("ctrl+f")
    await play.type(words)
    await play.sees("1 message in all rooms")
    await play.settled()
    for _ in range(20):  # what was found for the words before the last letter is not opened
        await play.press("enter")
        await play.settled()
        if not isinstance(play.app.screen, Dialog):
            return
    raise AssertionError(play.text)


async def test_enter_right_after_the_words_goes_to_what_is_found(stage: Stage):
    room = stage.enter("harbour")
    stage.say("ines", "the anchor is under the bench", room)
    lines(stage, room, 10)
    async with playing(stage) as play:
        stage.gate.shut()
        await play.press("ctrl+f", *"anchor", "enter")
        await play.until(lambda: stage.gate.waiting)
        stage.gate.open()
        await play.until(lambda: play.chosen == "the anchor is under the bench")


async def test_search_goes_to_a_message_far_back_and_selects_it(stage: Stage):
    room = stage.enter("harbour")
    stage.say("ines", "the anchor is under the bench", room)
    lines(stage, room, FAR)
    async with playing(stage) as play:
        await open_first(play, "anchor ben")
        await play.until(lambda: play.chosen == "the anchor is under the bench")
        await play.sees("│ the anchor is under the bench", "line 3")
        assert play.chat.transcript.has_focus
        await play.press("escape", "ctrl+end")
        await play.until(lambda: bottom(play).endswith(f"line {FAR - 1}"))


async def test_search_goes_to_a_message_far_back_in_another_room(stage: Stage):
    stage.enter("harbour")
    other = stage.enter("tides")
    stage.say("ines", "the anchor is under the bench", other)
    lines(stage, other, FAR)
    async with playing(stage) as play:
        await open_first(play, "anchor")
        await play.room_is(other)
        await play.until(lambda: play.chosen == "the anchor is under the bench")
        await play.sees("message #tides", "│ the anchor is under the bench", "line 3")


async def test_what_search_and_history_found_is_shown_and_gone_to(stage: Stage):
    async with crew(stage) as play:
        found = tuple(stage.messages([message.id for message in _all(play)][:3]))
        for words in ("", "tide"):
            await play.tell(Found(words, found))
            await opens(play, SearchDialog)
            await play.sees("3 messages", "Tide table", "Hi all!")
            assert play.app.screen.query_one(Input).value == words
            await play.press("escape")
            await play.until(lambda: not isinstance(play.app.screen, Dialog))
        await play.tell(Found("", found))
        await play.sees("3 messages")
        await play.press("down", "enter")
        await play.until(lambda: play.chosen == found[1].text)


async def test_what_was_found_in_a_room_that_was_left_meanwhile_says_so(stage: Stage):
    stage.enter("harbour")
    other = stage.enter("tides")
    found = stage.say("ines", "the anchor is under the bench", other)
    async with playing(stage) as play:
        first = rooms(stage)[0]
        await play.type("draft")
        await play.tell(Found("anchor", (found,)))
        await opens(play, SearchDialog)
        await play.sees("1 message", "under the bench")
        del stage.rooms[other]
        await play.tell(stage.around())
        await play.until(lambda: play.chat.around == stage.around())
        await play.press("enter")
        await play.sees("a room that you have left", "/join")
        assert play.chat.room == first
        assert play.chosen is None
        await play.enter(" goes on")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(first, "draft goes on")]


def _all(play: Play) -> list[Message]:
    sheet = play.chat.transcript.sheet
    assert sheet is not None
    return [entry.message for entry in sheet.entries if entry.message is not None]


# ---------------------------------------------------------------- other keys


async def test_f1_explains_every_key_and_esc_closes(stage: Stage):
    async with crew(stage, (120, 80)) as play:
        await play.press("f1")
        await opens(play, HelpDialog)
        flat = " ".join(play.text.replace("│", " ").split())
        await play.sees("Ctrl+K")
        flat = " ".join(play.text.replace("│", " ").split())
        for row in KEYS:
            assert row.help.split()[0] in flat
        await play.press("escape")
        await play.until(lambda: not isinstance(play.app.screen, Dialog))
        assert play.chat.composer.has_focus


async def test_bare_shows_names_and_texts_alone_and_everything_again(stage: Stage):
    async with crew(stage) as play:
        before = play.text
        await play.press("alt+l")
        await play.sees_no("PEERS", "message #harbour", "^K", "14:23")
        await play.sees("wren: ", "you: That is quieter indeed, thanks Wren!")
        assert "│" not in play.transcript
        await play.press("alt+l")
        await play.sees("PEERS", "message #harbour", "14:23")
        assert play.chat.composer.has_focus
        assert play.transcript in before or play.read_lines[-1] in before


async def test_esc_brings_back_everything_from_bare(stage: Stage):
    async with crew(stage) as play:
        await play.press("alt+l")
        await play.sees_no("PEERS")
        await play.press("escape")
        await play.pilot.pause()
        assert "PEERS" in play.text


async def test_ctrl_c_clears_the_line_and_twice_leaves(stage: Stage):
    async with crew(stage) as play:
        await play.type("not this")
        await play.press("ctrl+c")
        await play.until(lambda: play.chat.composer.text == "")
        assert play.app.is_running
        await play.press("ctrl+c")
        await play.sees("Ctrl+C once more quits.")
        await play.press("ctrl+c")
        await play.until(lambda: play.app.return_code is not None)
        assert play.app.return_code == EXIT_INTERRUPTED


async def test_ctrl_c_closes_a_dialog_and_leaves_what_is_typed_behind_it(stage: Stage):
    async with crew(stage) as play:
        await play.type("half a line")
        await play.press("f1")
        await opens(play, HelpDialog)
        await play.press("ctrl+c")
        await play.until(lambda: len(play.app.screen_stack) == 1)
        assert play.chat.composer.text == "half a line"
        await play.press("ctrl+c", "ctrl+c", "ctrl+c")
        await play.until(lambda: play.app.return_code is not None)
        assert play.app.return_code == EXIT_INTERRUPTED


async def test_ctrl_q_says_goodbye(stage: Stage):
    async with crew(stage) as play:
        await play.press("ctrl+q")
        await play.until(lambda: play.app.return_code is not None)
        assert play.app.return_code == 0


async def test_the_end_of_the_node_ends_the_screen_with_its_code(stage: Stage):
    async with crew(stage) as play:
        await play.tell(Ended("The disk is full.", 4))
        await play.until(lambda: play.app.return_code is not None)
        assert play.app.return_code == 4


async def test_keys_can_be_changed(stage: Stage):
    changes = ("jump=ctrl+g", "next-room=ctrl+n/f7")
    async with crew(stage, (120, 50), keys=changes) as play:
        assert "^G jump" in play.text
        await play.press("ctrl+k")
        await play.pilot.pause()
        assert not isinstance(play.app.screen, Dialog)
        await play.press("ctrl+g")
        await opens(play, JumpDialog)
        await play.press("escape")
        await play.until(lambda: not isinstance(play.app.screen, Dialog))
        order = rooms(stage)
        for number, key in ((1, "ctrl+n"), (2, "f7")):
            await play.press(key)
            await play.room_is(order[number])
        await play.press("f1")
        await play.sees("Ctrl+G", "Ctrl+N F7")
        await play.sees_no("Ctrl+K", "Alt+Down")


async def test_the_keys_of_an_action_can_be_taken_away(stage: Stage):
    async with crew(stage, keys=("search=",)) as play:
        assert "^F" not in play.text
        await play.press("ctrl+f")
        await play.pilot.pause()
        assert not isinstance(play.app.screen, Dialog)


@pytest.mark.parametrize(
    "change",
    [
        "juump=ctrl+j",
        "jump=ctrl+f",
        "jump",
        "jump=alt+1",
        "jump=ctrl+",
    ],
)
def test_a_change_of_keys_that_cannot_be_is_refused_with_a_sentence(change: str):
    with pytest.raises(ConfigError) as refused:
        chosen_keys((change,))
    assert "The setting keys" in str(refused.value)
    assert refused.value.hint


async def test_keys_that_cannot_be_are_said_and_the_usual_ones_hold(stage: Stage):
    async with crew(stage, keys=("juump=ctrl+g",)) as play:
        await play.sees("The setting keys")
        await play.press("f1")
        await opens(play, HelpDialog)


# ---------------------------------------------------------------- messages


async def test_up_selects_messages_and_down_leads_back(stage: Stage):
    async with crew(stage) as play:
        await play.press("up")
        await play.until(lambda: play.chosen == "That is quieter indeed, thanks Wren!")
        await play.press("up", "up", "up")
        await play.until(lambda: (play.chosen or "").startswith("@you can you"))
        await play.press("down", "down", "down", "down")
        await play.until(lambda: play.chosen is None)
        assert play.chat.composer.has_focus


async def test_esc_ends_the_selection(stage: Stage):
    async with crew(stage) as play:
        await play.press("up", "up")
        await play.until(lambda: play.chosen is not None)
        await play.press("escape")
        await play.until(lambda: play.chosen is None)
        await play.type("x")
        assert play.chat.composer.text == "x"


async def test_r_answers_the_selected_message(stage: Stage):
    async with crew(stage) as play:
        await play.press("up", "up", "up", "up", "r")
        await play.sees("reply to tomas")
        target = stage_message(play, "@you can")
        assert isinstance(play.chat.composer.mode, Reply)
        await play.enter("r: both")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(target.room, f"/reply {target.id.hex()} r: both")]
        await play.sees("message #harbour")


def stage_message(play: Play, start: str) -> Message:
    return next(message for message in _all(play) if message.text.startswith(start))


async def test_e_changes_ones_own_message_and_no_other(stage: Stage):
    async with crew(stage) as play:
        await play.press("up", "e")
        await play.sees("edit your message")
        target = stage_message(play, "That is quieter")
        await play.until(lambda: play.chat.composer.text == target.text)
        await play.enter(" Really.")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(target.room, f"/edit {target.id.hex()} {target.text} Really.")]
        await play.press("up", "up", "e")
        await play.sees("Only who wrote a message can change it.")
        assert len(stage.asked("obey")) == 1


async def test_plus_reacts_to_the_selected_message(stage: Stage):
    async with crew(stage) as play:
        await play.press("up", "up", "+")
        await opens(play, ReactDialog)
        target = stage_message(play, "```")
        await play.press("4")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(target.room, f"/react {target.id.hex()} 🎉")]


@pytest.mark.parametrize("key", ["r", "+"])
async def test_a_plain_message_can_be_neither_answered_nor_reacted_to_and_the_draft_stays(stage: Stage, key: str):
    general, author = stage.enter("general"), PeerKey(b"p" * 32)
    stage.history.append_plain(general, RecordId(b"m" * 32), author, "gopher", at("14:00"), "hi from the old days")
    stage.history.commit()
    async with playing(stage) as play:
        await play.type("half a line")
        await play.sees("hi from the old days")
        await play.click("hi from the old days", times=2)
        await play.until(lambda: play.chosen == "hi from the old days")
        await play.press(key)
        await play.sees("A [plain] message is no record that others could look up.")
        assert not isinstance(play.app.screen, Dialog)
        await play.press("escape")
        await play.until(lambda: play.chat.composer.has_focus)
        assert (play.chat.composer.text, play.chat.composer.mode) == ("half a line", Plain())
        assert stage.asked("obey") == []


async def test_y_copies_the_selected_message(stage: Stage):
    async with crew(stage) as play:
        await play.press("up", "up", "y")
        await play.sees("The message is in the clipboard.")
        assert play.app.clipboard == stage_message(play, "```").text


async def test_d_deletes_ones_own_message_after_asking(stage: Stage):
    async with crew(stage) as play:
        target = stage_message(play, "That is quieter")
        await play.press("up", "d")
        await opens(play, ConfirmDialog)
        await play.sees("delete it")
        await play.pilot.pause()
        await play.press("n")
        await play.until(lambda: not isinstance(play.app.screen, Dialog))
        assert stage.asked("obey") == []
        await play.press("d")
        await play.sees("delete it")
        await play.pilot.pause()
        await play.press("y")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(target.room, f"/delete {target.id.hex()}")]


async def test_changes_of_messages_in_the_middle_are_seen_in_their_place(stage: Stage):
    room = stage.enter("harbour")
    said = lines(stage, room, 60)
    async with playing(stage) as play:
        await play.sees("line 50", "line 59")
        row = play.where("line 50")[1]
        edited = stage.change("wren", Edit(said[50].id, "another text"), said[50])
        assert edited.edited
        await play.tell(Said(room, (edited,)))
        await play.sees("another text (edited)")
        assert play.where("another text")[1] == row
        gone = stage.change("maya", Retract(said[51].id), said[51])
        await play.tell(Said(room, (gone,)))
        await play.sees("message deleted")
        assert play.where("message deleted")[1] == row + 1
        await play.sees_no("line 51")
        liked = stage.change("you", React(said[52].id, "👍"), said[52])
        await play.tell(Said(room, (liked,)))
        await play.sees("👍 1")
        assert play.where("line 59")[1] == play.where("line 52")[1] + 8
        unliked = stage.change("you", React(said[52].id, "👍", add=False), said[52])
        await play.tell(Said(room, (unliked,)))
        await play.sees_no("👍 1")


async def test_an_answer_to_a_message_far_back_quotes_it(stage: Stage):
    room = stage.enter("harbour")
    first = stage.say("ines", "the anchor is under the bench", room)
    lines(stage, room, FAR)
    async with playing(stage) as play:
        await stage.tell_said(stage.say("kenji", Text("found it", reply_to=first.id), room))
        await play.sees("╭ ines the anchor is under the bench", "found it")


# ---------------------------------------------------------------- writing


async def test_what_was_begun_stays_with_its_room(stage: Stage):
    async with crew(stage) as play:
        await play.type("for the harbour")
        await play.press("alt+3")
        await play.sees("message #tides")
        assert play.chat.composer.text == ""
        await play.type("for the tides")
        await play.press("alt+1")
        await play.until(lambda: play.chat.composer.text == "for the harbour")
        await play.press("ctrl+u", "up", "r")
        await play.sees("reply to you")
        await play.type("half an")
        await play.press("alt+3")
        await play.until(lambda: play.chat.composer.text == "for the tides")
        await play.press("alt+1")
        await play.sees("reply to you")
        assert play.chat.composer.text == "half an"


async def test_lines_are_sent_to_the_room_on_the_screen_in_their_order(stage: Stage):
    async with crew(stage) as play:
        first, _, third, *_ = rooms(stage)
        await play.enter("one")
        await play.press("alt+3")
        await play.enter("two")
        await play.enter("/me three")
        await play.until(lambda: len(stage.asked("obey")) == 3)
        assert stage.asked("obey") == [(first, "one"), (third, "two"), (third, "/me three")]


async def test_sending_goes_to_the_end_and_ends_what_is_new(stage: Stage):
    async with crew(stage, (80, 24)) as play:
        await play.press("pageup")
        await play.settled()
        assert not play.chat.transcript.following
        await play.enter("here")
        await play.until(lambda: play.chat.transcript.following)
        await play.sees_no(" new ")


async def test_what_could_not_be_done_comes_back(stage: Stage):
    async with crew(stage) as play:
        room = rooms(stage)[0]
        await play.enter("/jion dev")
        await play.until(lambda: stage.asked("obey"))
        trouble = Note(room, "trouble", (line(Span("There is no command /jion.", "warn")),), at("14:30"))
        await play.tell(trouble, NotDone(room, "/jion dev"))
        await play.sees("There is no command /jion.")
        await play.until(lambda: play.chat.composer.text == "/jion dev")


async def test_the_text_of_an_answer_that_failed_comes_back_without_its_id(stage: Stage):
    async with crew(stage) as play:
        room = rooms(stage)[0]
        await play.tell(NotDone(room, f"/reply {'ab' * 32} see you"))
        await play.until(lambda: play.chat.composer.text == "see you")


async def test_typing_is_told_for_messages_and_not_for_commands(stage: Stage):
    async with crew(stage) as play:
        await play.type("/me")
        assert stage.asked("typing") == []
        await play.press("ctrl+u")
        await play.type("hi")
        await play.until(lambda: len(stage.asked("typing")) == 2)
        assert set(stage.asked("typing")) == {(rooms(stage)[0],)}


async def test_a_long_paste_is_asked_about(stage: Stage):
    pasted = "\n".join(f"row {n}" for n in range(20))
    async with crew(stage) as play:
        play.app.post_message(events.Paste(pasted))
        await opens(play, PasteDialog)
        await play.press("s")
        await play.until(lambda: stage.asked("obey"))
        assert stage.asked("obey") == [(rooms(stage)[0], pasted)]
        await play.until(lambda: not isinstance(play.app.screen, PasteDialog), "the end of the dialog")
        play.app.post_message(events.Paste(pasted))
        await opens(play, PasteDialog)
        await play.press("enter")
        await play.until(lambda: play.chat.composer.text == pasted)


@pytest.mark.timeout(180)
async def test_every_letter_arrives_while_500_messages_a_second_come(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 300)
    typed = "the quick brown fox jumps over the lazy dog"
    async with playing(stage) as play:
        batches = [
            stage.say_all([("maya", f"news {n} {m} and some more words to wrap") for m in range(15)], room)
            for n in range(200)
        ]
        left = iter(typed)
        for number, batch in enumerate(batches):
            await stage.tell_said(*batch)
            if number % 4 == 0 and (letter := next(left, "")):
                await play.type(letter)
        for letter in left:
            await play.type(letter)
        await play.until(lambda: play.chat.composer.text == typed)
        await play.until(lambda: bottom(play).endswith("words to wrap"))
        await play.sees("news 199 14")
        sheet = play.chat.transcript.sheet
        assert sheet is not None
        places = [entry.place for entry in sheet.entries]
        assert places == sorted(places)
        assert len(places) == 200 + 3_000


# ---------------------------------------------------------------- what was seen


async def test_messages_are_read_when_somebody_looks_at_the_end(stage: Stage):
    room = stage.enter("harbour")
    said = lines(stage, room, 100)
    async with playing(stage) as play:
        await play.until(lambda: stage.asked("read"))
        assert stage.asked("read")[-1] == (room, said[-1].place)
        await play.press("pageup", "pageup")
        await play.settled()
        before = len(stage.asked("read"))
        news = stage.say("maya", "not seen yet", room)
        await stage.tell_said(news)
        await play.settled()
        assert len(stage.asked("read")) == before
        await play.press("ctrl+end")
        await play.until(lambda: stage.asked("read")[-1] == (room, news.place))


async def test_nothing_is_read_while_nobody_looks_and_a_rule_shows_what_is_new(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 10)
    async with playing(stage) as play:
        await play.until(lambda: stage.asked("read"))
        assert " new " not in play.transcript
        before = len(stage.asked("read"))
        play.app.post_message(events.AppBlur())
        await play.until(lambda: stage.asked("look")[-1] == (room, False))
        news = [stage.say("maya", text, room) for text in ("one for later", "and another")]
        await stage.tell_said(*news)
        await play.sees("and another")
        rows = play.read_lines
        rule = next(n for n, row in enumerate(rows) if " new " in row)
        assert "line 9" in rows[rule - 1]
        assert "one for later" in rows[rule + 1]
        assert len(stage.asked("read")) == before
        play.app.post_message(events.AppFocus())
        await play.until(lambda: stage.asked("read")[-1] == (room, news[-1].place))
        assert stage.asked("look")[-1] == (room, True)
        assert " new " in play.transcript


async def test_unread_counts_follow_what_is_told(stage: Stage):
    async with crew(stage) as play:
        tides = rooms(stage)[2]
        stage.view(tides, unread=12)
        await play.tell(stage.around())
        await play.sees("12")
        stage.view(tides, unread=0)
        await play.tell(stage.around())
        await play.sees_no("12 ")


async def test_clear_empties_the_screen_and_scrolling_brings_it_back(stage: Stage):
    async with crew(stage) as play:
        await play.tell(Clear())
        await play.sees_no("thanks Wren!")
        await stage.tell_said(stage.say("wren", "a new page", rooms(stage)[0], time=at("15:00")))
        await play.sees("a new page")
        await play.press("pageup")
        await play.sees("thanks Wren!", "a new page")


# ---------------------------------------------------------------- who is typing


async def test_who_is_typing_is_said_until_their_message_comes(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(activity, "TYPING_SECONDS", 1000.0)  # longer than any test: no time ends it
    async with crew(stage) as play:
        room = rooms(stage)[0]
        await play.tell(Typing(room, "wren", 14), Typing(room, "maya", 7))
        await play.sees("wren and maya are typing…")
        caught_up = stage.say("wren", "said long ago", room, time=at("14:10"))
        await play.tell(Said(room, (caught_up,)))
        await stage.tell_said(stage.say("maya", "done", room, time=at("15:00")))
        await play.sees("said long ago", "│ done", "wren is typing…")
        await stage.tell_said(stage.say("wren", "me too", room))
        await play.sees("│ me too")
        await play.sees_no("typing…")


# ---------------------------------------------------------------- being called


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The notifications that went to the terminal; none is too soon after another."""
    written: list[str] = []

    def write(_: HeadlessDriver, text: str) -> None:
        if text == "\a" or text.startswith(("\x1b]9;", "\x1b]777;")):
            written.append(text)

    monkeypatch.setattr(HeadlessDriver, "write", write)
    monkeypatch.setattr(notify, "PAUSE", 0.0)
    return written


async def turn(play: Play, *, away: bool) -> None:
    """The person turns to another window, or back to this one, as terminals tell it."""
    for event_ in XTermParser().feed("\x1b[O" if away else "\x1b[I"):
        play.app.post_message(event_)
    await play.until(lambda: play.stage.asked("look")[-1] == (play.chat.room, not away), "the other focus")


async def says(play: Play, name: str, text: str, room: RoomId) -> None:
    """Somebody says something, and the screen has taken it in."""
    message = play.stage.say(name, text, room, time=at("15:00"))
    await play.stage.tell_said(message)
    # The backstage tells in order: what stands behind it is shown after it.
    await play.tell(Note(None, "event", (line(f"after {text}"),), at("15:00")))
    await play.sees(f"after {text}")


async def test_one_is_called_only_by_what_is_for_one_and_not_seen(stage: Stage, called: list[str]):
    async with crew(stage, notify="osc777") as play:
        harbour_, build, _, _, maya = rooms(stage)
        await says(play, "wren", "@you look here", harbour_)
        await says(play, "wren", "not for anybody", build)
        assert called == []
        await says(play, "wren", "@you look there", build)
        await says(play, "maya", "psst", maya)
        assert called == [
            "\x1b]777;notify;wren in #build-crew;@you look there\x1b\\",
            "\x1b]777;notify;maya in @maya;psst\x1b\\",
        ]
        called.clear()
        await turn(play, away=True)
        await says(play, "wren", "talking on", harbour_)
        assert called == []
        await says(play, "wren", "@you are away", harbour_)
        assert called == ["\x1b]777;notify;wren in #harbour;@you are away\x1b\\"]
        await turn(play, away=False)
        await says(play, "wren", "@you are back", harbour_)
        assert len(called) == 1


async def test_a_direct_message_calls_unless_its_room_is_looked_at(stage: Stage, called: list[str]):
    async with crew(stage, notify="bell") as play:
        maya = rooms(stage)[4]
        await play.press("alt+5")
        await play.room_is(maya)
        await says(play, "maya", "one", maya)
        assert called == []
        await turn(play, away=True)
        await says(play, "maya", "two", maya)
        assert called == ["\a"]


async def test_what_one_has_caught_up_with_calls_nobody(stage: Stage, called: list[str]):
    async with crew(stage, notify="bell") as play:
        room = rooms(stage)[0]
        await turn(play, away=True)
        await play.tell(Said(room, (stage.say("wren", "@you were called long ago", room, time=at("15:00")),)))
        await play.sees("called long ago")
        assert called == []


async def test_a_quiet_face_calls_all_the_same(stage: Stage, called: list[str]):
    async with crew(stage, notify="bell", quiet=True) as play:
        await turn(play, away=True)
        await says(play, "wren", "@you hello", rooms(stage)[0])
        assert called == ["\a"]


async def test_another_way_of_being_called_holds_from_the_next_message_on(stage: Stage, called: list[str]):
    async with crew(stage, notify="off") as play:
        maya = rooms(stage)[4]
        await says(play, "maya", "zero", maya)
        assert called == []
        for words, start in (("osc 9", "\x1b]9;"), ("osc 777", "\x1b]777;"), ("bell", "\a"), ("none", "")):
            await play.press("ctrl+k")
            await opens(play, JumpDialog)
            await play.type(f"notifications {words}")
            await play.press("enter")
            await play.until(lambda: not isinstance(play.app.screen, Dialog), "the end of the dialog")
            await says(play, "maya", f"by {words}", maya)
            assert [text[: len(start)] for text in called] == ([start] if start else [])
            called.clear()


# ---------------------------------------------------------------- ignoring


async def test_what_ignored_people_said_leaves_the_screen_and_comes_back(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "reader", lambda: Reader(stage.history.path, without_ignored=True))
    key = stage.key("maya")
    async with crew(stage) as play:
        await play.sees("│ Always. Bring a jacket", "thanks Wren!")
        stage.history.set_ignored(key, "maya", ignored=True)
        stage.history.commit()
        await play.tell(msgspec.structs.replace(stage.around(), ignored=frozenset({key})))
        await play.sees_no("Bring a jacket")
        await play.sees("room left on the", "thanks Wren!")
        stage.history.set_ignored(key, "maya", ignored=False)
        stage.history.commit()
        await play.tell(stage.around())
        await play.sees("│ Always. Bring a jacket", "room left on the", "thanks Wren!")


# ---------------------------------------------------------------- dialogs


@pytest.mark.parametrize(("key", "verified"), [("y", True), ("n", False)])
async def test_comparing_words_ends_with_an_answer_to_the_backstage(stage: Stage, key: str, verified: bool):
    async with crew(stage) as play:
        kenji = stage.key("kenji")
        words = tuple(f"word{n}" for n in range(8))
        await play.tell(Comparison(kenji, "kenji", words, ("01234",) * 8, False, at("14:05"), "relay"))
        await opens(play, VerifyDialog)
        await play.sees("word7", "they match")
        await play.pilot.pause()
        await play.press(key)
        await play.until(lambda: stage.asked("verify"))
        assert [(call[1], call[2]) for call in stage.calls if call[0] == "verify"] == [(kenji, verified)]


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        ("light theme", "theme", "light"),
        ("theme without", "theme", "none"),
        ("emoji as :names", "emoji", "codes"),
        ("notifications none", "notify", "off"),
    ],
)
async def test_choices_made_by_jumping_are_kept(stage: Stage, words: str, name: str, value: str):
    kept: list[tuple[str, str]] = []
    after = harbour(stage)
    async with playing(stage, save=lambda name, value: kept.append((name, value))) as play:
        await play.tell(*after)
        await play.press("ctrl+k")
        await play.type(words)
        await play.press("enter")
        await play.until(lambda: kept)
        assert kept == [(name, value)]
        if name == "theme":
            await play.until(lambda: play.app.theme == PALETTES[value].name)
        if name == "emoji":
            await play.sees(":waving_hand:")


def colour_of(play: Play, text: str) -> tuple[str, str]:
    """In which colours the screen shows the beginning of this text, and what is behind it."""
    column, row = play.where(text)
    at_ = 0
    for segment in play.app.screen._compositor.render_strips()[row]:
        at_ += segment.cell_length
        if at_ > column:
            assert segment.style is not None
            assert segment.style.color is not None
            assert segment.style.bgcolor is not None
            return segment.style.color.name, segment.style.bgcolor.name
    raise AssertionError(f"nothing is at {column}, {row}")


async def test_another_theme_changes_what_is_already_on_the_screen(stage: Stage):
    async with crew(stage) as play:
        texts = ("Then we leave", "thanks Wren!", "Any room left", "came · via relay")
        seen = {}
        for name in ("dark", "light"):
            await play.press("ctrl+k", *name, *"theme", "enter")
            await play.until(lambda: not isinstance(play.app.screen, Dialog))
            await play.settled()
            assert play.app.theme == PALETTES[name].name
            seen[name] = [colour_of(play, text) for text in texts]
            ground = PALETTES[name].background
            assert {behind for _, behind in seen[name]} == {ground}
            assert seen[name][0][0] == PALETTES[name].text
        assert all(dark != light for (dark, _), (light, _) in zip(seen["dark"], seen["light"], strict=True))


async def test_a_choice_that_cannot_be_kept_says_so(stage: Stage):
    def fails(name: str, value: str) -> None:
        raise StoreError("The disk is full.", hint="Make room.")

    after = harbour(stage)
    async with playing(stage, save=fails) as play:
        await play.tell(*after)
        await play.press("ctrl+k", *"light", "enter")
        await play.sees("The setting holds until the end of this run only", "Make room.")


async def test_a_history_that_cannot_be_read_is_told_and_nothing_ends(stage: Stage):
    async with crew(stage) as play:
        stage.trouble = StoreError("The history cannot be read: the disk is gone.", hint="Plug it in again.")
        await play.press("alt+3")
        await play.sees("The history cannot be read: the disk is gone.", "Plug it in again.")
        await play.press("ctrl+f", *"anchor")
        await play.sees("the disk is gone")
        await play.press("escape")
        stage.trouble = None
        await play.press("alt+1")
        await play.sees("thanks Wren!")
        lines(stage, rooms(stage)[2], 3)
        await play.press("alt+3")
        await play.sees("line 2")


# ---------------------------------------------------------------- mouse


async def test_clicks_on_rooms_people_and_hints(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        await play.click("build-crew")
        await play.room_is(order[1])
        await play.click("● maya")
        await play.room_is(order[4])
        await play.click("● wren")
        await play.until(lambda: stage.asked("open_direct"))
        assert stage.asked("open_direct") == [(stage.key("wren"),)]
        for hint, dialog in (("^F find", SearchDialog), ("F1 help", HelpDialog), ("^K", JumpDialog)):
            await play.click(hint)
            await opens(play, dialog)
            await play.press("escape")
            await play.until(lambda: not isinstance(play.app.screen, Dialog))
        assert play.chat.composer.has_focus


async def test_a_double_click_selects_a_message(stage: Stage):
    async with crew(stage) as play:
        await play.click("Bring a jacket", times=2)
        await play.until(lambda: (play.chosen or "").startswith("Always."))
        await play.press("r")
        await play.sees("reply to maya")


async def test_a_click_in_the_transcript_leaves_writing_possible(stage: Stage):
    async with crew(stage) as play:
        await play.click("Bring a jacket")
        await play.type("hello")
        await play.pilot.pause()
        assert play.chat.composer.text == "hello"


async def test_dragging_selects_text_and_ctrl_c_copies_it_without_what_is_left_of_it(stage: Stage):
    async with crew(stage) as play:
        await play.type("stays")
        x, y = play.where("Always. Bring")
        end, last = play.where("can you bring")
        await play.drag((x, y), (end + 2, last))
        await play.press("ctrl+c")
        await play.sees("Copied.")
        copied = play.app.clipboard.split("\n")
        assert copied[0] == "Always. Bring a jacket, the forecast says F4 gusting 6."
        assert copied[-1].startswith("@you can")
        assert "│" not in play.app.clipboard
        assert "tomas" not in play.app.clipboard
        assert "14:19" not in play.app.clipboard
        assert play.chat.composer.text == "stays"
        await play.press("ctrl+c")
        await play.until(lambda: play.chat.composer.text == "")


async def test_the_wheel_scrolls_back(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 300)
    async with playing(stage) as play:
        x, y = play.where("line 290")
        for _ in range(5):
            await play.pilot._post_mouse_events([events.MouseScrollUp], offset=(x, y), button=0)
        await play.until(lambda: not play.chat.transcript.following)
        await play.sees_no("line 299")


# ---------------------------------------------------------------- sizes


async def test_other_sizes_keep_the_end_and_come_back_the_same(stage: Stage):
    async with crew(stage) as play:
        before = play.read_lines
        for size in ((60, 20), (40, 12), (20, 6), (10, 3), (60, 20)):
            await play.pilot.resize_terminal(*size)
            await play.until(lambda: play.chat.transcript.following, f"the end at {size}")
        await play.sees("#harbour", "thanks Wren!")
        assert "PEERS" not in play.text
        await play.pilot.resize_terminal(120, 34)
        await play.sees("PEERS")
        await play.until(lambda: play.read_lines == before)


async def test_the_end_stays_in_view_while_the_composer_grows(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 100)
    async with playing(stage) as play:
        await play.press(*["x", "ctrl+j"] * 4)
        await play.sees("line 99")
        assert bottom(play).endswith("line 99")
        await stage.tell_said(stage.say("wren", "news", room))
        await play.until(lambda: bottom(play).endswith("news"))


async def test_other_sizes_keep_what_one_reads(stage: Stage):
    room = stage.enter("harbour")
    lines(stage, room, 400)
    async with playing(stage) as play:
        await play.press("pageup", "pageup", "pageup")
        await play.settled()
        first = top(play).split("│")[-1].strip()
        for size in ((60, 20), (120, 34)):
            await play.pilot.resize_terminal(*size)
            await play.pilot.pause()
            assert first in play.transcript


# ---------------------------------------------------------------- hostile text


HOSTILE = "[/b][@click=app.quit]x[/] \x1b]52;c;AAAA\x07 \x9b2J [red"


async def test_no_text_of_others_is_taken_for_markup_or_reaches_the_terminal_as_it_is(stage: Stage):
    room = stage.enter("harbour", topic="[/b][red")
    stage.meet("maya", status="[/b][red")
    stage.peers["maya"] = msgspec.structs.replace(stage.peers["maya"], name="[/b]maya", presence="away")
    stage.view(room, label="#[/b][red")
    message = stage.say("maya", "[/b][@click=app.quit]x[/]", room)
    async with playing(stage) as play:
        await play.sees("[/b][@click=app.quit]x[/]", "[/b]maya")
        await play.tell(event(HOSTILE, time=at("14:00"), room=room))
        await play.tell(Comparison(stage.key("maya"), "[/b]maya", ("a",) * 8, ("1",) * 8, False, 0, ""))
        await play.sees("Verify [/b]maya")
        await play.press("escape")
        await play.tell(Found("[/b]", (message,)))
        await play.sees("1 message")
        await play.press("escape", "ctrl+k", *"[/b]")
        await play.sees("Search history for “[/b]”")
        await play.press("escape")
        await play.press("up", "r")
        await play.sees("reply to ")
        await play.press("escape", "up", "plus")
        await play.sees("thank you")
        assert "\x1b" not in play.text
        assert "\x9b" not in play.text


async def test_keys_struck_at_once_after_up_are_for_the_selected_message(stage: Stage):
    async with crew(stage) as play:
        for key in ("up", "up", "r", "o", "k", "enter"):  # all in the queue before the first has been done
            play.app.post_message(events.Key(key, key if len(key) == 1 else None))
        await play.until(lambda: any(text.endswith(" ok") for _, text in stage.asked("obey")))
        ((_, text),) = stage.asked("obey")
        assert text.startswith("/reply ")
        await play.until(lambda: play.chat.composer.has_focus)
        await play.type("more")
        assert play.chat.composer.text == "more"


async def test_a_room_that_could_not_be_read_is_read_when_something_is_said_there(stage: Stage):
    async with crew(stage) as play:
        tides = rooms(stage)[2]
        stage.trouble = StoreError("The history cannot be read: the disk is gone.", hint="Plug it in again.")
        await play.press("alt+3")
        await play.sees("the disk is gone")
        stage.trouble = None
        await stage.tell_said(*lines(stage, tides, 3))
        await play.sees("line 0", "line 2")


def strike(play: Play, *keys: str) -> None:
    """Strike keys, all of them before the first has been done."""
    for key in keys:
        play.app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_a_line_goes_to_the_room_it_was_typed_in_whatever_key_comes_right_behind_it(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        strike(play, *"hi", "enter", *"dra", "alt+2")
        await play.room_is(order[1])
        assert stage.asked("obey") == [(order[0], "hi")]
        assert play.chat.composer.text == ""
        await play.press("alt+1")
        await play.until(lambda: play.chat.composer.text == "dra")


async def test_a_line_is_sent_though_the_person_leaves_right_behind_it(stage: Stage):
    async with crew(stage) as play:
        strike(play, *"bye", "enter", "ctrl+q")
        await play.until(lambda: play.app.return_code is not None)
        assert stage.asked("obey") == [(rooms(stage)[0], "bye")]


async def test_what_is_typed_behind_a_command_goes_along_to_the_room_it_leads_to(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        await play.type("for the new room")
        await play.tell(Show(order[2]))
        await play.room_is(order[2])
        assert play.chat.composer.text == "for the new room"


async def test_a_text_that_failed_elsewhere_waits_in_its_room(stage: Stage):
    async with crew(stage) as play:
        order = rooms(stage)
        await play.tell(NotDone(order[1], "for the crew"))
        assert play.chat.composer.text == ""
        await play.press("alt+2")
        await play.until(lambda: play.chat.composer.text == "for the crew")


async def test_a_command_chosen_in_jump_does_not_destroy_what_was_being_written(stage: Stage):
    async with crew(stage) as play:
        await play.type("a long thought")
        await play.press("ctrl+k", *"/topic", "enter")
        await play.until(lambda: play.chat.composer.text.startswith("/topic"))
        await play.press("ctrl+c", "ctrl+p", "ctrl+p")
        await play.until(lambda: play.chat.composer.text == "a long thought")
