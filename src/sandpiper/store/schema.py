"""The history file's tables and how an older file becomes today's. Page: docs/history.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

# `records` is the truth (exact signed bytes); `messages`, `reactions` and the topic and nick columns are what people
# read, derived from it when a record is placed, and could be made anew from it.
_V1 = """
CREATE TABLE rooms (
    n INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    peer BLOB,
    joined INTEGER NOT NULL,
    topic TEXT NOT NULL DEFAULT '',
    topic_clock INTEGER NOT NULL DEFAULT -1,
    topic_id BLOB NOT NULL DEFAULT x''
);
CREATE TABLE authors (
    n INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    plain INTEGER NOT NULL DEFAULT 0      -- 1: a peer of an old dialect; `key` is made up from its id
);
CREATE TABLE nicks (                      -- what an author is called in a room
    room INTEGER NOT NULL REFERENCES rooms,
    author INTEGER NOT NULL REFERENCES authors,
    nick TEXT NOT NULL,
    PRIMARY KEY (room, author)
) WITHOUT ROWID;
CREATE TABLE records (
    room INTEGER NOT NULL REFERENCES rooms,
    author INTEGER NOT NULL REFERENCES authors,
    main INTEGER NOT NULL,                -- 0: beside the author's chain (a fork)
    seq INTEGER NOT NULL,
    id BLOB NOT NULL,
    clock INTEGER NOT NULL,
    raw BLOB NOT NULL,
    PRIMARY KEY (room, main, author, seq, id)
) WITHOUT ROWID;
CREATE TABLE messages (
    n INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms,
    clock INTEGER NOT NULL,
    id BLOB NOT NULL UNIQUE,
    author INTEGER NOT NULL REFERENCES authors,
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL,                -- the author's clock, ms since 1970
    text TEXT NOT NULL,
    action INTEGER NOT NULL,
    reply_to BLOB NOT NULL,
    edited INTEGER NOT NULL DEFAULT 0,
    retracted INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX in_order ON messages (room, clock, id);
CREATE TABLE reactions (
    target BLOB NOT NULL,
    author INTEGER NOT NULL REFERENCES authors,
    emoji TEXT NOT NULL,
    PRIMARY KEY (target, author, emoji)
) WITHOUT ROWID;
CREATE TABLE peers (                      -- everybody ever linked
    key BLOB PRIMARY KEY,
    nick TEXT NOT NULL,
    first_seen INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    ignored INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE VIRTUAL TABLE words USING fts5 (
    text, content='messages', content_rowid='n', TOKENIZER
);
-- New messages are indexed some hundreds at a time (see history.py); until then a search looks at them one by one.
CREATE TRIGGER words_change AFTER UPDATE OF text ON messages BEGIN
    INSERT INTO words (words, rowid, text) VALUES ('delete', old.n, old.text);
    INSERT INTO words (rowid, text) VALUES (new.n, new.text);
END;
"""

LAST_INDEXED = "SELECT coalesce(max(id), 0) FROM words_docsize"  # FTS5's own table of what it holds

TOKENIZER = 'tokenize="unicode61 remove_diacritics 2"'  # whole words in any script, accents do not matter

# An older file does not say what of it was read: all of it counts as read.
_V2 = """
ALTER TABLE peers ADD COLUMN verified INTEGER NOT NULL DEFAULT 0;  -- 1: its safety words were compared
ALTER TABLE rooms ADD COLUMN read_clock INTEGER NOT NULL DEFAULT -1;
ALTER TABLE rooms ADD COLUMN read_id BLOB NOT NULL DEFAULT x'';    -- with read_clock: the newest message ever seen
UPDATE rooms SET (read_clock, read_id) =
    (SELECT clock, id FROM messages WHERE room = rooms.n ORDER BY clock DESC, id DESC LIMIT 1)
    WHERE EXISTS (SELECT 1 FROM messages WHERE room = rooms.n);
"""

# Messages of hubs are kept as those of old dialects are: without records.
_V3 = """
CREATE TABLE hubs (                       -- what was found at a hub's address
    address TEXT PRIMARY KEY,
    id BLOB NOT NULL,                     -- its key; empty: it has none
    trust TEXT NOT NULL                   -- 'system', its certificate's SHA-256, or empty
) WITHOUT ROWID;
CREATE TABLE hub_rooms (                  -- how far a room of a hub was read
    room INTEGER PRIMARY KEY REFERENCES rooms,
    life TEXT NOT NULL,
    last INTEGER NOT NULL,
    clock INTEGER NOT NULL
);
"""

# Private rooms: what their members share, and what their rosters are made of.
_V4 = """
ALTER TABLE rooms ADD COLUMN secret BLOB NOT NULL DEFAULT x'';
CREATE TABLE acts (                       -- control records, also of logs that are not here; causes first
    n INTEGER PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms,
    id BLOB NOT NULL UNIQUE,
    raw BLOB NOT NULL
);
"""

# The password of a private room, stretched, and the relay where its members meet.
_V5 = """
ALTER TABLE rooms ADD COLUMN lock BLOB NOT NULL DEFAULT x'';
ALTER TABLE rooms ADD COLUMN relay TEXT NOT NULL DEFAULT '';
"""

# Codes of private rooms, so that a restart neither ends them nor forgives a wrong guess; and where our part of a room's
# history begins.
_V6 = """
CREATE TABLE codes (
    id BLOB PRIMARY KEY,
    room INTEGER NOT NULL REFERENCES rooms,
    ends INTEGER NOT NULL,                -- ms since 1970: when it lets nobody in any more, or is forgotten
    mine INTEGER NOT NULL,                -- 1: it was made here
    told BLOB NOT NULL,                   -- as members tell it to each other, words and all; empty: it is closed
    nameplate TEXT NOT NULL,
    relay TEXT NOT NULL,
    reason TEXT NOT NULL                  -- why it is closed; empty: it is open
) WITHOUT ROWID;
ALTER TABLE rooms ADD COLUMN since INTEGER NOT NULL DEFAULT 0;  -- order clock of the first record that is for us
"""
# Under which nick a key was pinned. Who was verified before is pinned as what they are called now.
_V7 = """
ALTER TABLE peers ADD COLUMN pinned TEXT NOT NULL DEFAULT '';
UPDATE peers SET pinned = nick WHERE verified;
"""

MIGRATIONS: tuple[str, ...] = (_V1.replace("TOKENIZER", TOKENIZER), _V2, _V3, _V4, _V5, _V6, _V7)
"""Entry n brings a file from version n to n + 1. Entries are never changed once released."""

APPLICATION_ID = 0x53504950  # "SPIP": tells our files from other SQLite files


def migrate(db: sqlite3.Connection, migrations: tuple[str, ...] = MIGRATIONS) -> None:
    """Bring an open file to today's version, each step all or nothing.

    Raises:
        StoreError: the file belongs to another program or to a later version of ours, or is damaged.
    """
    app: int = db.execute("PRAGMA application_id").fetchone()[0]
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    empty = not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if version == 0 and app == 0 and empty:
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    elif app != APPLICATION_ID:
        raise StoreError(
            "The history file belongs to another program.",
            hint="Move it away, or choose another folder with SANDPIPER_HOME.",
            code="foreign_file",
        )
    if version > len(migrations):
        raise StoreError(
            f"The history file has version {version}; this program reads up to {len(migrations)}.",
            hint="Update sandpiper, or start with another --profile.",
            code="newer_file",
        )
    if version < 0 or empty != (version == 0):
        raise StoreError("The history file's version cannot be right.", code="damaged")
    for step in range(version, len(migrations)):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{migrations[step]}\nPRAGMA user_version = {step + 1};\nCOMMIT;")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
