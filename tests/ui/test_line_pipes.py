"""Line mode without a terminal: pipes, signals, ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.program import Program
from tests.ui.pipe import Pipe

Start = Callable[..., Pipe]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack: ExitStack, tmp_path: Path, multicast: str) -> Start:
    """Start somebody in plain mode."""

    def begin(nick: str, *args: str, read: bool = True) -> Pipe:
        return stack.enter_context(Pipe(tmp_path / nick, "--nick", nick, "--plain", *args, read=read))

    return begin


@pytest.fixture
def bob(stack: ExitStack, tmp_path: Path, multicast: str) -> Program:
    return stack.enter_context(Program("bob", tmp_path / "bob")).ready()


def linked(program: Program, nick: str) -> None:
    program.wait(lambda me: nick in me.linked(), what=f"a link to {nick}")


# ---------------------------------------------------------------- talking


def test_two_that_were_only_started_find_each_other_and_talk(start: Start):
    alice, bob = start("alice"), start("bob")
    alice.sees("· bob is here (lan)")
    bob.sees("· alice is here (lan)")
    alice.say("hello bob")
    bob.sees("alice: hello bob")
    bob.say("hello alice", "/quit")
    alice.sees("bob: hello alice", "· bob is gone")
    assert bob.ended() == 0
    alice.say("/quit")
    assert alice.ended() == 0
    assert [line for line in alice.lines if "·" not in line] == ["alice: hello bob", "bob: hello alice"]


def test_messages_are_data_and_the_rest_is_narration(start: Start):
    alice = start("alice")
    alice.say("hello", "/nope")
    alice.end()
    assert alice.ended() == 0
    assert alice.lines == ["alice: hello"]
    assert "Sandpiper" in alice.narration
    assert "! There is no command /nope" in alice.narration
    assert b"\x1b" not in alice.out + alice.aside


def test_json_is_the_only_thing_on_stdout(start: Start):
    alice = start("alice", "--json", "--linger", "0")
    alice.say("hello", "/nope", "/who", "/help")
    alice.end()
    assert alice.ended() == 0
    events = [json.loads(line) for line in alice.text.splitlines()]
    assert events[0]["event"] == "ready"
    assert {event["v"] for event in events} == {1}
    assert [event["text"] for event in events if event["event"] == "message"] == ["hello"]
    assert [event["code"] for event in events if event["event"] == "error"] == ["no_command"]
    assert alice.narration == ""


def test_what_is_sent_and_ended_at_once_still_arrives(start: Start, bob: Program):
    alice = start("alice", "--linger", "20")
    alice.say("quick")
    alice.end()
    assert alice.ended() == 0
    assert "quick" in bob.texts()
    assert "not with everybody" not in alice.narration


def test_what_nobody_received_is_said_kept_and_delivered_the_next_time(start: Start, bob: Program, tmp_path: Path):
    bob.stop()
    alice = start("alice", "--linger", "0.2")
    alice.say("for later")
    alice.end()
    assert alice.ended() == 0
    assert "Nobody was in #general to receive what you sent. It is kept, and goes out when you meet." in alice.narration
    start("alice")
    with Program("bob", tmp_path / "bob").ready() as again:
        again.wait(lambda me: "for later" in me.texts())


def test_a_last_line_without_a_newline_counts(start: Start, bob: Program):
    alice = start("alice")
    linked(bob, "alice")
    alice.write(b"one\r\ntwo")
    alice.end()
    assert alice.ended() == 0
    assert bob.texts() == ["one", "two"]


def test_bytes_that_are_no_text_do_no_harm(start: Start, bob: Program):
    alice = start("alice")
    linked(bob, "alice")
    alice.write(b"\xff\xfe\x00 caf\xc3\xa9 \xed\xa0\x80 \x1b[2J\x9b\n\n   \nend\n")
    bob.wait(lambda me: me.texts()[-1:] == ["end"])
    assert len(bob.texts()) == 2
    assert "café" in bob.texts()[0]
    assert "\x1b" not in bob.texts()[0]
    alice.sees("alice: end")
    assert b"\x1b" not in alice.out


def test_a_line_over_64_kib_is_refused_and_the_next_is_taken(start: Start, bob: Program):
    alice = start("alice")
    linked(bob, "alice")
    alice.write(b"x" * 300_000 + b"\nshort\n" + b"y" * 20_000 + b"\nend\n")
    bob.wait(lambda me: me.texts() == ["short", "end"])
    alice.sees("longer than 64 KiB and was not sent", "20,000 characters; 16,000 is the most")


def test_a_thousand_lines_through_a_pipe_arrive_once_and_are_kept_in_order(start: Start, bob: Program):
    alice = start("alice", "--linger", "30")
    linked(bob, "alice")
    said = [f"line {number}" for number in range(1000)]
    alice.say(*said)
    alice.end()
    assert alice.ended(60) == 0
    bob.wait(lambda me: len(me.texts()) == 1000)
    assert sorted(bob.texts()) == sorted(said)
    assert [message.text for message in bob.history()] == said


# ---------------------------------------------------------------- who is there


def test_peers_lists_who_answers_now_then_who_was_met(start: Start, bob: Program, tmp_path: Path):
    alice = start("alice")
    alice.sees("bob is here")
    carol = start("carol")
    alice.sees("carol is here")
    carol.say("/quit")
    alice.sees("carol is gone")
    command = [sys.executable, "-m", "sandpiper", "--nick", "alice", "peers"]
    env = {**os.environ, "SANDPIPER_HOME": str(tmp_path / "alice")}
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=30, check=True, env=env)
    found = {event["nick"]: event for event in map(json.loads, done.stdout.splitlines())}
    assert {nick: event["here"] for nick, event in found.items()} == {"alice": True, "bob": True, "carol": False}
    assert found["bob"]["addresses"]
    assert found["bob"]["key"] == bob.of("ready")[0]["key"]
    assert found["carol"]["last_seen"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=env)
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["alice", "here"],
        ["bob", "here"],
        ["carol", "seen"],
    ]


# ---------------------------------------------------------------- ending


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)])
def test_signals_say_goodbye(start: Start, bob: Program, number: signal.Signals, code: int):
    alice = start("alice")
    linked(bob, "alice")
    alice.say("before")
    bob.wait(lambda me: me.texts() == ["before"])
    alice.process.send_signal(number)
    assert alice.ended() == code
    bob.wait(lambda me: not me.linked(), 5, "alice gone")
    assert "Traceback" not in alice.narration


def test_a_second_interrupt_does_not_wait(start: Start):
    alice = start("alice")
    alice.sees("OPEN")
    alice.process.send_signal(signal.SIGSTOP)  # so that it finds both at once
    alice.process.send_signal(signal.SIGINT)
    alice.process.send_signal(signal.SIGTERM)
    alice.process.send_signal(signal.SIGCONT)
    assert alice.ended(5) in (0, 130)


def test_a_reader_that_has_read_enough_is_no_error(start: Start, bob: Program):
    alice = start("alice", read=False)
    linked(bob, "alice")
    assert alice.process.stdout is not None
    alice.process.stdout.close()
    bob.say("anybody?")
    assert alice.ended() == 0
    assert "Traceback" not in alice.narration
    assert "Errno" not in alice.narration


def test_a_reader_that_does_not_read_does_not_stop_the_chat(start: Start, bob: Program):
    alice = start("alice", read=False)
    linked(bob, "alice")
    big = "x" * 4000
    bob.say(*(f"{number} {big}" for number in range(300)))  # 1.2 MB, many times what a pipe holds
    alice.say("still here")
    bob.wait(lambda me: "still here" in me.texts())
    alice.read()
    alice.sees("bob: 299 ")
    heard = [line.split()[1] for line in alice.lines if line.startswith("bob: ") or line.startswith("bob (late): ")]
    assert sorted(map(int, heard)) == list(range(300))


def test_stdin_and_stdout_may_be_closed(tmp_path: Path, multicast: str):
    shell = 'python -m sandpiper --nick alice --linger 0 "$@" <&- >&-; echo code $? >&2'
    done = subprocess.run(
        ["bash", "-c", shell.replace("python", sys.executable, 1)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "SANDPIPER_HOME": str(tmp_path)},
    )
    assert "code 0" in done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------- two of one profile


def test_a_second_start_of_a_profile_is_somebody_else_and_says_so(start: Start, bob: Program):
    one = start("alice")
    one.sees("you are alice ")
    two = start("alice")
    two.sees("The profile alice is in use, so you are alice-2 with a temporary identity, gone when you quit.")
    linked(bob, "alice")
    linked(bob, "alice-2")
    one.sees("alice-2")
    two.say("/status")
    two.sees("alice-2, a temporary identity")


# ---------------------------------------------------------------- the old dialect


def test_the_old_spelling_starts_the_old_dialect_too(stack: ExitStack, tmp_path: Path, multicast: str):
    code = "import sys; from sandpiper.cli import p2pchat_main; sys.exit(p2pchat_main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "-username", "alice", "-port=18080", "-multicast", multicast, "-debug=false"],
        input="/status\n",
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "SANDPIPER_HOME": str(tmp_path)},
    )
    assert done.returncode == 0
    assert "you are alice" in done.stderr
    assert "port 18080" in done.stderr
    assert "PLAIN" in done.stderr
    assert "alice, profile alice" in done.stdout
