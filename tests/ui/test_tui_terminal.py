"""The full-screen face on a real terminal: keys in, bytes out, and the terminal as it was afterwards."""

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("a pty is a thing of POSIX", allow_module_level=True)

from sandpiper.faces.tui.dialogs.paste import PasteDialog
from sandpiper.faces.tui.terminal import BURST_SECONDS
from tests.program import Program
from tests.ui.screen import PROGRAM, Screen

pytestmark = pytest.mark.timeout(180)  # several programs start, on a machine that may be busy

PATIENCE = 60.0  # seconds for what must happen, however busy the machine is

READY = "#general ─"  # the composer's border
PASTE_PAUSE = PasteDialog.PAUSE + 0.5
BEHIND_PASTE = 2 * BURST_SECONDS  # before that everything is of the paste: nobody strikes a key so soon
LIVELY = re.compile(r" *\d+ms|[▁-█▔▕]")  # what may change at any time, and the ends of the scrollbar

Open = Callable[..., Screen]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack: ExitStack, tmp_path: Path, multicast: str) -> Open:
    """Somebody in front of a whole screen, ready to type."""

    def open_screen(nick: str = "alice", *args: str, ready: str = READY, **kwargs: Any) -> Screen:
        size = {"columns": 100, "rows": 30, **kwargs}
        screen = stack.enter_context(Screen(tmp_path / nick, "--nick", nick, *args, **size))
        sees(screen, ready)
        return screen

    return open_screen


@pytest.fixture
def alice(start: Open) -> Screen:
    return start()


@pytest.fixture
def bob(stack: ExitStack, tmp_path: Path, alice: Screen) -> Program:
    """Bob is a program, linked to alice."""
    program = stack.enter_context(Program("bob", tmp_path / "bob")).ready(PATIENCE)
    program.links({"alice"}, PATIENCE)
    sees(alice, "bob is here (lan)")
    return program


def sees(screen: Screen, *texts: str) -> None:
    for text in texts:
        screen.until(lambda me, text=text: text in me.text, text, PATIENCE)  # type: ignore[misc]


def lasting(screen: Screen) -> str:
    """What is shown, but for what may change at any time."""
    return "\n".join(LIVELY.sub("", row).rstrip() for row in screen.cells)


def hears(program: Program, *texts: str) -> None:
    """Until exactly these messages have come, in this order."""
    program.wait(lambda me: len(me.texts()) >= len(texts), PATIENCE, f"{len(texts)} messages")
    assert program.texts() == list(texts)


def log_of(tmp_path: Path, nick: str = "alice") -> str:
    return "".join(path.read_text() for path in (tmp_path / nick).rglob("sandpiper.log"))


def is_empty(screen: Screen) -> bool:
    """Nothing stands in the composer of one line."""
    return bool(re.search(r"│ +│$", screen.lines[-3]))


def frame_stands(screen: Screen, columns: int, rows: int) -> bool:
    """All parts of a screen of this size (with a sidebar) are where they belong."""
    cells = screen.cells
    if (len(cells), len(cells[0])) != (rows, columns) or "message #general" not in cells[-4]:
        return False
    left = cells[-4].index("╭")
    return (
        cells[-4].rstrip().endswith("╮")
        and cells[-2].rstrip().endswith("╯")
        and cells[-2][left] == "╰"
        and cells[-3][left] == "│" == cells[-3].rstrip()[-1]
        and "≈ sandpiper" in cells[1][:left]
        and "# general" in cells[1][left:]
        and re.match(" (● lan|○ nobody linked) ", cells[-1]) is not None
    )


# ---------------------------------------------------------------- talking


def test_what_is_said_goes_both_ways_and_shows_who_holds_it(alice: Screen, bob: Program) -> None:
    alice.type("hello bob\r")
    hears(bob, "hello bob")
    sees(alice, "hello bob  ✓✓")
    bob.say("hello alice")
    alice.until(lambda me: re.search(r"bob [│▌] hello alice", me.text), "bob's answer", PATIENCE)
    assert alice.text.count("hello bob") == 1


