"""The command line: what is said when, where, and with which exit code."""

import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

CHAT = ["hello there", "a pizza on friday", "/react ^ 👍", "third\tline", "/edit ^ third *line*", "/topic tides"]


@pytest.fixture
def run(tmp_path: Path, multicast: str) -> Run:
    def go(*args: str, stdin: str = "", env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "sandpiper", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "SANDPIPER_HOME": str(tmp_path / "home"), **(env or {})},
        )

    return go


@pytest.fixture
def chatted(run: Run) -> Run:
    """Alice has said some things."""
    done = run("--nick", "alice", "--linger", "0", stdin="\n".join(CHAT))
    assert done.returncode == 0, done.stderr
    return run


# ---------------------------------------------------------------- at once


def test_version_and_help_load_nothing_heavy():
    code = (
        "import sys; before = set(sys.modules)\n"
        "from sandpiper.cli import main\n"
        "for arguments in (['--version'], ['--help'], ['history', '--help']): main(arguments)\n"
        "heavy = {'asyncio', 'sqlite3', 'prompt_toolkit', 'cryptography', 'nacl', 'msgspec', 'keyring'}\n"
        "print(sorted(heavy & set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("sandpiper 0.")
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["rommos"], "No such command 'rommos'. Did you mean 'rooms'?"),
        (["--nik", "x"], "No such option '--nik'. Did you mean '--nick'?"),
        (["history", "--serch", "x"], "No such option '--serch'. Did you mean '--search'?"),
        (["config", "gte"], "No such command 'gte'. Did you mean 'get'?"),
        (["--port", "99999"], "--port: port cannot be '99999': it is out of range. Allowed:"),
        (["--peer", "nowhere"], "--peer: peers cannot be"),
        (["--compat", "irc"], "Allowed: empty or p2pchat."),
        (["--nick", "two words"], "The nick 'two words' cannot be used"),
        (["--room", "!"], "The room name '!' cannot be used"),
        (["--interface", "nosuch0"], "There is no network interface called nosuch0. This machine has:"),
        (["history", "--since", "tea time"], "'tea time' is not a time."),
        (["config", "get", "nik"], "'nik' is not a setting."),
        (["completion", "tcsh"], "'tcsh' is not one of 'bash', 'zsh', 'fish'."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_are_named_with_what_to_do_and_end_with_2(run: Run, args: list[str], words: str):
    done = run(*args)
    assert words in done.stderr
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_with_json_a_mistake_is_an_event(run: Run):
    for args in (["--json", "--port", "x"], ["--json", "rommos"], ["history", "--json"]):
        done = run(*args)
        [event] = map(json.loads, done.stdout.splitlines())
        assert event["event"] == "error"
        assert event["code"]
        assert event["hint"]
        assert done.returncode in (1, 2)


def test_a_port_in_use_is_said(run: Run):
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("--nick", "alice", "--port", str(port))
    assert f"Port {port} is in use. Choose another with --port." in done.stderr
    assert done.returncode == 2


def test_no_history_yet_is_said(run: Run):
    done = run("history")
    assert done.returncode == 1
    assert done.stderr == "sandpiper: There is no history yet. Start sandpiper once.\n"


# ---------------------------------------------------------------- history


def test_history_prints_what_was_said(chatted: Run):
    done = chatted("history")
    lines = done.stdout.splitlines()
    assert lines[0] == "#general"
    assert [line[17:] for line in lines[1:]] == [
        "alice: hello there",
        "alice: a pizza on friday  [👍 1]",
        "alice: third *line* (edited)",
    ]
    assert done.returncode == 0


def test_history_as_json_lines(chatted: Run):
    events = [json.loads(line) for line in chatted("history", "#general", "--json").stdout.splitlines()]
    assert [event["text"] for event in events] == ["hello there", "a pizza on friday", "third *line*"]
    assert all(event["event"] == "message" and event["history"] and event["mine"] for event in events)
    assert [event["edited"] for event in events] == [False, False, True]


@pytest.mark.parametrize(
    ("args", "found"),
    [
        (["--search", "pizza fri"], ["a pizza on friday"]),
        (["--search", "nothing"], []),
        (["--limit", "1"], ["third *line*"]),
        (["--limit", "2"], ["a pizza on friday", "third *line*"]),
        (["--search", "t", "--limit", "1"], ["third *line*"]),
        (["--since", "1h"], ["hello there", "a pizza on friday", "third *line*"]),
        (["--since", "2099-01-01"], []),
        (["--until", "yesterday"], []),
        (["--until", "2099-01-01", "--limit", "1"], ["third *line*"]),
        (["general", "--limit", "1"], ["third *line*"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_history_can_be_narrowed(chatted: Run, args: list[str], found: list[str]):
    events = [json.loads(line) for line in chatted("history", "--json", *args).stdout.splitlines()]
    assert [event["text"] for event in events] == found


def test_history_of_an_unknown_room_names_the_known(chatted: Run):
    done = chatted("history", "#nowhere")
    assert done.returncode == 2
    assert "There is no history of #nowhere. There is of: #general" in done.stderr


def test_export_writes_a_file_for_its_owner_alone(chatted: Run, tmp_path: Path):
    for name, begin in (("x.md", "# \\#general\n"), ("x.txt", "#general\n"), ("x.jsonl", '{"v":1,"event":"message"')):
        path = tmp_path / name
        done = chatted("history", "--export", str(path))
        assert done.returncode == 0
        assert done.stdout == ""
        assert "lines written to" in done.stderr
        assert path.read_text().startswith(begin)
        if os.name == "posix":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "third \\*line\\*" in (tmp_path / "x.md").read_text()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["home", "x.jsonl", "x.md", "x.txt"]


def test_an_export_that_fails_leaves_the_old_file(chatted: Run, tmp_path: Path):
    done = chatted("history", "--export", str(tmp_path / "no" / "such" / "x.md"))
    assert done.returncode == 2
    assert "There is no folder" in done.stderr
    (tmp_path / "x.md").mkdir()
    done = chatted("history", "--export", str(tmp_path / "x.md"))
    assert done.returncode == 1
    assert "Cannot write" in done.stderr
    assert sorted(one.name for one in tmp_path.iterdir()) == ["home", "x.md"]


def test_a_reader_of_the_history_that_has_enough_is_no_error(run: Run, tmp_path: Path):
    said = "\n".join(f"line {number} {'x' * 500}" for number in range(500))
    assert run("--nick", "alice", "--linger", "0", stdin=said).returncode == 0
    shell = f'set -o pipefail; "{sys.executable}" -m sandpiper history | head -1'
    env = {**os.environ, "SANDPIPER_HOME": str(tmp_path / "home")}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=30, check=False, env=env)
    assert done.stdout == "#general\n"
    assert done.stderr == ""
    assert done.returncode == 0


# ---------------------------------------------------------------- the others


def test_rooms_lists_every_room_with_its_messages(chatted: Run):
    done = chatted("rooms")
    assert done.stdout.startswith("#general  3 messages, last 2")
    assert done.stdout.endswith("  tides\n")
    [event] = map(json.loads, chatted("rooms", "--json").stdout.splitlines())
    assert (event["event"], event["room"], event["messages"], event["topic"]) == ("room", "#general", 3, "tides")


def test_peers_without_anybody_is_empty(chatted: Run):
    done = chatted("peers", "--wait", "0")
    assert (done.returncode, done.stdout) == (0, "")


def test_config_lists_gets_and_sets(run: Run, tmp_path: Path):
    listed = run("config").stdout
    assert "linger        = 2.0  # default" in listed
    assert run("config", "list").stdout == listed
    assert run("config", "set", "linger", "5").returncode == 0
    assert run("config", "get", "linger").stdout == "5.0\n"
    assert run("config", "set", "nick", "robin").returncode == 0
    assert run("config", "get", "nick").stdout == "robin\n"
    assert run("config", "get", "nick", env={"SANDPIPER_NICK": "wren"}).stdout == "wren\n"
    assert run("--nick", "finch", "config", "get", "nick").stdout == "finch\n"
    assert run("config", "path").stdout == f"{tmp_path / 'home' / 'config.toml'}\n"
    [event] = map(json.loads, run("config", "get", "linger", "--json").stdout.splitlines())
    assert (event["event"], event["name"], event["value"]) == ("setting", "linger", "5.0")


@pytest.mark.parametrize(("shell", "word"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete ")])
def test_completion_prints_a_script(run: Run, shell: str, word: str):
    done = run("completion", shell)
    assert done.returncode == 0
    assert word in done.stdout
    assert "_SANDPIPER_COMPLETE" in done.stdout


def test_the_log_has_no_words_of_anybody(chatted: Run, tmp_path: Path):
    chatted("--nick", "alice", "--debug", "--linger", "0", stdin="a secret plan\n")
    logs = list((tmp_path / "home" / "log").iterdir())
    assert logs
    for log in logs:
        text = log.read_text()
        assert "pizza" not in text
        assert "secret plan" not in text
        if os.name == "posix":
            assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_debug_tells_on_stderr_and_data_stays_data(run: Run):
    done = run("--nick", "alice", "--json", "--debug", "--linger", "0", stdin="hi\n")
    assert "DEBUG" in done.stderr or "INFO" in done.stderr
    assert all(json.loads(line)["v"] == 1 for line in done.stdout.splitlines())
