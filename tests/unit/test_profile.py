"""Profiles: real directories, locks of real processes, a keyring in memory, and no secret where it may be seen."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import json
import logging
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
import traceback
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING

import keyring
import keyring.backend
import keyring.backends.chainer
import keyring.backends.null
import keyring.core
import keyring.errors
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from sandpiper.config import Paths
from sandpiper.crypto.identity import Identity
from sandpiper.errors import ConfigError, SandpiperError, StoreError, TrustError, UsageError
from sandpiper.store import keys, profile
from sandpiper.store.profile import (
    Profile,
    last_profile,
    list_profiles,
    open_profile,
    profile_name,
    set_passphrase,
    suggest_nick,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "correct horse ünd staple"
posix = pytest.mark.skipif(os.name != "posix", reason="mode bits as POSIX has them")


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Everything below one directory, as with SANDPIPER_HOME: no keyring."""
    monkeypatch.delenv("SANDPIPER_PASSPHRASE", raising=False)
    return Paths.find({"SANDPIPER_HOME": str(tmp_path / "home")})


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """As on somebody's desktop: the keyring may be asked."""
    monkeypatch.delenv("SANDPIPER_PASSPHRASE", raising=False)
    return Paths(tmp_path / "config", tmp_path / "data", tmp_path / "log")


class Ring(keyring.backend.KeyringBackend):
    """A keyring in memory, which can be locked, hang, forget or lie."""

    priority = 9

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.fails: Callable[[str], None] = lambda _: None

    @override
    def get_password(self, service: str, username: str) -> str | None:
        self.fails("get")
        return self.entries.get((service, username))

    @override
    def set_password(self, service: str, username: str, password: str) -> None:
        self.fails(password)
        self.entries[service, username] = password

    @override
    def delete_password(self, service: str, username: str) -> None:
        self.fails("delete")
        del self.entries[service, username]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> Ring:
    """The system's keyring of this test."""
    found = Ring()
    monkeypatch.setattr(keyring.core, "_keyring_backend", found)
    return found


def seeds(found: Profile) -> list[bytes]:
    seed = found.identity.seed
    return [seed, seed.hex().encode(), base64.b64encode(seed), repr(seed).encode()]


def texts(error: BaseException) -> str:
    chain = "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format())
    context = error.__context__
    while context is not None:  # what "from None" hides in a traceback is there for a debugger or a log handler
        chain += f"{context!r}{context}{context.args}"
        context = context.__context__
    return f"{error}{error!r}{error.args}{vars(error)}{chain}"


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


HOLD = """
import sys
from sandpiper.config import Paths
from sandpiper.store.profile import open_profile
held = open_profile(Paths.find(), sys.argv[1])
print(held.nick, held.temporary, held.identity.key.hex(), held.directory, flush=True)
sys.stdin.read()
held.close()
"""


@contextlib.contextmanager
def other_process(paths: Paths, name: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """A real second process that has the profile open until its input ends."""
    env = os.environ | {"SANDPIPER_HOME": str(paths.data_dir)}
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLD, name], stdin=pipe, stdout=pipe, text=True, env=env) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().split()
            assert line, "the second process could not open the profile"
            yield process, line
        finally:
            if process.poll() is None:
                process.communicate()


def run(paths: Paths, code: str) -> int:
    """Run `code` in a process that may die; its exit status."""
    env = os.environ | {"SANDPIPER_HOME": str(paths.data_dir)}
    return subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode


# ------------------------------------------------------------------------------------------------ making and opening


def test_first_start_makes_a_profile_and_the_next_finds_it(paths: Paths) -> None:
    assert list_profiles(paths) == ()
    assert last_profile(paths) is None
    with open_profile(paths, "Alice") as first:
        assert (first.name, first.nick, first.created, first.temporary, first.notes) == (
            "alice",
            "Alice",
            True,
            False,
            (),
        )
        assert first.directory == paths.profiles / "alice"
        assert first.history == first.directory / "history.db"
        key = first.identity.key
    with open_profile(paths, "ALICE") as again:
        assert (again.name, again.nick, again.created, again.identity.key) == ("alice", "Alice", False, key)
    assert list_profiles(paths) == ("alice",)
    assert last_profile(paths) == "alice"


