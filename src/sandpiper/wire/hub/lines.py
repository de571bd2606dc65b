"""Lines of the hub's chat: whole chunks of them decoded and encoded at once, hostile ones told apart. Pure."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from sandpiper.errors import RemoteProtocolError
from sandpiper.wire.hub.answers import AnyAnswer
from sandpiper.wire.hub.asks import AnyAsk, Ask, Edit, Msg, Password
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.text import clean_line, clean_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_ask_decoder: msgspec.json.Decoder[AnyAsk] = msgspec.json.Decoder(AnyAsk)
_answer_decoder: msgspec.json.Decoder[AnyAnswer] = msgspec.json.Decoder(AnyAnswer)
_encoder = msgspec.json.Encoder()

# Texts of these characters alone are safe as they are: no control, format or combining characters among them.
# Latin, Greek, Cyrillic, kana, Han and Hangul: what most people write in most lines.
_HARMLESS = re.compile(
    "[ -~\u00a1-\u00ac\u00ae-\u02ff\u0391-\u03a1\u03a3-\u0482\u048a-\u052f\u1e00-\u1eff\u2010-\u2027"
    "\u3001-\u3029\u3041-\u3096\u30a1-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e\U0001f600-\U0001f64f]*"
)


_TEXT = re.compile(rb"\S")


class BadLine(Struct, frozen=True, gc=False):
    """A line that is no ask. `code`: not_json, not_utf8, not_valid, unknown_type, nested_too_deep, line_too_long."""

    code: str
    text: str


class BadAnswer(RemoteProtocolError):
    """A line of a hub that could not be read."""

    code = "bad_line"


TOO_LONG = BadLine("line_too_long", "A line is longer than 64 KiB; it was dropped.")
NOTHING = BadLine("not_valid", "A line was not understood: nothing of its text can be shown.")
BLANK = BadLine("", "")
"""Stands for blank lines where nothing else came with them: nobody is told, but they count."""
# For whoever types into `nc`; quotation marks would come with backslashes there.
_EXAMPLE = "Lines are JSON objects with a type: for example nick, with a nick, or msg, with a text."


def decode_chunk(chunk: bytes, most_bad: int = sys.maxsize) -> Sequence[AnyAsk | BadLine]:
    """What a chunk of whole lines says, one entry a line, in order; blank lines are left out. Texts are safe to show.
    What follows the last of `most_bad` bad lines is not looked at: whoever sends so many is heard no more.

    Never raises, whatever the bytes are.
    """
    try:
        asks: Sequence[AnyAsk | BadLine] = _ask_decoder.decode_lines(chunk)
    # RecursionError: nested deeper than the stack allows. UnicodeDecodeError: not UTF-8.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _decode_each(chunk, most_bad)
    if len(asks) != chunk.count(b"\n") or (len(chunk) > MAX_LINE_BYTES and _has_long_line(chunk)):
        # Blank lines, or an object over several lines, or several in one.
        return _decode_each(chunk, most_bad)
    if chunk.isascii() and b"\\" not in chunk and b"\x7f" not in chunk:
        return asks  # no character in it that is not printable: one look for a thousand lines
    return [_safe(ask) for ask in asks]


def _decode_each(chunk: bytes, most_bad: int) -> list[AnyAsk | BadLine]:
    """As `decode_chunk`, line by line: 64 KiB of bad ones take a quarter of a second, hence no more than needed."""
    found: list[AnyAsk | BadLine] = []
    bad = at = 0
    while at < len(chunk) and bad < most_bad:
        begin = at
        at = chunk.find(b"\n", begin) + 1 or len(chunk)
        line = chunk[begin:at].rstrip(b"\n")
        if line.strip():
            ask = _decode_line(line)
            found.append(ask)
            bad += isinstance(ask, BadLine)
        elif (more := _TEXT.search(chunk, at)) is not None:
            at = chunk.rfind(b"\n", at, more.start()) + 1 or at  # all blank lines at once: there may be 65,536
        else:
            break
    return found


def _decode_line(line: bytes) -> AnyAsk | BadLine:
    if len(line) >= MAX_LINE_BYTES:
        return TOO_LONG
    try:
        return _safe(_ask_decoder.decode(line))
    except msgspec.ValidationError as exc:
        why = clean_line(str(exc), 200)
        if why.endswith("`$.type`") and "Invalid value" in why:
            return BadLine("unknown_type", f"A line has a type that is not known here ({why}). {_EXAMPLE}")
        return BadLine("not_valid", f"A line was not understood: {why}.")
    except msgspec.MsgspecError as exc:
        why = clean_line(str(exc), 200).removeprefix("JSON is malformed: ")
        return BadLine("not_json", f"A line is not JSON ({why}). {_EXAMPLE}")
    except UnicodeDecodeError:
        return BadLine("not_utf8", "A line is not UTF-8.")
    except RecursionError:
        return BadLine("nested_too_deep", "A line is nested too deep.")


def _has_long_line(chunk: bytes) -> bool:
    """Whether a line in it (with its newline) is longer than `MAX_LINE_BYTES`; looks at few places only."""
    at = 0
    while len(chunk) - at > MAX_LINE_BYTES:
        end = chunk.rfind(b"\n", at, at + MAX_LINE_BYTES)
        if end < 0:
            return True
        at = end + 1
    return False


def _safe(ask: AnyAsk | BadLine) -> AnyAsk | BadLine:
    """With texts that are safe to show. Names, topics and emoji are normalised where they are used."""
    if isinstance(ask, Msg):
        text, client_id = safe_text(ask.text), ask.client_id
        if not text:
            return NOTHING
        if not client_id.isascii() or not client_id.isprintable():
            return BadLine("not_valid", "A line was not understood: a client_id is made of printable ASCII.")
        return ask if text is ask.text else msgspec.structs.replace(ask, text=text)
    if isinstance(ask, Edit):
        text = safe_text(ask.text)
        return msgspec.structs.replace(ask, text=text) if text else NOTHING
    return ask


def safe_text(text: str) -> str:
    """As `clean_text` has it, faster for most texts."""
    if text.isascii() and text.isprintable():
        return text
    return text if _HARMLESS.fullmatch(text) else clean_text(text)


def encode_answers(answers: Sequence[AnyAnswer]) -> bytes:
    """Lines, each with its newline."""
    return _encoder.encode_lines(_as_list(answers))


def encode_asks(asks: Sequence[Ask | Password]) -> bytes:
    """Lines, each with its newline: what a program on the other side sends."""
    return _encoder.encode_lines(_as_list(asks))


def _as_list(lines: Sequence[Struct]) -> list[Struct]:
    """The same, as a list: of anything else `encode_lines` of msgspec 0.22 never gives the iterator back (48 bytes)."""
    return lines if type(lines) is list else list(lines)


def decode_answer(line: bytes) -> AnyAnswer:
    """What one line of a hub says; its texts are as the hub sent them.

    Raises:
        BadAnswer: it could not be read.
    """
    try:
        return _answer_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadAnswer(f"A line of the hub could not be read ({clean_line(str(exc), 200)}).") from exc


def page_of(lines: Sequence[bytes]) -> Raw:
    """Lines (without newlines) that were encoded before, as the array of a `Page`."""
    return Raw(b"[" + b",".join(lines) + b"]")
