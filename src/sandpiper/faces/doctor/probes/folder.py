"""Looks at the data directory: really writes a file into it and removes it, and reads every profile's history."""

from __future__ import annotations

import errno
import os
import re
import shutil
import sqlite3
import stat
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.facts import Folder, HistoryState, Profile, Trouble
from sandpiper.store.schema import APPLICATION_ID, MIGRATIONS
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from sandpiper.config import Paths

MAX_PROFILES = 32
CHECK_SECONDS = 2.0  # for looking through all histories
WRITTEN = 64 * 1024  # bytes: enough to meet a full disk that small files still fit on
_PRIVATE = ("identity", "profile.json", "lock", "history.db", "history.db-wal", "history.db-shm")
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}


def probe_folder(paths: Paths, name: str) -> Folder:
    """The data directory, and the profile `name` in it, or all when it is empty. Blocks for up to some seconds."""
    folder = paths.data_dir
    try:
        found = folder.stat()
    except FileNotFoundError:
        return _absent(folder)
    except OSError as exc:
        return Folder(path=str(folder), refused=_trouble(exc), free=None)
    refused = _write(folder)
    profiles, unread = _profiles(paths.profiles, name)
    return Folder(
        path=str(folder),
        mode=_mode(found),
        profiles_mode=_mode_of(paths.profiles),
        foreign=_foreign(found),
        refused=refused,
        full=refused is not None and refused.errno in _FULL,
        free=_free(folder),
        profiles=profiles,
        unread=unread,
    )


def _absent(folder: Path) -> Folder:
    """Not made by us: only whether it could be."""
    above = next((parent for parent in folder.parents if parent.exists()), folder)
    refused = None if os.access(above, os.W_OK | os.X_OK) else Trouble(errno.EACCES, f"{above} does not let us")
    return Folder(path=str(folder), exists=False, mode=None, refused=refused, free=_free(above))


def _mode(found: os.stat_result) -> int | None:
    """The rights, where they mean what they say."""
    return stat.S_IMODE(found.st_mode) if os.name == "posix" else None


def _mode_of(path: Path) -> int | None:
    try:
        return _mode(path.stat())
    except OSError:
        return None


def _foreign(found: os.stat_result) -> bool:
    return sys.platform != "win32" and os.geteuid() != 0 and found.st_uid != os.geteuid()


def _free(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _trouble(exc: OSError) -> Trouble:
    return Trouble(exc.errno or 0, exc.strerror or type(exc).__name__)


def _write(folder: Path) -> Trouble | None:
    """Write a file, bring it to the disk, and remove it; why not, if so."""
    path = folder / f"doctor-{os.urandom(6).hex()}.tmp"
    try:
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(os.urandom(WRITTEN))
                file.flush()
                os.fsync(file.fileno())
        finally:
            path.unlink(missing_ok=True)
    except OSError as exc:
        return _trouble(exc)
    return None


def _profiles(root: Path, name: str) -> tuple[tuple[Profile, ...], str]:
    try:
        folders = sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.is_symlink())
    except FileNotFoundError:
        return (), ""
    except OSError as exc:
        return (), f"{root}: {exc.strerror}"
    until = time.monotonic() + CHECK_SECONDS
    locks = _locks()
    found = [_profile(folder, locks, until) for folder in folders[:MAX_PROFILES]]
    chosen = [profile for profile in found if profile.name == name.casefold()]
    return tuple(chosen or found), ""


def _profile(folder: Path, locks: dict[str, int], until: float) -> Profile:
    loose: list[tuple[str, int]] = []
    for name in _PRIVATE:
        mode = _mode_of(folder / name)
        if mode is not None and mode & 0o077:
            loose.append((str(folder / name), mode))
    found: os.stat_result | None = None
    with suppress(OSError):
        found = folder.stat()
    pid = _locker(folder / "lock", locks)
    state, text, version, size = _history(folder / "history.db", until)
    aside: list[str] = []
    with suppress(OSError):
        aside = sorted(str(path) for path in folder.glob("history.db.damaged-*") if path.suffix != "")
    return Profile(
        name=_name(folder.name),
        path=str(folder),
        mode=_mode_of(folder),
        foreign=found is not None and _foreign(found),
        loose=tuple(loose),
        history=state,
        history_text=text,
        version=version,
        bytes=size,
        running=pid is not None,
        pid=pid or 0,
        aside=tuple(path for path in aside if not path.endswith(("-wal", "-shm"))),
    )


def _name(folder: str) -> str:
    """The profile's name: its directory writes unsafe characters as `%<hex>;` (docs/profiles.md)."""
    with suppress(ValueError, OverflowError):
        return clean_line(re.sub(r"%([0-9a-f]{1,6});", lambda found: chr(int(found[1], 16)), folder), 64)
    return clean_line(folder, 64)


def _locks() -> dict[str, int]:
    """Process by locked file ("device:inode"), from /proc/locks (Linux, proc(5)). Trying a lock would disturb."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            words = line.split()
            if len(words) >= 6 and words[1] in ("FLOCK", "POSIX", "OFDLCK"):
                major, minor, inode = words[5].split(":")
                found[f"{int(major, 16)}:{int(minor, 16)}:{inode}"] = int(words[4])
    return found


def _locker(lock: Path, locks: dict[str, int]) -> int | None:
    """The process that holds a lock file; None: nobody, as far as can be told."""
    with suppress(OSError):
        found = lock.stat()
        return locks.get(f"{os.major(found.st_dev)}:{os.minor(found.st_dev)}:{found.st_ino}")
    return None


def _history(path: Path, until: float) -> tuple[HistoryState, str, int, int]:
    """Open for reading alone and look through it, without leaving files beside it that were not there."""
    try:
        size = path.stat().st_size
        with path.open("rb"):
            pass
    except FileNotFoundError:
        return "none", "", 0, 0
    except OSError as exc:
        return "unreadable", exc.strerror or str(exc), 0, 0
    beside = path.with_name(f"{path.name}-wal")
    # Closed properly, nothing is beside it, and reading needs no files there (which might get another owner).
    how = "mode=ro" if beside.exists() and beside.stat().st_size else "mode=ro&immutable=1"
    version = 0
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None)) as db:
            db.execute("PRAGMA busy_timeout = 500")
            db.set_progress_handler(lambda: time.monotonic() > until, 20_000)
            version = int(db.execute("PRAGMA user_version").fetchone()[0])
            application = int(db.execute("PRAGMA application_id").fetchone()[0])
            if application != APPLICATION_ID:
                empty = not version and not application and not db.execute("SELECT 1 FROM sqlite_master").fetchone()
                return ("none" if empty else "foreign"), "", version, size
            if version > len(MIGRATIONS):
                return "newer", "", version, size
            said = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as exc:
        name = str(getattr(exc, "sqlite_errorname", ""))
        if name.startswith("SQLITE_INTERRUPT"):
            return "unfinished", "", version, size
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return "damaged", clean_line(str(exc), 120), version, size
        return "unreadable", clean_line(str(exc), 120), version, size
    if said != "ok":
        return "damaged", clean_line(said, 120), version, size
    return "ok", "", version, size
