"""A history as JSON lines, Markdown or text. Pure, except for `write_whole_lines`."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Literal

from sandpiper.errors import StoreError, UsageError
from sandpiper.faces.events import encode
from sandpiper.faces.render import Look, Name, Shown, message
from sandpiper.faces.spans import harmless, text_of
from sandpiper.faces.stream import stored

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sandpiper.faces.archive import Said

Format = Literal["jsonl", "md", "text"]

_BY_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".md": "md",
    ".markdown": "md",
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&])")
_MARKDOWN_START = re.compile(r"(?m)^(\s*)([-+=]|\d+(?=[.)]))")


def format_for(path: str, wanted: str | None) -> Format:
    """The format that was asked for, else by the file's name, else text."""
    match wanted:
        case "jsonl" | "md" | "text":
            return wanted
        case _:
            return _BY_SUFFIX.get(os.path.splitext(path)[1].casefold(), "text")


def lines_of(messages: Iterable[Said], form: Format, zone: tzinfo | None = None) -> Iterator[str]:
    """The lines of an export, each with its newline. Times are local, or those of `zone`; JSON has UTC."""
    match form:
        case "jsonl":
            for said in messages:
                yield encode(stored(said.message, room=said.room, nick=said.nick, mine=said.mine))
        case "md":
            yield from _markdown(messages, zone)
        case "text":
            yield from _text(messages, zone)


def _when(said: Said, zone: tzinfo | None) -> datetime:
    try:
        return datetime.fromtimestamp(said.message.time / 1000, zone or UTC).astimezone(zone)
    except (OverflowError, OSError, ValueError):  # a clock that is centuries off
        return datetime(9999, 12, 31, tzinfo=UTC)


def _text(messages: Iterable[Said], zone: tzinfo | None) -> Iterator[str]:
    room = None
    for said in messages:
        if said.room != room:
            yield f"{'' if room is None else chr(10)}{said.room}\n"
            room = said.room
        when, one = _when(said, zone), said.message
        shown = Shown(
            author=Name(said.nick, 0),
            time=one.time,
            text=one.text,
            action=one.action,
            edited=one.edited,
            retracted=one.retracted,
            reactions=said.reactions,
        )
        first, *rest = message(shown, Look(None, when.date(), when.tzinfo))
        yield f"{when:%Y-%m-%d} {text_of(harmless(first))}\n"
        for line in rest:
            yield f"           {text_of(harmless(line))}\n"


def _markdown(messages: Iterable[Said], zone: tzinfo | None) -> Iterator[str]:
    room = day = None
    for said in messages:
        when, one = _when(said, zone), said.message
        if said.room != room:
            yield f"{'' if room is None else chr(10)}# {_escaped(said.room)}\n"
            room, day = said.room, None
        if when.date() != day:
            day = when.date()
            yield f"\n## {day:%A}, {day.isoformat()}\n"
        text = "*deleted*" if one.retracted else _MARKDOWN_START.sub(r"\1\\\2", _escaped(one.text))
        text = text.replace("\n", "  \n")
        marks = " *(edited)*" if one.edited and not one.retracted else ""
        marks += "".join(f" `{emoji} {count}`" for emoji, count in said.reactions)
        star = "*" if one.action else ""
        yield f"\n**{_escaped(said.nick)}** {when:%H:%M}  \n{star}{text}{star}{marks}\n"


def _escaped(text: str) -> str:
    """Text of peers is text, not markup."""
    return _MARKDOWN.sub(r"\\\1", text)


def write_whole_lines(path: Path, lines: Iterable[str]) -> int:
    """Write a file that is there whole or not at all, readable by its owner alone; how many lines it has.

    Raises:
        UsageError: its folder does not exist.
        StoreError: the disk does not want it; an older file is as it was.
    """
    if not path.parent.is_dir():
        raise UsageError(
            f"There is no folder {path.parent}.", hint="Make it first, or export elsewhere.", code="no_folder"
        )
    fresh, count = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp"), 0
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with open(os.open(fresh, flags, 0o600), "w", encoding="utf-8", newline="\n") as file:
            for line in lines:
                file.write(line)
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as exc:
        raise StoreError(
            f"Cannot write {path}: {exc.strerror}.", hint="Check its rights and the space on the disk.", code="export"
        ) from exc
    finally:
        fresh.unlink(missing_ok=True)
    return count
