"""Sentences for people that more than one face says: who joined, who is not there, what somebody did. No layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.errors import SandpiperError
from sandpiper.faces.invitation import command
from sandpiper.faces.people import PLAIN_ROOM, room_label
from sandpiper.net.interfaces import list_interfaces
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from pathlib import Path

    from sandpiper.core.admission import CodeEnded, CodeTried
    from sandpiper.core.events import Forked, MemberChanged, RoomChanged
    from sandpiper.faces.people import People
    from sandpiper.faces.spans import Span
    from sandpiper.node import CodeMade, Node, NodeSettings
    from sandpiper.wire.ids import RoomId

Parts = tuple["str | Span", ...]
"""A sentence in parts: a name is a span in its colour, the rest is text."""

OPEN = "anyone on this network can join and read along."
PRIVATE = "its members alone can read it."
HUB = "whoever runs the hub can read all that is said there."
COMPAT = "The old p2pchat dialect is on: whoever speaks it is marked [plain], unencrypted and unproven."

MAX_FAILURE = 200  # characters of an unexpected error: it may quote anything


def where_reached(settings: NodeSettings, port: int) -> str:
    """`HOST:PORT` where others on this network reach us; HOST stays a word when this machine has no address now."""
    try:
        found = [one for one in list_interfaces(settings.interfaces) if not one.v6]
    except SandpiperError:  # an interface that was named is gone for now
        found = []
    outside = [one.address for one in found if not one.loopback] or [one.address for one in found]
    return f"{(*settings.hosts, *outside, 'HOST')[0]}:{port}"


def topic_set(topic: str) -> str:
    """What somebody did who set (or took away) a topic; their name goes in front."""
    return f" set the topic: {topic}" if topic else " took the topic away"


def plain_peer(name: Span, *, linked: bool) -> Parts:
    """Somebody of the old dialect came or went."""
    return (name, " is here" if linked else " is gone")


def room_changed(notice: RoomChanged, people: People) -> str:
    """We joined or left a room."""
    label = room_label(notice.name, people.name(notice.peer) if notice.peer is not None else None)
    if notice.joined and notice.kind == "private":
        label = people.room(notice.room)
    if not notice.joined:
        return f"You left {label}; its history stays."
    if notice.peer is not None:
        name = people.name(notice.peer)
        return f"Direct room with {name}: the two of you, nobody else. Write there: /msg {name}"
    if notice.kind == "hub":
        return f"You are going to {label}. HUB: {HUB}"
    if notice.kind == "private":
        return f"You are in {label}, a private room: its members alone can read it."
    others = ", ".join(people.name(key) for key in people.here(notice.room)) or "nobody else yet"
    return f"You joined {label}, with {others}. OPEN: {OPEN}"


def member_changed(notice: MemberChanged, people: People) -> str:
    """Somebody is a member of a private room, is one no more, or may do other things there."""
    name, where = people.name(notice.peer, notice.room), people.room(notice.room)
    if notice.role is None:
        return f"{name} is no member of {where} any more."
    if notice.before is None:
        return f"{name} is {'the owner' if notice.role == 'owner' else 'a member'} of {where}."
    return f"{name} is {'an admin' if notice.role == 'admin' else 'a member like others'} of {where} now."


def is_news(notice: MemberChanged, people: People) -> bool:
    """Whether a person is to read of it: whose room it is when one comes in is nothing new, and the owner may have no
    name yet (`/who` has it).
    """
    return notice.role != "owner" or notice.peer == people.me


def code_made(notice: CodeMade, people: People) -> tuple[str, str]:
    """There is a code for a private room: what it is, and what whoever gets it does. For the person's eyes only."""
    spoken, where = notice.code.spoken, people.room(notice.room)
    reach = "" if notice.relay else " No relay is named, so it works on this network only."
    return (
        f"The code of {where}: {spoken}",
        f"Whoever may come in types: {command(notice.code, notice.relay)}  It lives for 24 hours.{reach}",
    )


def code_tried(notice: CodeTried, people: People) -> tuple[str, str]:
    """Somebody guessed wrong at a code: what happened, and what follows."""
    where, left = people.room(notice.room), notice.left
    text = f"Somebody tried the code {notice.nameplate} of {where} with wrong words."
    more = "It lets nobody in any more." if not left else f"{left} more wrong {_tries(left)}, and it lets nobody in."
    return text, more


def _tries(count: int) -> str:
    return "try" if count == 1 else "tries"


def code_ended(notice: CodeEnded, people: People) -> tuple[str, str]:
    """A code lets nobody in any more: why, and what to do."""
    why = {"code_burnt": "is burnt", "code_withdrawn": "was withdrawn", "code_expired": "has expired"}[notice.reason]
    return f"The code {notice.nameplate} of {people.room(notice.room)} {why}.", "For a new one: /invite"


def forked(notice: Forked, people: People) -> tuple[str, str]:
    """Somebody's key was used twice: what happened, and what to do."""
    nick = people.name(notice.author, notice.room)
    text = f"{nick} signed two different records as number {notice.seq}: the key is used twice, or its owner lies."
    return text, f"Ask {nick} in person; /ignore {nick} hides all that it signs."


def failed(error: BaseException, log_file: Path | None) -> str:
    """A mistake of ours has ended the program."""
    what = clean_line(f"{type(error).__name__}: {error}".rstrip(": "), MAX_FAILURE)
    more = f" The log says more: {log_file}" if log_file is not None else ""
    return f"Sandpiper has failed: {what}.{more}"


class Alone:
    """Says once that nobody else is there to hear us, until somebody comes."""

    def __init__(self, node: Node, people: People) -> None:
        self._node = node
        self._people = people
        self._told: set[RoomId] = set()

    def somebody_came(self) -> None:
        """A peer was linked, lost or changed: what was told may be wrong now."""
        self._told.clear()

    def somebody_plain_came(self) -> None:
        """The same for a peer of the old dialect, who is in its one room only."""
        self._told.discard(PLAIN_ROOM)

    def sentence(self, room: RoomId, members: int) -> str:
        """What to say when something of ours has `members` others to go to; empty: nothing."""
        ours, people = self._node.room(room), self._people
        if members or people.here(room) or room in self._told:
            return ""
        if ours is not None and ours.peer in self._node.linked():
            return ""  # linked, and about to share the direct room that we have just opened
        if ours is not None and ours.kind == "private" and len(self._node.roles(room)) <= 1:
            return ""  # just made: whoever made it knows
        self._told.add(room)
        peer = ours.peer if ours is not None else None
        absent = (
            f"{people.name(peer, room)} is not linked" if peer is not None else f"Nobody else is in {people.room(room)}"
        )
        return f"{absent} now. What you write is kept, and delivered when you meet again."
