"""A profile: identity, nick and history of one person on this machine, used by one process at a time.

See docs/profiles.md for what is where and why.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import stat
import tempfile
import unicodedata
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from sandpiper.config import write_whole
from sandpiper.crypto.identity import Identity
from sandpiper.errors import ConfigError, StoreError, UsageError
from sandpiper.store.keys import disk_errors, load_key, save_key
from sandpiper.wire.limits import KEY_BYTES, MAX_NICK_CHARS
from sandpiper.wire.text import check_nick, clean_line, clean_nick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from filelock import BaseFileLock

    from sandpiper.config import Paths

PASSPHRASE_VARIABLE = "SANDPIPER_PASSPHRASE"
MAX_NAME_CHARS = 64  # twice a nick, as case folding can lengthen it
MAX_DIRECTORY_CHARS = 200  # file systems allow 255 bytes; Windows wants the whole path below 260
GUARD_SECONDS = 10.0  # the guard of the temporary profiles is held for milliseconds

_KEY, _SAVED, _LAST = "identity", "profile.json", "last-profile"
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
_UNSAFE = re.compile(r"[^a-z0-9_.-]|\A[.-]|\.\Z")
_ESCAPED = re.compile(r"%([0-9a-f]{1,6});")


class _Saved(Struct, frozen=True):
    """`profile.json`: the settings that belong to a profile."""

    nick: str


@dataclass(slots=True, eq=False)
class Profile:
    """An open profile, ours alone until `close`. `notes`: what its owner should be told at the start."""

    name: str
    directory: Path
    identity: Identity
    nick: str
    created: bool
    temporary: bool
    notes: tuple[str, ...]
    _lock: BaseFileLock = field(repr=False)
    _keyring: bool = field(repr=False)

    @property
    def history(self) -> Path:
        """Where its history is kept; the file need not exist."""
        return self.directory / "history.db"

    def rename(self, nick: str) -> None:
        """Take another nick and remember it. The profile keeps its name and key.

        Raises:
            UsageError: it cannot be a nick.
            StoreError: the disk refused; the nick is as it was.
        """
        nick = check_nick(nick)
        _save(self.directory, nick)
        self.nick = nick

    def close(self) -> None:
        """Let others use it; a temporary one is removed. Closing twice does nothing."""
        if self.temporary and self._lock.is_locked:
            with suppress(StoreError), _guard(self.directory.parent):
                self._lock.release()  # first: Windows does not remove open files
                shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_profile(
    paths: Paths,
    name: str,
    *,
    nick: str | None = None,
    passphrase: Callable[[str], str] | None = None,
    rng: Callable[[int], bytes] = os.urandom,
    keyring: bool = True,
) -> Profile:
    """Open the profile `name`, made now if there is none; in use elsewhere, a temporary identity takes its place.

    `nick` holds for this run, and is remembered when the profile is new. `passphrase` is shown a prompt and returns
    what was typed; SANDPIPER_PASSPHRASE goes before it, and also seals the key of a new profile. `keyring`: whether
    a new key may go to the system's keyring (never below SANDPIPER_HOME). Removes what dead processes left behind.

    Raises:
        UsageError: the name or nick cannot be one.
        ConfigError: a file of the profile is damaged, missing or open to others, or the keyring does not answer.
        TrustError: the passphrase is missing or wrong (exit code 4), or the key is not the one that was stored.
        StoreError: the disk refused.
    """
    spelled, name = name, profile_name(name)
    nick = check_nick(nick) if nick else None
    directory, temporary = paths.profiles / directory_name(name), paths.data_dir / "temporary"
    with disk_errors(directory):
        paths.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        paths.profiles.mkdir(mode=0o700, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        notes: tuple[str, ...] = ()
        if os.name == "posix" and stat.S_IMODE(directory.stat().st_mode) & 0o077:
            directory.chmod(0o700)
            notes = (f"Others could look into {directory}; it is now open to you alone.",)
    _sweep(temporary)
    try:
        lock = _acquire(directory)
    except StoreError as exc:
        if exc.code != "in_use":
            raise
        return _open_temporary(temporary, name, nick or _saved_nick(directory) or clean_nick(spelled), rng)
    try:
        with disk_errors(directory):
            for torn in (*directory.glob(f"{_KEY}.*.tmp"), *directory.glob(f"{_SAVED}.*.tmp")):
                torn.unlink()  # left by a crash while writing: it may hold the key
        profile = Profile(
            name=name,
            directory=directory,
            identity=_existing(directory, name, passphrase, paths.portable) or Identity(rng(KEY_BYTES)),
            nick=nick or _saved_nick(directory) or clean_nick(spelled),
            created=not (directory / _KEY).exists(),
            temporary=False,
            notes=notes,
            _lock=lock,
            _keyring=keyring and not paths.portable,
        )
        if profile.created:
            profile.notes += set_passphrase(profile, os.environ.get(PASSPHRASE_VARIABLE), rng)
            _save(directory, profile.nick)
        with disk_errors(paths.data_dir):
            write_whole(paths.data_dir / _LAST, name.encode())
    except BaseException:
        lock.release()
        raise
    return profile


def set_passphrase(profile: Profile, new: str | None, rng: Callable[[int], bytes] = os.urandom) -> tuple[str, ...]:
    """Put the profile's key under the passphrase `new`; None or "" takes it away. Blocks for up to seconds.

    Returns:
        What its owner should know about where the key is now.

    Raises:
        UsageError: the profile is temporary: its key is never on a disk.
        StoreError: the disk refused; the old passphrase holds.
        ConfigError: the present key file is damaged.
    """
    if profile.temporary:
        raise UsageError("A temporary identity has no passphrase: it is gone when you quit.", code="temporary")
    entry = f"{profile.name}:{profile.identity.key.hex()}"
    path = profile.directory / _KEY
    return save_key(path, profile.identity, entry=entry, passphrase=new or "", keyring=profile._keyring, rng=rng)


def profile_name(text: str) -> str:
    """`text` (a nick, or what was typed after --profile) as the name of a profile: NFC, case folded.

    So `Alice` and `alice` are one profile on every file system.

    Raises:
        UsageError: it is empty, too long, or has control or invisible characters.
    """
    name = text
    for _ in range(2):  # folding can undo the normal form; the second round settles it for every character
        name = unicodedata.normalize("NFC", name.strip().casefold())
    if not name or name != clean_line(name, MAX_NAME_CHARS) or len(directory_name(name)) > MAX_DIRECTORY_CHARS:
        raise UsageError(
            f"The profile name {clean_line(text, 40)!r} cannot be used: it is empty, too long, or has characters that "
            "cannot be seen.",
            hint="Choose another, for example with --profile alice.",
            code="bad_profile_name",
        )
    return name


def list_profiles(paths: Paths) -> tuple[str, ...]:
    """The names of all profiles, sorted. What is not a profile in their directory is left out."""
    with disk_errors(paths.profiles):
        found = [_name_of(entry.name) for entry in _directories(paths.profiles) if os.path.lexists(entry / _KEY)]
    return tuple(sorted(name for name in found if name))


def last_profile(paths: Paths) -> str | None:
    """The profile that was opened last, if it is still there."""
    with suppress(OSError, UnicodeDecodeError, StoreError):
        name = (paths.data_dir / _LAST).read_text("utf-8")
        return name if name in list_profiles(paths) else None
    return None


def suggest_nick(rng: Callable[[int], bytes] = os.urandom) -> str:
    """A nick to offer at the first start: the login name, else one like `anon-1234`."""
    import getpass

    with suppress(OSError, KeyError, ImportError, UsageError):  # no login name, as in some containers
        login = getpass.getuser().rpartition("\\")[2]
        return check_nick(re.sub(r"[^\w.-]+", "_", login).strip("_")[:MAX_NICK_CHARS])
    return f"anon-{1000 + int.from_bytes(rng(4), 'big') % 9000}"


def directory_name(name: str) -> str:
    """A profile's name as a directory's on every system: what is unsafe becomes `%<code point in hex>;`."""
    escaped = _UNSAFE.sub(lambda found: f"%{ord(found[0]):x};", name)
    reserved = escaped.partition(".")[0] in _RESERVED
    return f"%{ord(escaped[0]):x};{escaped[1:]}" if reserved else escaped


def _name_of(directory: str) -> str | None:
    """The reverse of `directory_name`; None for what it cannot have made."""
    with suppress(ValueError, OverflowError, UsageError):
        name = profile_name(_ESCAPED.sub(lambda found: chr(int(found[1], 16)), directory))
        return name if directory_name(name) == directory else None
    return None


def _existing(directory: Path, name: str, passphrase: Callable[[str], str] | None, portable: bool) -> Identity | None:
    """The identity in `directory`; None when there never was one."""

    def ask() -> str:
        typed = os.environ.get(PASSPHRASE_VARIABLE, "")
        return typed or (passphrase(f"Passphrase of the profile {name}: ") if passphrase else "")

    path = directory / _KEY
    if os.path.lexists(path):
        return load_key(path, name, keyring=not portable, ask=ask)
    if any((directory / file).exists() for file in (_SAVED, "history.db")):
        raise ConfigError(
            f"The profile {name!r} has lost its key: there is no {path}.",
            hint="Restore it from a backup. To start afresh under a new key, move the profile's directory away.",
            code="key_file_missing",
        )
    return None


def _save(directory: Path, nick: str) -> None:
    with disk_errors(directory):
        write_whole(directory / _SAVED, msgspec.json.encode(_Saved(nick)) + b"\n")


def _saved_nick(directory: Path) -> str | None:
    path = directory / _SAVED
    with disk_errors(path):
        if not path.exists():
            return None
        content = path.read_bytes()
    try:
        return clean_nick(msgspec.json.decode(content, type=_Saved).nick)
    except msgspec.DecodeError:
        raise ConfigError(
            f"The file {path} is damaged; it is left as it is.",
            hint='It should read {"nick":"alice"} with your nick: mend it, or remove it.',
            code="profile_damaged",
        ) from None


def _open_temporary(root: Path, name: str, nick: str, rng: Callable[[int], bytes]) -> Profile:
    """A profile that lasts until `close`, because `name` is in use. Its key is only in memory."""
    with _guard(root), disk_errors(root):
        taken = {(_saved_nick(other) or "").casefold() for other in _directories(root)}
        distinct = (f"{nick[: MAX_NICK_CHARS - len(f'-{n}')]}-{n}" for n in itertools.count(2))
        chosen = next(candidate for candidate in distinct if candidate.casefold() not in taken)
        directory = Path(tempfile.mkdtemp(dir=root))
        lock = _acquire(directory)
        _save(directory, chosen)
    note = f"The profile {name} is in use, so you are {chosen} with a temporary identity, gone when you quit."
    return Profile(name, directory, Identity(rng(KEY_BYTES)), chosen, True, True, (note,), lock, False)


def _sweep(root: Path) -> None:
    """Remove the temporary profiles whose processes are gone."""
    if root.is_dir():
        with suppress(StoreError), _guard(root):
            for directory in _directories(root):
                with suppress(StoreError):
                    _acquire(directory).release()
                    shutil.rmtree(directory, ignore_errors=True)


def _directories(root: Path) -> list[Path]:
    return [entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink()] if root.is_dir() else []


def _acquire(directory: Path, seconds: float = 0) -> BaseFileLock:
    """Take the lock of `directory`; the system frees it when the process ends, however it ends.

    Raises:
        StoreError: another process holds it (code `in_use`), or the disk refused.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(directory / "lock", timeout=seconds, mode=0o600, thread_local=False)
    with disk_errors(directory):
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(f"Another process holds {lock.lock_file}.", hint="End it first.", code="in_use") from None
    return lock


@contextmanager
def _guard(root: Path) -> Iterator[None]:
    """Nobody else makes or removes temporary profiles meanwhile."""
    with disk_errors(root):
        root.mkdir(mode=0o700, exist_ok=True)
    lock = _acquire(root, GUARD_SECONDS)
    try:
        yield
    finally:
        lock.release()