def test_two_full_screens_talk_to_each_other(start: Open) -> None:
    alice, bob = start("alice"), start("bob", columns=80, rows=24)
    sees(alice, "bob is here (lan)")
    sees(bob, "alice is here (lan)")
    alice.type("do you see this?\r")
    sees(bob, "do you see this?")
    bob.type("yes, whole\r")
    sees(alice, "yes, whole")
    sees(bob, "yes, whole  ✓✓")
    bob.type("\x11")
    sees(alice, "bob is gone")
    assert bob.ended(PATIENCE) == 0


def test_a_burst_of_lines_arrives_whole_and_in_order(alice: Screen, bob: Program) -> None:
    burst = ["hello", "world", *(f"line {number} of the burst" for number in range(50))]
    alice.type("".join(f"{line}\r" for line in burst))
    hears(bob, *burst)
    sees(alice, "line 49 of the burst")
    alice.until(is_empty, "an empty composer", PATIENCE)


def test_keys_struck_while_messages_arrive_are_kept_in_order(alice: Screen, bob: Program) -> None:
    bob.say(*(f"noise {number}" for number in range(100)))
    said = [f"word {number}" for number in range(20)]
    for line in said:
        alice.type(line[:3])
        alice.type(f"{line[3:]}\r")
    bob.wait(lambda me: sum(text.startswith("word") for text in me.texts()) >= 20, PATIENCE, "20 lines")
    assert [text for text in bob.texts() if text.startswith("word")] == said
    bob.say("the last one")
    sees(alice, "the last one")


@pytest.mark.parametrize(
    ("second", "first"),
    [("\x1b2", "\x1b1"), ("\x1b[50;3u", "\x1b[49;3u")],
    ids=["escape in front", "newer keyboard protocol"],
)
def test_alt_and_a_digit_go_to_a_room_whatever_the_terminal_sends_for_it(
    alice: Screen, second: str, first: str
) -> None:
    alice.type("/join zoo\r")
    sees(alice, "message #zoo")
    alice.type(first)
    sees(alice, "message #general")
    alice.type(second)
    sees(alice, "message #zoo")


# ---------------------------------------------------------------- pasting


def test_a_long_paste_asks_and_is_sent_as_one_message(alice: Screen, bob: Program) -> None:
    text = "\n".join(f"pasted {number}" for number in range(200))
    alice.paste(text)
    sees(alice, "You pasted 200 lines", "send it as one message")
    time.sleep(PASTE_PAUSE)  # the dialog takes no answer from somebody who goes on typing
    alice.type("s")
    hears(bob, text)
    sees(alice, "… 101 more lines  ✓✓")  # of so long a message, until it is selected
    alice.type("\x1b[A")
    sees(alice, "│ pasted 0")
    alice.type("\x1b[6~" * 10)
    sees(alice, "│ pasted 199")


def test_a_short_paste_waits_in_the_composer(alice: Screen, bob: Program) -> None:
    text = "\n".join(f"pasted {number}" for number in range(5))
    alice.paste(text)
    sees(alice, "│ pasted 0", "│ pasted 4")
    assert "You pasted" not in alice.text
    assert bob.texts() == []
    time.sleep(BEHIND_PASTE)
    alice.type("\r")
    hears(bob, text)


def test_a_paste_that_fits_no_message_is_refused_whole(alice: Screen, bob: Program) -> None:
    alice.paste("a line of it\n" * 80_000)  # a megabyte
    sees(alice, "What you pasted has 1,04")
    time.sleep(BEHIND_PASTE)
    alice.type("still here\r")
    hears(bob, "still here")