def test_each_profile_has_its_own_key_from_the_entropy_it_was_given(paths: Paths) -> None:
    with open_profile(paths, "a") as a, open_profile(paths, "b", rng=lambda count: b"\7" * count) as b:
        assert a.identity.key != b.identity.key
        assert b.identity.key == Identity(b"\7" * 32).key
        assert not b.temporary


@posix
def test_everything_is_open_to_its_owner_alone(paths: Paths) -> None:
    old = os.umask(0)
    try:
        with open_profile(paths, "alice") as held, open_profile(paths, "alice") as temporary:
            for directory in (paths.data_dir, paths.profiles, held.directory, temporary.directory):
                assert mode(directory) == 0o700
            found = [path for path in paths.data_dir.rglob("*") if path.is_file()]
            assert {path.name for path in found} >= {"identity", "profile.json", "lock", "last-profile"}
            assert {path.name: mode(path) for path in found if mode(path) != 0o600} == {}
    finally:
        os.umask(old)


@posix
def test_directory_that_others_can_read_is_closed_and_it_is_said(paths: Paths) -> None:
    open_profile(paths, "alice").close()
    directory = paths.profiles / "alice"
    directory.chmod(0o755)
    with open_profile(paths, "alice") as held:
        assert mode(directory) == 0o700
        assert str(directory) in held.notes[0]
    with open_profile(paths, "alice") as held:
        assert held.notes == ()


def test_nick_of_this_run_wins_and_only_rename_is_remembered(paths: Paths) -> None:
    with open_profile(paths, "work", nick="Älice") as held:
        assert (held.name, held.nick) == ("work", "Älice")
    with open_profile(paths, "work", nick="bob") as held:
        assert held.nick == "bob"
    with open_profile(paths, "work") as held:
        assert held.nick == "Älice"
        held.rename("carol")
        assert held.nick == "carol"
        with pytest.raises(UsageError):
            held.rename("two words")
    with open_profile(paths, "work") as held:
        assert held.nick == "carol"


def test_bad_nick_or_name_leaves_no_trace(paths: Paths) -> None:
    with pytest.raises(UsageError):
        open_profile(paths, "alice", nick="a\x1b[2J")
    with pytest.raises(UsageError):
        open_profile(paths, "\x00")
    assert not paths.data_dir.exists()


def test_profile_name_that_is_no_nick_gives_one(paths: Paths) -> None:
    with open_profile(paths, "@my work") as held:
        assert (held.name, held.nick) == ("@my work", "my_work")


def test_last_profile_is_forgotten_with_its_directory(paths: Paths) -> None:
    open_profile(paths, "a").close()
    open_profile(paths, "b").close()
    assert last_profile(paths) == "b"
    (paths.profiles / "b").rename(paths.profiles.parent / "gone")
    assert last_profile(paths) is None
    (paths.data_dir / "last-profile").write_bytes(b"../../etc\xff")
    assert last_profile(paths) is None


# ------------------------------------------------------------------------------------------------ names

