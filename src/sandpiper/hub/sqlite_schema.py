"""The tables of a hub's history file, its settings, and opening it. Page: docs/hub-history.md."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from sandpiper.errors import StoreError
from sandpiper.hub.limits import MAX_KEPT_ROOMS
from sandpiper.store.damage import BUSY_MS, check, connect, damage_note, damaged, move_aside, sql_errors
from sandpiper.store.schema import TOKENIZER

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x53504842  # "SPHB": tells a hub's files from a profile's, and from other SQLite files

KEEP_SECONDS = 90 * 24 * 3600  # a season: what a newcomer may still want to read
KEEP_BYTES = 2 * 1024**3  # of lines, compressed: with their search index it still fits the smallest rented machine
MAX_KEPT_NICKS = 100_000  # 10 MiB; who comes first and never again would otherwise hold a nick for ever

SEQ_BITS = 36  # of a message's rowid in the index are its number in the room, the others name the room's life
SEQ_JUMP = 1 << 20  # numbers left out after a crash: more lines than can have been sent and not been written

# Lines are kept as they were sent, many to a row: `batches`. Everything else about them can be made from those anew.
_V1 = f"""
PRAGMA application_id = {APPLICATION_ID};
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    clean INTEGER NOT NULL,               -- 0: somebody writes, or did and was killed
    indexed INTEGER NOT NULL              -- the last of `batches` whose texts are in `words`
);
INSERT INTO state VALUES (1, 1, 0);
CREATE TABLE rooms (                      -- rooms of now
    name TEXT PRIMARY KEY,
    epoch TEXT NOT NULL,
    topic TEXT NOT NULL,
    lock BLOB NOT NULL,
    operators BLOB NOT NULL,              -- keys, one after the other
    slowmode INTEGER NOT NULL,
    used INTEGER NOT NULL                 -- when it was last changed, s since 1970
) WITHOUT ROWID;
CREATE TABLE nicks (
    n INTEGER PRIMARY KEY,                -- the order in which they were taken
    nick TEXT NOT NULL UNIQUE,
    key BLOB NOT NULL
);
CREATE TABLE lives (                      -- of a room: a name and an epoch
    n INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: it is half of a rowid in `words`
    room TEXT NOT NULL,
    epoch TEXT NOT NULL,
    seq INTEGER NOT NULL DEFAULT 0,       -- a number that was given out, when no line of it or a later one is here
    dead INTEGER NOT NULL DEFAULT 0,      -- 1: its lines are to be removed
    UNIQUE (room, epoch)
);
CREATE TABLE batches (
    n INTEGER PRIMARY KEY AUTOINCREMENT,  -- the order in which they were written, of all rooms
    life INTEGER NOT NULL REFERENCES lives,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    ts INTEGER NOT NULL,                  -- of the last line, s since 1970
    packed INTEGER NOT NULL,              -- 1: by zlib
    raw BLOB NOT NULL
);
CREATE UNIQUE INDEX in_order ON batches (life, first);
CREATE TABLE edits (                      -- line `seq` gives line `id` this text
    life INTEGER NOT NULL,
    id INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (life, id, seq)
) WITHOUT ROWID;
CREATE INDEX edit_lines ON edits (life, seq);
CREATE TABLE retracted (
    life INTEGER NOT NULL,
    id INTEGER NOT NULL,
    erased INTEGER NOT NULL DEFAULT 0,    -- 1: no text of it is in `batches`, `edits` and `words` any more
    PRIMARY KEY (life, id)
) WITHOUT ROWID;
CREATE INDEX to_erase ON retracted (erased) WHERE NOT erased;
-- Row life << {SEQ_BITS} | seq holds the text of that line, a message's or an edit's. Texts are not kept a second time.
CREATE VIRTUAL TABLE words USING fts5 (text, content='', columnsize=0, {TOKENIZER});
"""

# Who is banned or muted: a list of [name, until, [tokens]] in JSON (`Barred`), empty for nobody.
_V2 = """
ALTER TABLE rooms ADD COLUMN bans BLOB NOT NULL DEFAULT x'';
ALTER TABLE rooms ADD COLUMN mutes BLOB NOT NULL DEFAULT x'';
ALTER TABLE state ADD COLUMN bans BLOB NOT NULL DEFAULT x'';  -- of the whole hub
"""

MIGRATIONS: tuple[str, ...] = (_V1, _V2)
"""Entry n brings a file from version n to n + 1. Entries are never changed once released."""


class HistorySettings(Struct, frozen=True, kw_only=True):
    """What the operator of a hub may choose about its history."""

    durable: bool = False
    """Whether a line counts as written only when it survives a power cut; else when it survives the program's end."""
    keep_seconds: int = KEEP_SECONDS
    """Lines older than this are removed."""
    keep_bytes: int = KEEP_BYTES
    """The oldest lines are removed when all together take more, as they are stored (compressed)."""
    keep_rooms: int = MAX_KEPT_ROOMS
    """Beyond so many, rooms go: those that nobody rules first, and those longest silent."""


