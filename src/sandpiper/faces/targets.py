"""Which message somebody means by `^`, `^2`, `3fa29c` or `@bob`."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from sandpiper.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.faces.context import Context
    from sandpiper.store.reader import Message, Reader
    from sandpiper.wire.ids import RoomId

MAX_BACK = 2000  # messages looked through for somebody's last one
PAGE = 200
MAX_COUNT = 999  # of `^N`

WHOLE_ID = 64  # digits

_BACK = re.compile(r"\^(\d{0,3})\Z")
_ID = re.compile(r"[0-9a-f]{4,64}\Z", re.IGNORECASE)
HINT = "Say which: ^ the last, ^2 the one before, @nick their last, or an id from /history."


def is_whole_id(word: str) -> bool:
    """True for all the digits of an id: nobody types them as a word of a text."""
    return len(word) == WHOLE_ID and bool(_ID.match(word))


def is_target(word: str) -> bool:
    """True for a word that can only be meant as a message: a caret, an id, or somebody's name with @."""
    return bool(_BACK.match(word) or _ID.match(word) or (word.startswith("@") and len(word) > 1))


async def find_message(context: Context, target: str, *, own: bool = False) -> Message:
    """The message of the current room that `target` means; `own`: count our own only.

    Raises:
        UsageError: none is meant, several could be, or it is not ours though it must be.
    """
    room, me = context.room, context.node.key
    key = context.people.find(target, room) if target.startswith("@") else None

    def wanted(message: Message) -> bool:
        return not message.retracted and (not own or message.author == me) and (key is None or message.author == key)

    def look() -> Message:
        with context.node.reader() as reader:
            if back := _BACK.match(target):
                return _counted(reader, room, max(1, int(back[1] or 1)), wanted)
            if key is not None:
                return _counted(reader, room, 1, wanted)
            return _by_id(reader, room, target)

    if not is_target(target):
        raise UsageError(f"{target!r} is no message.", hint=HINT, code="no_message")
    found = await asyncio.to_thread(look)
    if found.retracted:
        raise UsageError("That message was deleted.", hint="See the others: /history", code="deleted")
    if own and found.author != me:
        whose = context.people.author(found)
        raise UsageError(f"That message is {whose}'s: only its author can change it.", hint=HINT, code="not_yours")
    return found


def _by_id(reader: Reader, room: RoomId, target: str) -> Message:
    found = reader.find(room, target)
    if not found:
        hint = f"{HINT} Or is {target} a word of your text? Then put a ^ in front of it."
        raise UsageError(f"No message here has an id that begins with {target}.", hint=hint, code="no_message")
    if len(found) > 1:
        raise UsageError(f"{len(found)} messages have ids that begin with {target}.", hint="Give more of its digits.")
    return found[0]


def _counted(reader: Reader, room: RoomId, count: int, wanted: Callable[[Message], bool]) -> Message:
    left, place, seen = count, None, 0
    while seen < MAX_BACK:
        page = reader.page(room, before=place, limit=PAGE)
        for message in reversed(page):
            if wanted(message):
                left -= 1
                if not left:
                    return message
        if len(page) < PAGE:
            break
        place, seen = page[0].place, seen + len(page)
    raise UsageError("There is no such message in this room.", hint="See what is there: /history", code="no_message")