def test_what_looks_like_keys_in_a_paste_is_text(alice: Screen, bob: Program) -> None:
    alice.paste("a\x03b\x04\x11c")
    sees(alice, "│ a␃b␄␑c")
    time.sleep(BEHIND_PASTE)
    alice.type("\r")
    hears(bob, "a␃b␄␑c")


def test_nothing_in_a_paste_acts_whatever_escapes_are_in_it(alice: Screen, bob: Program) -> None:
    alice.paste("ha\x1b[31m" + "\x1b[13u" * 12 + "\x1b\x1b\n/quit\n\x11")
    sees(alice, "│ ha[31m[13u", "/quit")
    assert bob.texts() == []
    time.sleep(BEHIND_PASTE)
    alice.type("\x03")
    alice.until(is_empty, "an empty composer", PATIENCE)
    alice.type("still here\r")
    hears(bob, "still here")


def test_the_end_of_a_paste_inside_it_lets_nothing_act_in_the_same_burst(alice: Screen, bob: Program) -> None:
    alice.paste("ha\x1b[201~ secret\n/quit\n\x03\x03\x11\x04")
    sees(alice, "│ ha secret", "│ /quit")
    time.sleep(BEHIND_PASTE)
    alice.type("\x03")
    alice.until(is_empty, "an empty composer", PATIENCE)
    alice.type("still here\r")
    hears(bob, "still here")


def test_one_is_called_while_the_terminal_says_that_nobody_looks(alice: Screen, bob: Program) -> None:
    bells = alice.raw.count(b"\a")
    bob.say("alice, do you see this?")
    sees(alice, "do you see this?")
    assert alice.raw.count(b"\a") == bells
    alice.type("\x1b[O")
    bob.say("talking on")
    sees(alice, "talking on")
    assert alice.raw.count(b"\a") == bells
    bob.say("alice, where are you?")
    alice.until(lambda me: me.raw.count(b"\a") == bells + 1, "a bell", PATIENCE)
    alice.type("\x1b[I")
    alice.type("here\r")
    hears(bob, "alice, do you see this?", "talking on", "alice, where are you?", "here")


# ---------------------------------------------------------------- sizes