HOSTILE = [
    "../../etc/passwd",
    "..",
    ".",
    "...",
    ".ssh",
    "a/b",
    "a\\b",
    "c:",
    "c:\\x",
    "con",
    "CON",
    "con.txt",
    "nul.",
    "com1",
    "lpt9.a.b",
    "com\u00b9",
    "a.",
    "a b",
    "a%2fb",
    "%",
    "%63;on",
    "-rf",
    "~root",
    "$HOME",
    "a*?<>|\"'`b",
    "a;rm",
    "i\u0307",
    "İ",
    "ß",
    "ẞ",
    "ŉ",
    "名前",
    "👩‍🚀",
    "e\u0301",
    "é",
    "ﬀ",
    "lock",
    "identity",
    "x" * 64,
    "名" * 32,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_name_becomes_one_harmless_directory(paths: Paths, name: str) -> None:
    with open_profile(paths, name, nick="x") as held:
        assert held.directory.parent == paths.profiles
        leaf = held.directory.name
    assert [entry.name for entry in paths.profiles.iterdir()] == [leaf]
    assert {entry.name for entry in paths.data_dir.iterdir()} == {"profiles", "last-profile"}
    assert leaf.isascii()
    assert leaf == leaf.lower()
    assert not set(leaf) & set("/\\:*?\"<>| '`$&~")
    assert leaf[0] not in ".-"
    assert leaf[-1] != "."
    assert leaf.partition(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert list_profiles(paths) == (profile_name(name),)
    assert last_profile(paths) == profile_name(name)
    with open_profile(paths, name.upper() if profile_name(name.upper()) == profile_name(name) else name) as again:
        assert not again.created


@pytest.mark.parametrize(
    "name",
    ["", "  ", "\n", "a\nb", "a\x00b", "a\x1b[31m", "a\u202eb", "\u200b", "a\ud800", "x" * 65, "👾" * 29, "a\tb"],
)
def test_name_that_cannot_be_shown_or_stored_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        profile_name(name)
    assert caught.value.code == "bad_profile_name"
    assert caught.value.sentence().isprintable()


@given(st.text(min_size=1, max_size=20))
def test_any_name_maps_to_a_directory_and_back(text: str) -> None:
    try:
        name = profile_name(text)
    except UsageError:
        return
    leaf = profile.directory_name(name)
    assert profile._name_of(leaf) == name
    assert len(leaf) <= profile.MAX_DIRECTORY_CHARS
    assert Path(leaf).name == leaf
    assert leaf.isascii()


def test_name_settles_for_every_character() -> None:
    every = map(chr, range(0x110000))
    moving = [char for char in every if {char.casefold(), unicodedata.normalize("NFC", char)} != {char}]
    assert len(moving) > 2000
    for char in moving:
        try:
            name = profile_name(f"a{char}b")
        except UsageError:  # a space of a kind that is not ours
            continue
        assert profile_name(name) == name
        assert unicodedata.is_normalized("NFC", name)


@given(st.text("%;.-abc63fon0\\/A", max_size=12))
def test_directory_that_is_not_ours_is_no_profile(leaf: str) -> None:
    name = profile._name_of(leaf)
    assert name is None or profile.directory_name(name) == leaf


def test_listing_leaves_out_what_is_not_a_profile(paths: Paths) -> None:
    open_profile(paths, "b").close()
    open_profile(paths, "Ä").close()
    for leaf in ("Upper", "%zz;", "%110000;", "empty", "..a"):
        (paths.profiles / leaf).mkdir()
        if leaf != "empty":
            (paths.profiles / leaf / "identity").touch()
    (paths.profiles / "file").touch()
    assert list_profiles(paths) == ("b", "ä")


@pytest.mark.parametrize(
    ("login", "nick"),
    [
        ("alice", "alice"),
        ("OFFICE\\John Smith", "John_Smith"),
        ("björn", "björn"),
        ("x" * 80, "x" * 32),
        ("a\x1b[31mb", "a_31mb"),
        ("", "anon-1000"),
        ("###", "anon-1000"),
    ],
)
def test_login_name_is_suggested_when_it_can_be_a_nick(monkeypatch: pytest.MonkeyPatch, login: str, nick: str) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: login)
    assert suggest_nick(lambda count: bytes(count)) == nick


@pytest.mark.parametrize("error", [OSError, KeyError, ImportError])
def test_machine_without_login_names_gets_a_random_suggestion(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def nobody() -> str:
        raise error("no user")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert suggest_nick(lambda count: b"\xff" * count) == f"anon-{1000 + 0xFFFFFFFF % 9000}"


# ------------------------------------------------------------------------------------------------ in use


def test_profile_in_use_by_another_process_gives_temporary_identities(paths: Paths) -> None:
    with other_process(paths, "alice") as (_, [nick, temporary, key, _]):
        assert (nick, temporary) == ("alice", "False")
        with open_profile(paths, "alice") as second, other_process(paths, "alice") as (_, third):
            assert (second.nick, second.temporary, second.created) == ("alice-2", True, True)
            assert third[:2] == ["alice-3", "True"]
            assert len({key, second.identity.key.hex(), third[2]}) == 3
            assert second.directory != paths.profiles / "alice"
            assert "alice-2" in second.notes[0]
            assert not any(secret in content for content in files(paths.data_dir).values() for secret in seeds(second))
            directory = second.directory
            second.history.touch()
            assert directory.is_dir()
        assert not directory.exists()
        assert not Path(third[3]).exists()
        with open_profile(paths, "alice", nick="n" * 32) as fourth:
            assert fourth.nick == "n" * 30 + "-2"
    with open_profile(paths, "alice") as back:
        assert (back.temporary, back.nick, back.identity.key.hex()) == (False, "alice", key)
    assert list_profiles(paths) == ("alice",)


def test_same_process_gets_a_temporary_identity_too_and_closing_twice_is_harmless(paths: Paths) -> None:
    first = open_profile(paths, "alice")
    second = open_profile(paths, "alice")
    assert second.temporary
    second.rename("zoe")
    second.close()
    second.close()
    first.close()
    first.close()
    with open_profile(paths, "alice") as again:
        assert (again.temporary, again.nick) == (False, "alice")


@posix
def test_kill_9_frees_the_profile_and_the_next_start_removes_what_is_left(paths: Paths) -> None:
    with other_process(paths, "alice") as (holder, [_, _, key, _]):
        with other_process(paths, "alice") as (temporary, [nick, _, _, left]):
            assert nick == "alice-2"
            temporary.send_signal(signal.SIGKILL)
            temporary.wait()
        assert Path(left).is_dir()
        with open_profile(paths, "alice") as mine:
            assert mine.temporary
            assert mine.nick == "alice-2"
            assert not Path(left).exists()
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            with open_profile(paths, "alice") as again:
                assert (again.temporary, again.identity.key.hex()) == (False, key)
                assert mine.directory.is_dir()


def test_sweeping_follows_no_link(paths: Paths, tmp_path: Path) -> None:
    with open_profile(paths, "alice"), open_profile(paths, "alice"):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with contextlib.suppress(OSError):  # Windows may not allow links
        (paths.data_dir / "temporary" / "link").symlink_to(tmp_path / "mine")
    open_profile(paths, "alice").close()
    assert set(files(tmp_path / "mine")) == {"file"}


@posix
def test_crash_before_the_key_is_in_place_leaves_nothing_of_it(paths: Paths) -> None:
    crash = """
import os, pathlib, signal
pathlib.Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)
from sandpiper.config import Paths
from sandpiper.store.profile import open_profile
open_profile(Paths.find(), "alice")
"""
    assert run(paths, crash) == -signal.SIGKILL
    assert any(name.endswith(".tmp") for name in files(paths.profiles))
    with open_profile(paths, "alice") as held:
        assert held.created
    assert set(files(paths.profiles / "alice")) == {"identity", "profile.json", "lock"}


@posix
def test_crash_between_key_and_nick_keeps_the_key(paths: Paths) -> None:
    crash = """
import os, signal
from sandpiper.config import Paths
from sandpiper.store import profile
profile._save = lambda directory, nick: os.kill(os.getpid(), signal.SIGKILL)
profile.open_profile(Paths.find(), "alice", rng=lambda count: b"1" * count)
"""
    assert run(paths, crash) == -signal.SIGKILL
    with open_profile(paths, "alice") as held:
        assert not held.created
        assert held.identity.key == Identity(b"1" * 32).key
        assert held.nick == "alice"


# ------------------------------------------------------------------------------------------------ the key file


@pytest.fixture
def identity_file(paths: Paths) -> Path:
    open_profile(paths, "alice").close()
    return paths.profiles / "alice" / "identity"


def refused(paths: Paths, error: type[SandpiperError], code: str) -> SandpiperError:
    """Opening alice fails as told, changes no file, and frees the profile."""
    before = files(paths.data_dir)
    with pytest.raises(error) as caught:
        open_profile(paths, "alice")
    assert caught.value.code == code
    assert caught.value.hint
    assert files(paths.data_dir) == before
    profile._acquire(paths.profiles / "alice").release()
    return caught.value


@posix
@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o610, 0o777])
def test_key_file_open_to_others_is_refused_with_the_command_that_closes_it(
    paths: Paths, identity_file: Path, bits: int
) -> None:
    identity_file.chmod(bits)
    error = refused(paths, ConfigError, "key_file_open")
    assert mode(identity_file) == bits
    command = error.hint.partition(": ")[2]
    subprocess.run(command, shell=True, check=True)
    open_profile(paths, "alice").close()