class OpenedFile(NamedTuple):
    """An open file. `damaged` is where a damaged one was moved to, if it was."""

    db: sqlite3.Connection
    damaged: Path | None


def open_file(path: Path, settings: HistorySettings) -> OpenedFile:
    """Open a hub's history for its one writer, or begin it. A damaged file is moved aside and a new one begun.

    Raises:
        StoreError: it cannot be opened and moving it aside would not help.
    """
    if not (damage_note(path).exists() and path.exists()):
        try:
            return OpenedFile(_open(path, settings), None)
        except StoreError as exc:
            if exc.code != "damaged":
                raise
    aside = move_aside(path)
    return OpenedFile(_open(path, settings), aside)


def _open(path: Path, settings: HistorySettings) -> sqlite3.Connection:
    with sql_errors(path, "opening it"):
        if not _closed_well(path):
            check(path)  # takes a second a gigabyte
        # SQLite makes the files beside it with the rights that this one has.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            os.chmod(path, 0o600)
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            version = _version(path, db)
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before anything is in the file, or it does nothing
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA secure_delete = FAST")
            db.execute("PRAGMA cache_size = -8192")
            for step in range(version, len(MIGRATIONS)):
                db.executescript(f"BEGIN IMMEDIATE;\n{MIGRATIONS[step]}\nPRAGMA user_version = {step + 1};\nCOMMIT;")
            _begin(db)  # survives a power cut in any case: without it numbers would be used twice after the next one
            if not settings.durable:
                db.execute("PRAGMA synchronous = NORMAL")
        except BaseException:
            db.close()
            raise
        return db


def _closed_well(path: Path) -> bool:
    """Whether the last writer closed the file, as far as that can be read."""
    if not path.is_file() or path.with_name(f"{path.name}-wal").exists():
        return False
    with contextlib.suppress(sqlite3.Error), contextlib.closing(connect(path, "ro")) as db:
        return bool(db.execute("SELECT clean FROM state").fetchone()[0])
    return False


def _version(path: Path, db: sqlite3.Connection) -> int:
    """The version of a file that is ours, or empty. Nothing is written."""
    app: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    empty = not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if app != APPLICATION_ID and not (empty and app == version == 0):
        raise StoreError(
            f"The file {path} is not a hub's history.",
            hint="Move it away, or name another file for the hub's history.",
            code="foreign_file",
        )
    if version > len(MIGRATIONS):
        raise StoreError(
            f"The hub's history has version {version}; this program reads up to {len(MIGRATIONS)}.",
            hint="Update sandpiper, or name another file for the hub's history.",
            code="newer_file",
        )
    if version < 0 or empty != (version == 0):
        raise damaged(path, "its version cannot be right")
    return version


def _begin(db: sqlite3.Connection) -> None:
    """Note that somebody writes. After a crash, leave out the numbers that guests may have seen on lost lines: whoever
    resumes with one of them must not get another line for it.
    """
    db.execute("BEGIN IMMEDIATE")
    if not db.execute("SELECT clean FROM state").fetchone()[0]:
        db.execute(
            "UPDATE lives SET seq = ? + max(seq, coalesce("
            "(SELECT last FROM batches WHERE life = lives.n ORDER BY first DESC LIMIT 1), 0))",
            (SEQ_JUMP,),
        )
    db.execute("UPDATE state SET clean = 0")
    # A room that was made anew, or that nobody remembers, is not asked for any more.
    db.execute(
        "UPDATE lives SET dead = 1 WHERE NOT EXISTS"
        " (SELECT 1 FROM rooms WHERE rooms.name = lives.room AND rooms.epoch = lives.epoch)"
    )
    db.execute("COMMIT")
