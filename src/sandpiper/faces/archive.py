"""Reading a profile's history without running a node: `sandpiper history`, `rooms`, and the stored half of `peers`."""

from __future__ import annotations

import re
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from sandpiper.core.names import Names
from sandpiper.errors import StoreError, UsageError
from sandpiper.faces import events
from sandpiper.faces.events import encode, timestamp
from sandpiper.faces.people import PLAIN_MARK, ambiguous, room_label, told_apart
from sandpiper.faces.spans import columns
from sandpiper.faces.verifying import Comparison
from sandpiper.store.profile import (
    directory_name,
    last_profile,
    list_profiles,
    profile_name,
)
from sandpiper.store.reader import Message, Reader, RoomRow
from sandpiper.wire.ids import Key32, PeerKey, short
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.config import Loaded, Paths, Settings
    from sandpiper.wire.ids import RoomId

ALL = 1 << 30  # "no limit" where a number is needed

_AGO = re.compile(r"(\d{1,6})\s*(m|min|h|d|w)\Z", re.IGNORECASE)
_UNITS = {"m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Said(Struct, frozen=True):
    """A stored message with the names that people know: `room` and `nick` as shown, `quote` the beginning of what it
    answers, `reactions` with their counts.
    """

    message: Message
    room: str
    nick: str
    mine: bool
    reactions: tuple[tuple[str, int], ...]


def chosen_profile(settings: Settings, paths: Paths) -> str | None:
    """The profile that the settings mean: named, that of the nick, or the last used; None: there is none yet."""
    if settings.profile:
        return profile_name(settings.profile)
    if settings.nick:
        return profile_name(settings.nick)
    return last_profile(paths)


def profile_directory(settings: Settings, paths: Paths) -> Path:
    """Where the files of the chosen profile are.

    Raises:
        StoreError: there is no such profile.
    """
    name = chosen_profile(settings, paths)
    known = list_profiles(paths)
    if name is None or name not in known:
        which = f"There is no profile {name}." if name else "There is no history yet."
        hint = f"There are: {', '.join(known)}" if known else "Start sandpiper once."
        raise StoreError(which, hint=hint, code="no_profile")
    return paths.profiles / directory_name(name)


def parse_time(text: str, now: datetime | None = None) -> int:
    """A moment in ms since 1970: `2h`, `3d`, `30m`, `1w` ago, `today`, `yesterday`, or an ISO date or time (local).

    Raises:
        UsageError: it is none of these.
    """
    now = now or datetime.now(UTC).astimezone()
    wanted = text.strip().casefold()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if ago := _AGO.match(wanted):
        try:
            when = now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except OverflowError:  # before there were dates
            return 0
    elif wanted in ("today", "yesterday"):
        when = midnight - timedelta(days=wanted == "yesterday")
    else:
        try:
            when = datetime.fromisoformat(text.strip())
        except ValueError:
            raise UsageError(
                f"{clean_line(text, 40)!r} is not a time.",
                hint="Give 30m, 2h, 3d or 1w for that long ago, today, yesterday, 2026-11-21, or 2026-11-21T10:30.",
                code="bad_time",
            ) from None
        when = when.astimezone() if when.tzinfo is None else when
    return max(0, int(when.timestamp() * 1000))


class Archive:
    """One profile's history, for reading. Use it as a context manager."""

    def __init__(self, directory: Path) -> None:
        """Open it.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        self._reader = Reader(directory / "history.db")
        self._me = _public_key(directory)
        self._rooms = {row.room: row for row in self._reader.rooms()}
        self._names = Names(self._me or PeerKey(b""), "")
        self._met: set[PeerKey] = set()
        for peer in self._reader.acquaintances():
            self._names.learn(peer.key, peer.nick)
            if peer.pinned:
                self._names.pin(peer.key, peer.pinned, verified=peer.verified)
            self._met.add(peer.key)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    @property
    def reader(self) -> Reader:
        """The open history."""
        return self._reader

    def rooms(self) -> list[RoomRow]:
        """All rooms ever joined, those with the newest messages first."""
        return list(self._rooms.values())

    def label(self, row: RoomRow) -> str:
        """`#general`, or `@bob`; a private room whose name others have, too, with digits of its id."""
        label = room_label(row.name, self._names.show(row.peer) if row.peer is not None else None)
        if row.kind != "private":
            return label
        others = [
            one.room for one in self._rooms.values() if (one.name, one.peer) == (row.name, None) and one is not row
        ]
        return label + told_apart(row.room, row.kind, others)

    def find_room(self, text: str) -> RoomRow:
        """The room meant by `#general`, `general` or `@bob`.

        Raises:
            UsageError: there is none.
        """
        wanted = text.strip().casefold()
        rows = self.rooms()
        by_label = {self.label(row).casefold(): row for row in rows}
        same = [row for row in rows if row.peer is None and row.name == wanted.removeprefix("#")]
        if len(same) > 1 and any(row.kind == "open" for row in same):
            same = []  # by its name alone the open one is meant: nobody is told anything by reading
        if len(same) > 1:
            raise ambiguous(text, map(self.label, same))
        for label in (wanted, f"#{wanted}"):
            if label in by_label:
                return by_label[label]
        labels = " ".join(self.label(row) for row in rows)
        raise UsageError(
            f"There is no history of {clean_line(text, 40)}.", hint=f"There is of: {labels}", code="no_room"
        )

    def comparison(self, text: str) -> tuple[Comparison, bool]:
        """The safety words of us and whoever is meant by a name, or the beginning of a key; True: that is another key
        than the one verified under this name.

        Raises:
            UsageError: nobody who was ever linked.
            StoreError: our own key cannot be read.
        """
        from sandpiper.crypto.safety import safety

        if self._me is None:
            raise StoreError("This profile's key cannot be read.", hint="What may be wrong: sandpiper doctor")
        key = self._names.find(text)
        row = next((row for row in self._reader.peers() if row.key == key and row.first_seen), None)
        if key is None or row is None:
            raise UsageError(
                f"Nobody called {clean_line(text, 40)} was ever linked.",
                hint="Whom you have met: sandpiper peers",
                code="no_peer",
            )
        words, name = safety(self._me, key), self._names.show(key)
        shown = Comparison(key, name, words.words, words.digits, row.verified, row.first_seen, "")
        return shown, self._names.rival(key) is not None

    def messages(
        self, room: RoomId | None, *, words: str = "", since_ms: int = 0, until_ms: int | None = None, limit: int = 0
    ) -> Iterator[Said]:
        """The newest `limit` messages (0: all) of one room or of each, oldest first, room by room."""
        rooms = [room] if room is not None else [row.room for row in self.rooms()]
        if words:
            found: Iterator[Message] = iter(
                self._reader.search(words, room=room, limit=ALL if until_ms else limit or ALL, since_ms=since_ms)
            )
            kept = [one for one in found if until_ms is None or one.time < until_ms]
            for message in kept[-limit:] if limit else kept:
                yield self._said(message)
            return
        for one in rooms:
            everything = self._reader.everything(one, since_ms=since_ms)
            wanted = (message for message in everything if until_ms is None or message.time < until_ms)
            for message in deque(wanted, maxlen=limit) if limit else wanted:
                yield self._said(message)

    def _said(self, message: Message) -> Said:
        row = self._rooms.get(message.room)
        return Said(
            message=message,
            room=self.label(row) if row is not None else f"#{short(message.room)}",
            nick=self._name(message),
            mine=message.author == self._me,
            reactions=tuple(sorted(Counter(one.emoji for one in message.reactions).items())),
        )

    def _name(self, message: Message) -> str:
        """As on the screen: whoever was met first with a nick has it bare."""
        if message.hub:
            return message.nick
        if message.plain:
            return message.nick + PLAIN_MARK
        if message.author not in self._met and message.nick:
            self._names.learn(message.author, message.nick)
        return self._names.show(message.author)


def room_lines(kept: Archive, *, as_json: bool) -> Iterator[str]:
    """The rooms of a history: as events, or one line each."""
    rows = kept.rooms()
    labels = [kept.label(row) for row in rows]
    width = max(map(columns, labels), default=0)
    for label, row in zip(labels, rows, strict=True):
        if as_json:
            yield encode(
                events.Room(
                    room=label,
                    state="joined" if row.joined else "left",
                    kind=row.kind,
                    peer=label[1:] if row.peer is not None else None,
                    topic=row.topic,
                    messages=row.messages,
                    last=timestamp(row.last_time) if row.last_time else None,
                )
            )
            continue
        pad = " " * (width - columns(label))
        last = f", last {datetime.fromtimestamp(row.last_time / 1000, UTC).astimezone():%Y-%m-%d %H:%M}"
        count = f"{row.messages:,} message{'' if row.messages == 1 else 's'}{last if row.last_time else ''}"
        state = "" if row.joined else "  left"
        yield f"{label}{pad}  {count}{state}{'  ' + row.topic if row.topic else ''}\n"


def setting_lines(loaded: Loaded, name: str | None, *, as_json: bool) -> Iterator[str]:
    """All settings with their sources, or the bare value of one.

    Raises:
        UsageError: there is no such setting.
    """
    rows = list(loaded.rows())
    if name is not None:
        rows = [row for row in rows if row[0] == name.replace("-", "_")]
        if not rows:
            raise UsageError(f"{name!r} is not a setting.", hint="List them with: sandpiper config", code="no_setting")
    width = max(len(row[0]) for row in rows)
    for key, value, source in rows:
        if as_json:
            yield encode(events.Setting(name=key, value=value, source=source))
        elif name is not None:
            bare = getattr(loaded.settings, key)
            yield f"{bare if isinstance(bare, str) else value.strip(chr(34))}\n"
        else:
            yield f"{key:{width}} = {value}  # {source}\n"


class _Public(Struct, frozen=True):
    key: Key32


def _public_key(directory: Path) -> PeerKey | None:
    """Our key, to tell our own messages: the public half stands in the key file, whatever keeps the secret."""
    try:
        return PeerKey(msgspec.json.decode((directory / "identity").read_bytes(), type=_Public).key)
    except (OSError, msgspec.DecodeError):
        return None