def damaged() -> dict[str, Callable[[bytes], bytes]]:
    def field(name: str, value: object) -> Callable[[bytes], bytes]:
        return lambda content: json.dumps(json.loads(content) | {name: value}).encode()

    other = base64.b64encode(b"2" * 32).decode()
    return {
        "empty": lambda content: b"",
        "truncated": lambda content: content[: len(content) // 2],
        "one byte short": lambda content: content[:-3],
        "garbage": lambda content: hashlib.sha512(content).digest(),
        "huge": lambda content: content + b" " * 100_000,
        "json of others": lambda content: b'{"a": [1]}',
        "deep": lambda content: b"[" * 10_000,
        "magic": field("magic", "ssh"),
        "another key": field("key", other),
        "another seed": field("seed", other),
        "short seed": field("seed", other[:20]),
        "kind": field("kept", "cloud"),
        "field": field("extra", 1),
    }


@pytest.mark.parametrize("how", damaged())
def test_damaged_key_file_is_named_and_never_written_over(paths: Paths, identity_file: Path, how: str) -> None:
    seed = json.loads(identity_file.read_bytes())["seed"]
    content = damaged()[how](identity_file.read_bytes())
    identity_file.write_bytes(content)
    error = refused(paths, ConfigError, "key_file_damaged")
    assert str(identity_file) in str(error)
    assert seed not in texts(error)


def test_key_file_of_a_newer_version_says_update(paths: Paths, identity_file: Path) -> None:
    identity_file.write_text('{"magic":"sandpiper-identity","version":2,"anything":"else"}')
    assert "Update" in refused(paths, ConfigError, "key_file_newer").hint


def test_damaged_key_file_of_an_open_profile_is_not_written_over(paths: Paths) -> None:
    with open_profile(paths, "alice") as held:
        path = held.directory / "identity"
        path.write_bytes(b"?")
        with pytest.raises(ConfigError):
            set_passphrase(held, SECRET)
        assert path.read_bytes() == b"?"


@pytest.mark.parametrize("rest", ["profile.json", "history.db"])
def test_profile_that_lost_its_key_gets_no_new_one(paths: Paths, identity_file: Path, rest: str) -> None:
    identity_file.unlink()
    (identity_file.parent / "profile.json").rename(identity_file.parent / rest)
    refused(paths, ConfigError, "key_file_missing")


def test_damaged_nick_file_is_named_and_left(paths: Paths, identity_file: Path) -> None:
    saved = identity_file.parent / "profile.json"
    saved.write_bytes(b'{"nick": 5}')
    assert str(saved) in str(refused(paths, ConfigError, "profile_damaged"))
    saved.write_bytes(b'{"nick": "a\\u001b[2J\\u202eb", "later": 1}')
    with open_profile(paths, "alice") as held:
        assert held.nick.isprintable()


@posix
def test_key_file_that_is_a_pipe_or_directory_does_not_hang(paths: Paths, identity_file: Path) -> None:
    identity_file.unlink()
    os.mkfifo(identity_file, 0o600)
    with pytest.raises(ConfigError):
        open_profile(paths, "alice")
    identity_file.unlink()
    identity_file.mkdir()
    with pytest.raises(StoreError):
        open_profile(paths, "alice")


def test_disk_that_refuses_is_a_store_error_and_leaves_no_half_profile(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="No space left") as caught:
            open_profile(paths, "alice")
    assert caught.value.code == "disk"
    assert set(files(paths.profiles)) == {os.path.join("alice", "lock")}
    with open_profile(paths, "alice") as held:
        assert held.created
    (paths.profiles / "alice" / "lock").unlink()
    (paths.profiles / "alice" / "lock").mkdir()
    with pytest.raises(StoreError, match="alice"):
        open_profile(paths, "alice")
    (paths.profiles / "bob").touch()
    with pytest.raises(StoreError, match="bob"):
        open_profile(paths, "bob")


# ------------------------------------------------------------------------------------------------ passphrase


def test_passphrase_seals_the_key_and_can_be_changed_and_taken_away(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def typing(passphrase: str) -> Callable[[str], str]:
        def prompt(text: str) -> str:
            asked.append(text)
            return passphrase

        return prompt

    with open_profile(paths, "alice", passphrase=typing("not asked for")) as held:
        key, secrets = held.identity.key, seeds(held)
        path = held.directory / "identity"
        assert any(secret in path.read_bytes() for secret in secrets)
        assert set_passphrase(held, SECRET) == ()
    assert asked == []
    content = path.read_bytes()
    assert not any(secret in content for secret in secrets)
    written = json.loads(content)
    assert (written["kept"], written["memory_kib"]) == ("passphrase", 64 * 1024)
    assert mode(path) == 0o600 or os.name != "posix"

    with open_profile(paths, "alice", passphrase=typing(unicodedata.normalize("NFD", SECRET))) as held:
        assert held.identity.key == key
        assert not held.created
    assert asked == ["Passphrase of the profile alice: "]

    monkeypatch.setenv("SANDPIPER_PASSPHRASE", SECRET)
    with open_profile(paths, "alice", passphrase=typing("not asked for")) as held:
        set_passphrase(held, None)
    monkeypatch.delenv("SANDPIPER_PASSPHRASE")
    assert len(asked) == 1
    with open_profile(paths, "alice") as held:
        assert held.identity.key == key
    assert json.loads(path.read_bytes())["kept"] == "file"


def test_environment_seals_a_new_key_and_two_seals_differ(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDPIPER_PASSPHRASE", SECRET)
    with open_profile(paths, "alice") as held:
        path = held.directory / "identity"
        first = json.loads(path.read_bytes())
        set_passphrase(held, SECRET)
        second = json.loads(path.read_bytes())
    assert first["kept"] == "passphrase"
    assert not any(first[name] == second[name] for name in ("salt", "nonce", "sealed"))


def test_wrong_or_missing_passphrase_is_a_trust_error_with_exit_code_4_and_quotes_no_secret(
    paths: Paths, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with open_profile(paths, "alice") as held:
        secrets = [secret.decode("latin-1") for secret in seeds(held)]
        shown = [repr(held), str(held), repr(held.identity), repr(held.notes)]
        plain = keys._read(held.directory / "identity")
        shown += [repr(plain), str(plain)]
        set_passphrase(held, SECRET)
    sealed = keys._read(held.directory / "identity")
    shown += [repr(sealed), str(sealed)]
    wrong = "a wrong guess, never shown"
    missing = refused(paths, TrustError, "passphrase_needed")
    monkeypatch.setenv("SANDPIPER_PASSPHRASE", wrong)
    error = refused(paths, TrustError, "wrong_passphrase")
    assert (missing.exit_code, error.exit_code, TrustError.exit_code) == (4, 4, 5)
    shown += [texts(missing), texts(error), caplog.text, *capfd.readouterr()]
    for secret in [SECRET, wrong, *secrets]:
        assert not any(secret in text for text in shown)
    assert all("alice" in str(caught) for caught in (missing, error))


@pytest.mark.parametrize("name", ["key", "salt", "nonce", "sealed", "memory_kib", "passes", "lanes"])
def test_no_field_of_a_sealed_file_can_be_exchanged(paths: Paths, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SANDPIPER_PASSPHRASE", SECRET)
    with open_profile(paths, "alice") as held:
        path = held.directory / "identity"
    written = json.loads(path.read_bytes())
    old = written[name]
    flipped = (
        old // 2
        if isinstance(old, int)
        else base64.b64encode(bytes([base64.b64decode(old)[0] ^ 1]) + base64.b64decode(old)[1:]).decode()
    )
    path.write_text(json.dumps(written | {name: flipped}))
    refused(paths, TrustError, "wrong_passphrase")


@pytest.mark.parametrize(
    "change",
    [{"memory_kib": 2**31}, {"memory_kib": 8}, {"passes": 10**6}, {"lanes": 0}, {"salt": ""}, {"sealed": "AAAA"}],
)
def test_hostile_costs_in_a_key_file_are_refused_before_any_work(
    paths: Paths, identity_file: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    monkeypatch.setenv("SANDPIPER_PASSPHRASE", SECRET)
    sealed = keys._Sealed(key=b"1" * 32, salt=b"2" * 16, nonce=b"3" * 12, sealed=b"4" * 48)
    identity_file.write_text(json.dumps(json.loads(msgspec.json.encode(sealed)) | change))
    refused(paths, ConfigError, "key_file_damaged")


def test_passphrase_of_any_characters_works(paths: Paths) -> None:
    odd = "\udcff\ud800 \n🔑"
    with open_profile(paths, "alice") as held:
        set_passphrase(held, odd)
    open_profile(paths, "alice", passphrase=lambda _: odd).close()


def test_temporary_identity_takes_no_passphrase(paths: Paths) -> None:
    with open_profile(paths, "alice"), open_profile(paths, "alice") as temporary:
        with pytest.raises(UsageError):
            set_passphrase(temporary, SECRET)
        assert set(files(temporary.directory)) == {"profile.json", "lock"}


# ------------------------------------------------------------------------------------------------ keyring


def test_key_goes_to_the_keyring_and_is_found_there(desktop: Paths, ring: Ring) -> None:
    with open_profile(desktop, "Bücher") as held:
        key, secrets = held.identity.key, seeds(held)
        assert held.notes == ()
        path = held.directory / "identity"
    assert not any(secret in content for content in files(desktop.data_dir).values() for secret in secrets)
    assert list(ring.entries.items()) == [(("sandpiper", f"bücher:{key.hex()}"), secrets[1].decode())]
    assert json.loads(path.read_bytes())["kept"] == "keyring"
    with open_profile(desktop, "bücher", keyring=False) as held:  # the setting is for new keys
        assert held.identity.key == key


def test_home_and_setting_keep_the_keyring_out(paths: Paths, desktop: Paths, ring: Ring) -> None:
    asked: list[str] = []
    ring.fails = asked.append
    for place, allowed in ((paths, True), (desktop, False)):
        with open_profile(place, "alice", keyring=allowed) as held:
            assert held.notes == ()
            assert json.loads((held.directory / "identity").read_bytes())["kept"] == "file"
            set_passphrase(held, None)
    assert asked == []


def assert_true(value: bool) -> None:
    assert value


def locked(_: str) -> None:
    raise keyring.errors.KeyringLocked("the collection is locked")


def quoting(text: str) -> None:
    raise RuntimeError(f"could not store {text}")


@pytest.mark.parametrize(("fails", "why"), [(locked, "KeyringLocked"), (quoting, "RuntimeError")])
def test_keyring_that_fails_gives_the_file_and_a_note_without_secrets(
    desktop: Paths, ring: Ring, fails: Callable[[str], None], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    ring.fails = fails
    with open_profile(desktop, "alice") as held:
        [note] = held.notes
        secrets = seeds(held)
        assert str(held.directory / "identity") in note
        assert why in note
        assert not any(secret.decode("latin-1") in note + caplog.text for secret in secrets)
    ring.fails = lambda _: None
    with open_profile(desktop, "alice") as again:
        assert (again.identity.seed, again.notes) == (secrets[0], ())


def test_keyring_that_hangs_gives_the_file_in_time(desktop: Paths, ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "STORE_SECONDS", 0.0)
    answered = threading.Event()
    ring.fails = lambda _: assert_true(answered.wait(30))
    try:
        with open_profile(desktop, "alice") as held:
            assert "no answer within 0 seconds" in held.notes[0]
            assert json.loads((held.directory / "identity").read_bytes())["kept"] == "file"
    finally:
        answered.set()


class Weak(Ring):
    """As keyrings.alt's plain text file."""

    priority = 0.5  # type: ignore[assignment]


class Forgetful(Ring):
    @override
    def get_password(self, service: str, username: str) -> str | None:
        return None


class Broken(Ring):
    @property
    @override
    def priority(self) -> float:  # type: ignore[override]
        raise RuntimeError("no D-Bus")


@pytest.mark.parametrize(
    ("backend", "why"),
    [
        (Weak, "this system has none"),
        (keyring.backends.null.Keyring, "this system has none"),
        (Forgetful, "does not return what it was given"),
        (Broken, "RuntimeError"),
    ],
)
def test_keyring_that_is_weak_or_lies_is_not_used(
    desktop: Paths, monkeypatch: pytest.MonkeyPatch, backend: type[keyring.backend.KeyringBackend], why: str
) -> None:
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend())
    with open_profile(desktop, "alice") as held:
        assert why in held.notes[0]
        assert json.loads((held.directory / "identity").read_bytes())["kept"] == "file"


def test_chain_of_keyrings_uses_its_best_and_never_a_weak_one(desktop: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    weak, good = Weak(), Ring()

    class Chain(keyring.backends.chainer.ChainerBackend):
        backends = [weak, good]  # noqa: RUF012

    monkeypatch.setattr(keyring.core, "_keyring_backend", Chain())
    open_profile(desktop, "alice").close()
    assert (len(weak.entries), len(good.entries)) == (0, 1)


@pytest.mark.parametrize("fails", [locked, quoting])
def test_locked_keyring_that_has_the_key_is_an_error_and_never_a_new_key(
    desktop: Paths, ring: Ring, fails: Callable[[str], None]
) -> None:
    with open_profile(desktop, "alice") as held:
        key = held.identity.key
    ring.fails = fails
    error = refused(desktop, ConfigError, "keyring")
    assert "Unlock it" in error.hint
    assert "'alice'" in str(error)
    ring.fails = lambda _: None
    with open_profile(desktop, "alice") as held:
        assert held.identity.key == key


def test_keyring_that_hangs_with_the_key_is_an_error_in_time(
    desktop: Paths, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_profile(desktop, "alice").close()
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.0)
    answered = threading.Event()
    ring.fails = lambda _: assert_true(answered.wait(30))
    try:
        assert "no answer" in str(refused(desktop, ConfigError, "keyring"))
    finally:
        answered.set()


def test_keyring_is_not_asked_for_a_profile_copied_below_home(desktop: Paths, ring: Ring) -> None:
    open_profile(desktop, "alice").close()
    asked: list[str] = []
    ring.fails = asked.append
    moved = Paths(desktop.config_dir, desktop.data_dir, desktop.log_dir, portable=True)
    assert "SANDPIPER_HOME" in str(refused(moved, ConfigError, "keyring"))
    assert asked == []


@pytest.mark.parametrize("found", [None, "", "zz", "00" * 31, "passw\u00f6rd", " " + "00" * 32])
def test_entry_that_is_gone_or_garbage_is_an_error_that_names_it(desktop: Paths, ring: Ring, found: str | None) -> None:
    open_profile(desktop, "alice").close()
    [entry] = ring.entries
    if found is None:
        del ring.entries[entry]
    else:
        ring.entries[entry] = found
    assert entry[1] in refused(desktop, ConfigError, "keyring").hint


def test_entry_with_another_key_is_a_trust_error(desktop: Paths, ring: Ring) -> None:
    open_profile(desktop, "alice").close()
    [entry] = ring.entries
    ring.entries[entry] = "11" * 32
    error = refused(desktop, TrustError, "key_changed")
    assert error.exit_code == 5
    assert "11" * 32 not in texts(error)


def test_passphrase_takes_the_key_out_of_the_keyring_and_back(desktop: Paths, ring: Ring) -> None:
    with open_profile(desktop, "alice") as held:
        key = held.identity.key
        assert set_passphrase(held, None) == ()
        assert len(ring.entries) == 1
        assert set_passphrase(held, SECRET) == ()
        assert ring.entries == {}
    with open_profile(desktop, "alice", passphrase=lambda _: SECRET) as held:
        assert held.identity.key == key
        assert set_passphrase(held, "") == ()
        assert len(ring.entries) == 1
    with open_profile(desktop, "alice") as held:
        assert held.identity.key == key


def test_copy_that_the_keyring_will_not_give_up_is_told(desktop: Paths, ring: Ring) -> None:
    with open_profile(desktop, "alice") as held:
        ring.fails = locked
        [note] = set_passphrase(held, SECRET)
        assert held.identity.key.hex() in note
        assert held.identity.seed.hex() not in note


def test_keyring_that_locks_later_never_moves_the_key_to_a_file(desktop: Paths, ring: Ring) -> None:
    with open_profile(desktop, "alice") as held:
        ring.fails = locked
        assert set_passphrase(held, None) == ()
        assert json.loads((held.directory / "identity").read_bytes())["kept"] == "keyring"


def test_profile_cannot_be_pickled_with_its_secret(paths: Paths) -> None:
    with open_profile(paths, "alice") as held, pytest.raises((TypeError, pickle.PicklingError)):
        pickle.dumps(held)
