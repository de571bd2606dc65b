"""When the history file is not what it must be: SQLite's errors in our words, looking for damage, keeping it aside."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING

from sandpiper.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUSY_MS = 5000  # another process reads or exports: wait this long for its lock


def damaged(path: Path, why: object) -> StoreError:
    """The error for a file whose content cannot be right."""
    return StoreError(
        f"The history file {path} is damaged ({why}).",
        hint="Start again: the damaged file is kept aside, a new one begins, and peers send what they have.",
        code="damaged",
    )


@contextlib.contextmanager
def sql_errors(path: Path, doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ours, with what to do next."""
    try:
        yield
    except UnicodeDecodeError as exc:  # SQLite's own words quote bytes of the file that are no text
        raise damaged(path, exc) from exc
    except sqlite3.Error as exc:
        name = getattr(exc, "sqlite_errorname", "") or ""
        if "decode to UTF-8" in str(exc):  # Python's own error: the file says that this is text
            name = "SQLITE_CORRUPT"
        if name.startswith("SQLITE_FULL"):
            raise StoreError(
                f"The disk that holds {path} is full: {doing} failed and nothing was sent.",
                hint="Make room on the disk, then send again; nothing that was shown as sent is lost.",
                code="disk_full",
            ) from exc
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            raise damaged(path, exc) from exc
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            raise StoreError(
                f"The history file {path} cannot be written ({exc}).",
                hint="Check the rights of its folder (sandpiper doctor says which), or set SANDPIPER_HOME.",
                code="not_writable",
            ) from exc
        raise StoreError(
            f"The history file {path} failed: {doing} ({exc}).", hint="Run: sandpiper doctor", code="store"
        ) from exc


def check(path: Path) -> None:
    """Look for damage through a connection that cannot write: one that can would change the file and the WAL beside
    it when it lets go of them, and they are evidence then.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        with contextlib.closing(connect(path, "ro")) as db:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorname == "SQLITE_ERROR":  # these statements are right, so the file is wrong
            raise damaged(path, exc) from exc
        return  # whoever opens it for writing learns what is the matter
    except UnicodeDecodeError as exc:  # what SQLite says quotes bytes of the file
        raise damaged(path, exc) from exc
    if found != "ok":
        raise damaged(path, found)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection to a file that exists."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode={mode}", uri=True)


def damage_note(path: Path) -> Path:
    """The empty file that says: this history was found damaged while it was in use."""
    return path.with_name(f"{path.name}.is-damaged")


def move_aside(path: Path) -> Path:
    """Give a damaged file, and what stands beside it, a name of its own."""
    aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    count = 1
    while aside.exists():
        count += 1
        aside = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{count}")
    try:
        for suffix in ("", "-wal", "-shm"):
            beside = path.with_name(path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        damage_note(path).unlink(missing_ok=True)
    except OSError as exc:
        raise StoreError(
            f"The history file {path} is damaged and could not be moved aside ({exc}).",
            hint="Move it away yourself, or check the rights of its folder.",
            code="not_writable",
        ) from exc
    return aside