def test_a_storm_of_sizes_leaves_the_last_one_painted_right(alice: Screen, bob: Program) -> None:
    sizes = [(20 + 140 * (step % 7) // 6 + step, 5 + 50 * (step % 5) // 4) for step in range(40)]
    for number, (columns, rows) in enumerate(sizes):
        alice.resize(columns, rows)
        bob.say(f"message {number} of the storm")
    alice.resize(200, 60)
    alice.resize(120, 40)
    bob.say("the storm is over")
    sees(alice, "the storm is over")
    alice.until(lambda me: frame_stands(me, 120, 40), "the frame", PATIENCE)
    alice.until(lambda me: "message 10 of the storm" in me.text, "what came during the storm", PATIENCE)
    alice.until(lambda me: "No messages yet" not in me.text, "a screen that knows of the messages", PATIENCE)
    painted = lasting(alice)
    alice.resize(60, 20)
    alice.until(lambda me: "enter send · / commands" in me.cells[-2], "the narrow screen", PATIENCE)
    alice.resize(120, 40)
    alice.until(lambda me: lasting(me) == painted, f"the same as after the storm:\n{painted}", PATIENCE)


def test_a_tiny_terminal_is_no_reason_to_fail(start: Open) -> None:
    alice = start(ready="# gene…", columns=10, rows=3)
    alice.type("x\r")
    alice.resize(100, 30)
    alice.until(lambda me: frame_stands(me, 100, 30), "the frame", PATIENCE)
    sees(alice, "│ x")
    alice.resize(1, 1)
    alice.resize(100, 30)
    alice.until(lambda me: frame_stands(me, 100, 30), "the frame again", PATIENCE)
    alice.type("\x11")
    assert alice.ended(PATIENCE) == 0


def test_the_terminal_knows_its_size_better_than_the_environment(start: Open) -> None:
    alice = start(columns=100, rows=30, env={"COLUMNS": "80", "LINES": "24"})
    alice.until(lambda me: frame_stands(me, 100, 30), "the frame", PATIENCE)


# ---------------------------------------------------------------- ending


def test_ctrl_c_clears_the_line_then_asks_then_ends(alice: Screen) -> None:
    alice.type("never mind")
    sees(alice, "│ never mind")
    alice.type("\x03")
    alice.until(is_empty, "an empty composer", PATIENCE)
    alice.type("\x03")
    sees(alice, "once more quits")
    alice.type("\x03")
    assert alice.ended(PATIENCE) == 130
    alice.last_words()
    assert alice.is_given_back


@pytest.mark.parametrize("keys", ["\x04", "\x11", "/quit\r"], ids=["ctrl+d", "ctrl+q", "/quit"])
def test_leaving_is_a_goodbye_and_gives_the_terminal_back(alice: Screen, bob: Program, keys: str) -> None:
    alice.type(keys)
    assert alice.ended(PATIENCE) == 0
    bob.links(set(), PATIENCE)
    alice.last_words()
    assert alice.is_given_back
    assert alice.raw.rpartition(b"\x1b[?1049l")[2].count(b"\n") == 0, "something was said after the end"


def test_ctrl_d_in_a_line_does_not_end(alice: Screen, bob: Program) -> None:
    alice.type("ab\x1b[D\x04\r")
    hears(bob, "a")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_signals_say_goodbye_and_give_the_terminal_back(
    alice: Screen, bob: Program, number: signal.Signals, code: int
) -> None:
    alice.type("unfinished")
    sees(alice, "│ unfinished")
    alice.process.send_signal(number)
    assert alice.ended(PATIENCE) == code
    bob.links(set(), PATIENCE)
    alice.last_words()
    assert alice.is_given_back


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_closed_terminal_is_a_goodbye(alice: Screen, bob: Program, tmp_path: Path, busy: bool) -> None:
    if busy:
        bob.say(*(f"message {number}" for number in range(200)))
    alice.hang_up()
    assert alice.ended(PATIENCE) == 0
    bob.links(set(), PATIENCE)
    assert "Traceback" not in log_of(tmp_path)


CRASH = """
import sys
from sandpiper.faces.tui import chat
from sandpiper.faces.tui.views import Said

class Broken(chat.Chat):
    def take(self, update, **piece):
        if isinstance(update, Said) and not update.messages[0].text.startswith("harmless"):
            local_variable = update.messages[0].text
            raise RuntimeError("this was broken on purpose")
        super().take(update, **piece)

from sandpiper.faces.tui import app
app.Chat = Broken
from sandpiper.cli import main
sys.argv[0] = "sandpiper"
sys.exit(main())
"""


def test_a_failure_gives_the_terminal_back_and_says_where_the_log_is(
    stack: ExitStack, start: Open, tmp_path: Path
) -> None:
    alice = start(program=(sys.executable, "-c", CRASH))
    bob = stack.enter_context(Program("bob", tmp_path / "bob")).ready(PATIENCE)
    bob.links({"alice"}, PATIENCE)
    bob.say("harmless")
    sees(alice, "harmless")
    bob.say("a very private matter")
    assert alice.ended(PATIENCE) == 1
    bob.links(set(), PATIENCE)
    alice.last_words()
    assert alice.is_given_back
    (log_file,) = (tmp_path / "alice").rglob("sandpiper.log")
    last_words = alice.raw.decode().rpartition("\x1b[?1049l")[2]
    (sentence,) = re.findall(r"Sandpiper has failed.*", last_words)
    assert str(log_file) in sentence
    assert "this was broken on purpose" in sentence
    assert b"Traceback" not in alice.raw
    assert b"local_variable" not in alice.raw
    assert b"private matter" not in alice.raw
    log = log_of(tmp_path)
    assert "Traceback" in log
    assert "this was broken on purpose" in log
    assert "private matter" not in log


# ---------------------------------------------------------------- terminals that are odd


def test_a_terminal_that_stands_still_does_not_stop_the_node(alice: Screen, bob: Program) -> None:
    alice.stand_still()
    big = "x" * 2000
    bob.say(*(f"{number} {big}" for number in range(300)), "the end")
    bob.wait(lambda me: me.texts()[-1:] == ["the end"], PATIENCE, "the end")
    bob.wait(lambda me: me.of("delivery")[-1]["delivered"] == 1 and len(me.of("delivery")) > 300, PATIENCE, "delivery")
    assert bob.linked() == {"alice"}
    alice.go_on()
    sees(alice, "the end")
    alice.type("I am back\r")
    bob.wait(lambda me: me.texts()[-1] == "I am back", PATIENCE, "alice's word")


def test_signals_end_a_chat_whose_terminal_stands_still(alice: Screen, bob: Program) -> None:
    alice.stand_still()
    bob.say(*(f"{number} {'x' * 2000}" for number in range(300)), "the end")
    bob.wait(lambda me: me.texts()[-1:] == ["the end"], PATIENCE, "the end")
    bob.wait(lambda me: len(me.of("delivery")) > 300, PATIENCE, "delivery")
    alice.process.send_signal(signal.SIGTERM)
    alice.process.send_signal(signal.SIGTERM)
    assert alice.ended(PATIENCE) in (0, 130)


def test_bytes_that_are_no_text_do_not_end_the_chat(alice: Screen, bob: Program) -> None:
    alice.type_raw(b"a\xff\xc3(\xed\xa0\x80b\r")
    bob.wait(lambda me: me.texts(), PATIENCE, "a message")
    assert re.fullmatch(r"a\W+b", bob.texts()[0])


def test_without_a_terminal_for_errors_there_are_lines(start: Open, tmp_path: Path) -> None:
    """The screen is drawn on stderr, so that one must be a terminal, too."""
    log = tmp_path / "log"
    alice = start(ready="#general 0 ▸", program=("sh", "-c", f'exec "$0" "$@" 2>{log}', *PROGRAM))
    alice.type("hello\r")
    sees(alice, "alice: hello")
    assert b"\x1b[?1049h" not in alice.raw
    assert "\x1b" not in log.read_text()
    alice.type("\x04")
    assert alice.ended(PATIENCE) == 0


# ---------------------------------------------------------------- the first start


def test_the_first_start_suggests_a_nick_and_enter_accepts_it(stack: ExitStack, tmp_path: Path, multicast: str) -> None:
    screen = stack.enter_context(Screen(tmp_path / "new", env={"LOGNAME": "robin"}, columns=100, rows=30))
    sees(screen, "What should others call you?", "robin")
    screen.type("\r")
    sees(screen, READY, "● robin")
    screen.type("\x11")
    assert screen.ended(PATIENCE) == 0
    again = stack.enter_context(Screen(tmp_path / "new", env={"LOGNAME": "wren"}, columns=100, rows=30))
    sees(again, READY, "● robin")
    assert "others call you" not in again.raw.decode()


def test_leaving_at_the_first_question_begins_nothing(stack: ExitStack, tmp_path: Path, multicast: str) -> None:
    screen = stack.enter_context(Screen(tmp_path / "new"))
    sees(screen, "What should others call you?")
    screen.type("\x1b")
    assert screen.ended(PATIENCE) == 2
    screen.last_words()
    assert screen.is_given_back
    assert "No nick was chosen" in screen.raw.decode().rpartition("\x1b[?1049l")[2]
    assert not (tmp_path / "new" / "profiles").exists()


def test_a_second_start_of_one_nick_is_somebody_for_this_run(start: Open) -> None:
    first, second = start("alice"), start("alice")
    sees(second, "temporary identity")
    assert "temporary" not in first.text
    first.type("which of us?\r")
    sees(second, "which of us?")
