"""Lines as a hub's history keeps them: packed into rows, and what index and readers want of them. Pure."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from sandpiper.hub.sqlite_schema import SEQ_BITS

if TYPE_CHECKING:
    from collections.abc import Iterator

PACK_FROM = 512  # bytes: shorter rows do not get smaller
PACK_LEVEL = 1  # zlib's fastest: chat shrinks to a fifth, at 100 MB/s and more, while other threads go on

# No text of a guest can hold these: its quotes are escaped.
_EDIT = b'{"type":"edit"'
_RETRACT = b'{"type":"retract"'
WITH_TEXT = (b'{"type":"msg"', _EDIT)
"""How lines begin that have a text which may be changed."""


class Line(msgspec.Struct, frozen=True, gc=False):
    """What matters here of a line; `id` is the message that an edit or a retraction is about."""

    type: str
    seq: int = 0
    text: str = ""
    id: int = 0


_decoder = msgspec.json.Decoder(Line)
_encoder = msgspec.json.Encoder()


def pack(raw: bytes) -> tuple[int, bytes]:
    """(whether it is packed, bytes to keep)."""
    if len(raw) >= PACK_FROM:
        small = zlib.compress(raw, PACK_LEVEL)
        if len(small) < len(raw):
            return 1, small
    return 0, raw


def unpack(packed: int, raw: bytes) -> bytes:
    """The lines again.

    Raises:
        ValueError: they are damaged.
    """
    try:
        return zlib.decompress(raw) if packed else raw
    except zlib.error as exc:
        raise ValueError(f"lines cannot be unpacked: {exc}") from exc


def changes(raw: bytes) -> list[Line]:
    """The edits and retractions among lines: mostly none, which is seen at a glance."""
    if _EDIT not in raw and _RETRACT not in raw:
        return []
    return [_decoder.decode(line) for line in raw.splitlines() if line.startswith((_EDIT, _RETRACT))]


def texts(life: int, raw: bytes) -> Iterator[tuple[int, str]]:
    """(rowid in the index, text) of each line that has one to be found by: messages and edits."""
    for line in _decoder.decode_lines(raw):
        if line.type in ("msg", "edit") and line.text and line.seq >> SEQ_BITS == 0:
            yield life << SEQ_BITS | line.seq, line.text


def with_text(line: bytes, text: str) -> bytes:
    """The same line with another text."""
    fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    fields["text"] = msgspec.Raw(_encoder.encode(text))
    return _encoder.encode(fields)
