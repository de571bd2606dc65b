"""A hub's lines as a guest believes them: typed, bounded, safe to show, also those of other versions. Pure."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from sandpiper.core.hubroom import Numbered
from sandpiper.wire.hub.answers import (
    AnyAnswer,
    Edited,
    Error,
    Joined,
    Kept,
    Member,
    Notice,
    Reacted,
    Retracted,
    RoomLine,
    RoomList,
    Said,
    TopicSet,
    WhoList,
)
from sandpiper.wire.hub.asks import MAX_CLIENT_ID_CHARS
from sandpiper.wire.hub.lines import BadAnswer, decode_answer, safe_text
from sandpiper.wire.limits import KEY_BYTES, MAX_ROOM_NAME_CHARS, MAX_SEQ, MAX_TEXT_CHARS
from sandpiper.wire.text import clean_emoji, clean_line, clean_nick, clean_text, clean_topic

MAX_SENTENCE = 400  # characters of a notice or a refusal
MAX_CODE = 40
MAX_EPOCH = 16  # as a hub takes it back
MAX_MEMBERS = 1000  # names kept of a room: as many as a hub lists
MAX_TS = 1 << 38  # seconds: year 10680


class _Loose(Struct, frozen=True):
    """What any hub's line has in common: the founding one names no fields but these, others may add any."""

    type: str
    text: str = ""
    nick: str = ""
    ts: float = 0.0
    room: str = ""
    seq: int = 0


class Unknown(Struct, frozen=True):
    """A line of a kind that this version does not know. Its number counts, if it has one."""

    room: str
    seq: int


class FoundingNick(Struct, frozen=True):
    """A founding hub's answer to `nick`: it does not say which."""

    text: str


Line = AnyAnswer | Unknown | FoundingNick

_loose = msgspec.json.Decoder(_Loose)
_raws = msgspec.json.Decoder(list[Raw])


def read(raw: bytes) -> Line:
    """What one line of a hub says. Texts of messages and notices are safe to show; whoever uses others cleans them.

    Raises:
        BadAnswer: it could not be read.
    """
    try:
        return _believed(decode_answer(raw))
    except BadAnswer:
        try:
            loose = _loose.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            loose = None
        if loose is None:
            raise
    ts = _ts(int(loose.ts)) if abs(loose.ts) < MAX_TS else 0
    match loose.type:
        case "nick":
            return FoundingNick(clean_line(loose.text, MAX_SENTENCE))
        case "msg" if not loose.seq:
            return _believed(Said(loose.nick, loose.text, ts))
        case "notice" if not loose.seq:
            return _believed(Notice(loose.text, ts))
        case "error":
            return _believed(Error(loose.text))
        case _:
            return Unknown(loose.room, loose.seq if 0 < loose.seq <= MAX_SEQ else 0)


def read_page(raw: Raw) -> list[Numbered]:
    """The lines of a page of history that have a number.

    Raises:
        BadAnswer: it is no list.
    """
    try:
        lines = _raws.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise BadAnswer("A page of the hub's history could not be read.") from exc
    found = []
    for line in lines:
        try:
            answer = read(bytes(line))
        except BadAnswer:
            continue
        seq: int = getattr(answer, "seq", 0)
        if seq:
            found.append(Numbered(seq, answer if isinstance(answer, Kept) else None))
    return found


def read_found(raw: Raw, most: int) -> list[tuple[int, Said]]:
    """The messages that a search has found, at most so many, each with its number.

    Raises:
        BadAnswer: it is no list.
    """
    return [(seq, kept) for seq, kept in read_page(raw) if isinstance(kept, Said)][:most]


def _ts(ts: int) -> int:
    return min(max(ts, 0), MAX_TS)


def _believed(answer: AnyAnswer) -> Line:
    seq = getattr(answer, "seq", 0)
    if not 0 <= seq <= MAX_SEQ:
        raise BadAnswer("A line of the hub has a number that cannot be.")
    match answer:
        case Said(nick=nick, text=text, ts=ts, client_id=client_id, reply_to=reply_to):
            fits = client_id.isascii() and client_id.isprintable() and len(client_id) <= MAX_CLIENT_ID_CHARS
            text = safe_text(text) if len(text) <= MAX_TEXT_CHARS else clean_text(text)
            return replace(
                answer,
                nick=clean_nick(nick),
                text=text,
                ts=_ts(ts),
                client_id=client_id if fits else "",
                reply_to=reply_to if 0 < reply_to <= MAX_SEQ else 0,
            )
        case Edited(nick=nick, text=text, ts=ts):
            return replace(answer, nick=clean_nick(nick), text=clean_text(text), ts=_ts(ts))
        case Retracted(nick=nick, ts=ts):
            return replace(answer, nick=clean_nick(nick), ts=_ts(ts))
        case Reacted(nick=nick, emoji=emoji, ts=ts):
            return replace(answer, nick=clean_nick(nick), emoji=clean_emoji(emoji), ts=_ts(ts))
        case TopicSet(text=text, nick=nick, ts=ts):
            return replace(answer, text=clean_topic(text), nick=clean_nick(nick) if nick else "", ts=_ts(ts))
        case Notice(text=text, ts=ts, joined=joined, left=left, old=old, new=new, code=code):
            return replace(
                answer,
                text=clean_line(text, MAX_SENTENCE),
                ts=_ts(ts),
                joined=tuple(map(clean_nick, joined)),
                left=tuple(map(clean_nick, left)),
                old=clean_nick(old) if old else "",
                new=clean_nick(new) if new else "",
                members=max(0, answer.members),
                code=clean_line(code, MAX_CODE),
            )
        case Error(text=text, code=code):
            return replace(answer, text=clean_line(text, MAX_SENTENCE), code=clean_line(code, MAX_CODE))
        case Joined(epoch=epoch, first=first) if not (_is_epoch(epoch) and 0 <= first <= seq + 1):
            raise BadAnswer("The hub says something about a room that cannot be.")
        case _:
            return answer


def _is_epoch(epoch: str) -> bool:
    return 0 < len(epoch) <= MAX_EPOCH and epoch.isascii() and epoch.isprintable() and "~" not in epoch


def members_of(answer: WhoList) -> tuple[Member, ...]:
    """Who is in a room, safe to show."""
    return tuple(
        replace(one, nick=clean_nick(one.nick), key=one.key if len(one.key) == KEY_BYTES else b"")
        for one in answer.members[:MAX_MEMBERS]
    )


def rooms_of(answer: RoomList) -> tuple[RoomLine, ...]:
    """The hub's rooms, safe to show."""
    return tuple(
        RoomLine(clean_line(one.room, MAX_ROOM_NAME_CHARS), max(0, one.members), clean_topic(one.topic), one.locked)
        for one in answer.rooms[:MAX_MEMBERS]
    )
