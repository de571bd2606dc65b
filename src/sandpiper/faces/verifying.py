"""Comparing keys with somebody by safety words: /verify. And what is said of a name that comes with another key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.errors import UsageError
from sandpiper.faces.people import OTHER_KEY_MARK
from sandpiper.faces.spans import Line, Span, dim, line
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.faces.people import People
    from sandpiper.node import KeyChanged

VERIFIED_MARK = "✓"
"""Stands behind the name of somebody whose safety words were compared."""

ANSWERS = ("yes", "no", "accept")
A_ROW = 4  # words, and groups of digits, in one row


class Comparison(Struct, frozen=True):
    """Safety words to compare with somebody. `first_seen` in ms since 1970, 0: never linked; `path` is empty when they
    are not linked now.
    """

    key: PeerKey
    name: str
    words: tuple[str, ...]
    digits: tuple[str, ...]
    verified: bool
    first_seen: int
    path: str


async def verify(context: Context, arguments: Arguments) -> None:
    """/verify: show the safety words of somebody; with an answer, remember how the comparison went."""
    answer = arguments.get("answer").casefold()
    if answer and answer not in ANSWERS:
        raise UsageError(
            f"{clean_line(answer, 40)!r} is no answer.",
            hint="yes: the words were the same; no: they were not; accept: another key may have this name. "
            "Usage: /verify NICK [yes|no|accept]",
            code="usage",
        )
    people = context.people
    room = context.node.room(context.face.room) if context.face.room is not None else None
    key = people.find(arguments["nick"], room.id if room is not None and room.kind == "private" else None)
    name = people.name(key)
    if key == context.node.key:
        raise UsageError("That is you.", hint="Your own key: /status", code="self")
    if key in people.plain:
        raise UsageError(
            f"{name} cannot be verified: the old p2pchat dialect has no keys.",
            hint="Anyone can take this name. Ask them to come with sandpiper.",
            code="plain",
        )
    if not answer:
        comparison = await compared(context, key)
        context.compared.add(key)
        context.face.compare(comparison)
        return
    if answer == "yes" and key not in context.compared:  # the name may be another's since the words were shown
        raise UsageError(
            f"You have not seen the safety words of this {name} yet.", hint=f"First: /verify {name}", code="unseen"
        )
    if answer == "accept":
        context.node.trust.accept(key)
        context.say("verify", f"What you write goes to {name}, too. They are not verified by that.")
        return
    context.node.trust.verify(key, verified=answer == "yes")
    if answer == "yes":
        context.say("verify", f"You have verified {name}: {VERIFIED_MARK} stands behind the name.")
    else:
        context.face.reply("verify", unverified_lines(name))


async def compared(context: Context, key: PeerKey) -> Comparison:
    """The safety words of us and somebody else.

    Raises:
        UsageError: nobody has ever shown to have this key, so there is nobody to compare with.
    """
    node, people = context.node, context.people

    def read() -> Comparison:
        from sandpiper.crypto.safety import safety  # brings the cryptography, which starts need not wait for

        with node.reader() as reader:
            first_seen = next((row.first_seen for row in reader.peers() if row.key == key), 0)
        words = safety(node.key, key)
        return Comparison(
            key=key,
            name=name,
            words=words.words,
            digits=words.digits,
            verified=key in node.verified,
            first_seen=first_seen,
            path=link.path if link is not None else "",
        )

    name, link = people.name(key), node.link(key)
    signed = any(key in room.logs for room in node.rooms())
    found = await asyncio.to_thread(read)
    if link is None and not signed and not found.first_seen:
        raise UsageError(
            f"{name} has never shown to have that key.",
            hint="You can compare words once you were linked.",
            code="unmet",
        )
    return found


def mark(context: Context, key: PeerKey) -> str:
    """What stands behind the name of somebody verified, or of another key with such a name; empty for all others."""
    other = OTHER_KEY_MARK if context.people.rival(key, context.face.room) is not None else ""
    return (f" {VERIFIED_MARK}" if key in context.node.verified else "") + other


def key_changed_lines(notice: KeyChanged, people: People) -> list[Line]:
    """Somebody comes with a verified name under another key: what that can mean, what follows, what to do."""
    name, holder = people.name(notice.peer, notice.room), people.name(notice.holder)
    nick = people.pinned(notice.holder)
    where = f", nor into {people.room(notice.room)}, of which they are a member" if notice.room is not None else ""
    return [
        line(Span(f"ANOTHER KEY: {name} is not the {nick} whom you have verified", "bold warn")),
        line(
            f"{name} comes with the name under which you have verified {holder} {VERIFIED_MARK}, and with another key."
            f" It may be {nick} on another machine, somebody else of that name, or somebody who wants to be taken for"
            f" {nick}."
        ),
        line(Span(f"Nothing that you write goes to {name}{where}, until you have decided:", "bold")),
        *(
            line("  ", Span(f"{command:{len(name) + 17}}", "bold"), dim(meaning))
            for command, meaning in (
                (f"/verify {name}", f"compare safety words with {nick}, over a call or in person"),
                (f"/verify {name} accept", "write to them all the same; that makes nobody verified"),
                (f"/ignore {name}", "see nothing of what they say; what you write is held back as before"),
            )
        ),
    ]


def unverified_lines(name: str) -> list[Line]:
    """What it means that the words are not the same."""
    return [
        line(Span(f"{name} is not verified.", "bold")),
        line(
            f"If your words are not the same, somebody may be in the middle, reading and changing what you both write:"
            f" do not send anything secret, and tell {name} another way."
        ),
    ]


def comparison_lines(comparison: Comparison) -> list[Line]:
    """Safety words for a face of lines: the words in two rows, the digits, what it means and what to type next."""
    name, lines = comparison.name, list[Line]()
    lines.append(line(Span(f"Compare these words with {name}", "bold"), " over a call or in person, not in a chat:"))
    wide = max(len(word) for word in comparison.words)
    lines += [
        line("  ", Span("  ".join(f"{word:{wide}}" for word in row).rstrip(), "bold"))
        for row in _rows(comparison.words)
    ]
    lines += [line("  ", dim("  ".join(row))) for row in _rows(comparison.digits)]
    lines.append(line(f"{name} sees the same with /verify and your name. The same, and nobody is in the middle."))
    lines.append(line(f"They match: /verify {name} yes", dim(f"   they do not: /verify {name} no")))
    if comparison.verified:
        lines.append(line(f"{VERIFIED_MARK} You have verified {name} before."))
    return lines


def _rows(values: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [values[at : at + A_ROW] for at in range(0, len(values), A_ROW)]
