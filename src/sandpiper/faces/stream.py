"""Line mode for programs: every notice as one JSON object a line (`sandpiper.faces.events`)."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, assert_never

from sandpiper import __version__
from sandpiper.core.admission import CodeEnded, CodeTried
from sandpiper.core.events import (
    Accepted,
    CatchUp,
    Delivered,
    Forked,
    Gap,
    Judged,
    MemberChanged,
    PeerChanged,
    Preview,
    Refused,
    RoomChanged,
    TypingSeen,
)
from sandpiper.faces import events, sentences
from sandpiper.faces.events import encode, timestamp
from sandpiper.faces.spans import text_of
from sandpiper.node import (
    CodeMade,
    HubChange,
    HubNews,
    KeyChanged,
    MeetingNews,
    PasswordWanted,
    PlainMessage,
    PlainPeer,
    Problem,
)
from sandpiper.wire.records import (
    Admit,
    Edit,
    Genesis,
    Leave,
    Profile,
    React,
    Record,
    Remove,
    Retract,
    Role,
    Text,
    Topic,
    Unknown,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.faces.people import People
    from sandpiper.faces.recent import Recent
    from sandpiper.faces.report import Start
    from sandpiper.faces.spans import Line
    from sandpiper.faces.terminal import Terminal
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import Node, NodeNotice
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RecordId, RoomId

MAX_TOLD = 1000  # of our records in this run whose delivery is told


def skipped(count: int) -> str:
    """What stands for lines that a slow reader missed."""
    return encode(
        events.Notice(code="skipped", text=f"{count} lines were skipped.", hint="They are in: sandpiper history --json")
    )


class Stream:
    """A `Report` of JSON events."""

    def __init__(self, node: Node, people: People, recent: Recent, terminal: Terminal) -> None:
        self.room: RoomId | None = None
        self._node = node
        self._people = people
        self._recent = recent
        self._terminal = terminal
        self._told: OrderedDict[RecordId, None] = OrderedDict()  # our newest edits, reactions and the like
        self._nicks: dict[PeerKey, tuple[str, str]] = {}  # linked peers: nick and away message as told
        self._paths: dict[PeerKey, tuple[str, str]] = {}  # and over which path, and why

    def _put(self, event: events.Event) -> None:
        self._terminal.write(encode(event))

    # ------------------------------------------------------------ Report

    def started(self, start: Start, earlier: Sequence[Message]) -> None:
        """See `Report`. Earlier messages are not events: programs ask `sandpiper history --json`."""
        self._put(
            events.Ready(
                nick=start.nick,
                key=start.key.hex(),
                profile=start.profile,
                port=start.port,
                rooms=tuple(self._people.label(room) for room in self._node.rooms()),
                temporary=start.temporary,
                version=__version__,
            )
        )
        for note in start.notes:
            self.narrate("profile", note)

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """See `Report`."""
        for line in lines:
            self._put(events.Notice(code=code, text=text_of(line).strip()))

    def listing(self, messages: Sequence[Message]) -> None:
        """See `Report`."""
        for message in messages:
            nick = message.nick if message.plain else self._people.author(message)
            room, mine = self._people.room(message.room), message.author == self._node.key
            self._put(stored(message, room=room, nick=nick, mine=mine))

    def compare(self, comparison: Comparison) -> None:
        """See `Report`."""
        self._put(compared(comparison))

    def narrate(self, code: str, text: str, hint: str = "") -> None:
        """See `Report`."""
        self._put(events.Notice(code=code, text=text, hint=hint))

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """See `Report`."""
        self._put(events.Error(code=code, text=text, hint=hint))

    def notice(self, notice: NodeNotice) -> None:
        """See `Report`."""
        people = self._people
        match notice:
            case Accepted(record=record, shown=shown):
                if not shown and not people.hidden(record.author):
                    self._record(record, mine=notice.mine, history=notice.history, late=notice.late)
            case Preview(record=record):
                if not people.hidden(record.author):
                    self._record(record, mine=record.author == self._node.key, history=True, late=False)
            case PeerChanged():
                self._peer(notice)
            case PlainPeer(author=author, nick=nick, linked=linked):
                self._put(
                    events.Peer(
                        nick=nick, key=author.hex(), state="linked" if linked else "lost", path="lan", plain=True
                    )
                )
            case PlainMessage():
                if not people.hidden(notice.author):
                    self._put(
                        events.Message(
                            room=people.room(notice.room),
                            id=notice.id.hex(),
                            nick=notice.nick,
                            key=notice.author.hex(),
                            seq=0,
                            time=timestamp(notice.time),
                            text=notice.text,
                            reply_to=notice.reply_to.hex() or None,
                            mine=notice.mine,
                            history=notice.history,
                            action=notice.action,
                            plain=True,
                        )
                    )
            case Delivered(room=room, id=record_id, delivered=delivered, members=members):
                # Records that were no event of their own (a nick that goes ahead of a message) have no delivery.
                if record_id in self._told or self._recent.find(room, record_id) is not None:
                    label = people.room(room)
                    self._put(events.Delivery(id=record_id.hex(), delivered=delivered, members=members, room=label))
            case Gap(room=room, author=author, missing=missing):
                name = people.name(author, room)
                self._put(events.Gap(nick=name, missing=missing, room=people.room(room), key=author.hex()))
            case RoomChanged():
                self._room(notice)
            case CatchUp(room=room, missing=0, received=received):
                text = f"{received} older messages are here now."
                self._put(events.Notice(code="caught_up", text=text, room=people.room(room)))
            case CatchUp(room=room, missing=missing):
                text = f"{missing} older messages are being fetched."
                self._put(events.Notice(code="catching_up", text=text, room=people.room(room)))
            case Forked(room=room, author=author, seq=seq):
                text = f"{people.name(author, room)} signed two different records as number {seq}."
                hint = "The key is used in two places at once, or its owner lies."
                self._put(events.Notice(code="forked", text=text, hint=hint, room=people.room(room)))
            case Problem(code=code, text=text, hint=hint):
                self.trouble(code, text, hint)
            case HubNews(room=hub_room, code=code, text=text, hint=hint):
                where = people.room(hub_room) if hub_room is not None else None
                self._put(events.Notice(code=code, text=text, hint=hint, room=where))
            case HubChange():
                if not people.hidden(notice.author):
                    self._hub_change(notice)
            case MemberChanged(room=room):
                text = sentences.member_changed(notice, people)
                self._put(events.Notice(code="roster", text=text, room=people.room(room)))
            case CodeMade(room=room, code=made):
                self._put(events.Room(room=people.room(room), state="joined", kind="private", code=made.spoken))
                text, hint = sentences.code_made(notice, people)
                self._put(events.Notice(code="code", text=text, hint=hint, room=people.room(room)))
            case CodeTried(room=room):
                text, hint = sentences.code_tried(notice, people)
                self._put(events.Notice(code="code_tried", text=text, hint=hint, room=people.room(room)))
            case CodeEnded(room=room, reason=reason):
                text, hint = sentences.code_ended(notice, people)
                self._put(events.Notice(code=reason, text=text, hint=hint, room=people.room(room)))
            case KeyChanged(peer=peer, holder=holder, room=private):
                self._put(
                    events.KeyChanged(
                        nick=people.name(peer, private),
                        key=peer.hex(),
                        verified_nick=people.name(holder),
                        verified_key=holder.hex(),
                        room=people.room(private) if private is not None else None,
                    )
                )
            case MeetingNews(code=code, text=text, hint=hint):
                self._put(events.Notice(code=code, text=text, hint=hint))
            case TypingSeen() | Refused() | PasswordWanted() | Judged():
                pass  # whoever reads the input asks for passwords
            case _:
                assert_never(notice)

    def _hub_change(self, change: HubChange) -> None:
        self._change(
            change.body,
            room=self._people.room(change.room),
            nick=change.nick,
            key=change.author.hex(),
            time=timestamp(change.time),
            mine=change.mine,
            history=change.history,
        )

    # ------------------------------------------------------------ inside

    def _peer(self, notice: PeerChanged) -> None:
        key, name, status = notice.peer, self._people.name(notice.peer), notice.status
        before = self._nicks.get(key)
        reached = notice.path, self._node.why(key) if notice.state == "linked" else ""
        moved = self._paths.pop(key, reached) != reached
        if notice.state == "lost":
            self._nicks.pop(key, None)
        else:
            self._nicks[key], self._paths[key] = (name, status), reached
        if before is None or notice.state == "lost" or moved:
            rooms = tuple(self._people.label(r) for r in self._node.rooms() if key in self._node.members(r.id))
            self._put(
                events.Peer(
                    nick=name,
                    key=key.hex(),
                    state=notice.state,
                    path=notice.path,
                    why=reached[1],
                    rooms=rooms,
                    status=status,
                    reason=notice.reason,
                    verified=key in self._node.verified,
                    other_key=self._people.rival(key) is not None,
                )
            )
            return
        if before[0] != name:
            self._put(events.Member(nick=name, key=key.hex(), change="renamed", old_nick=before[0], status=status))
        if before[1] != status:
            self._put(events.Member(nick=name, key=key.hex(), change="away" if status else "back", status=status))

    def _room(self, notice: RoomChanged) -> None:
        # A room that was just left is unknown to the node already.
        peer = self._people.name(notice.peer) if notice.peer is not None else None
        self._put(
            events.Room(
                room=f"@{peer}" if peer is not None else f"#{notice.name}",
                state="joined" if notice.joined else "left",
                kind=notice.kind,
                peer=peer,
            )
        )

    def _record(self, record: Record, *, mine: bool, history: bool, late: bool) -> None:
        room, key = self._people.room(record.room), record.author.hex()
        name, time = self._people.name(record.author, record.room), timestamp(record.time)
        if mine and not isinstance(record.body, Profile):
            self._told[record.id] = None
            if len(self._told) > MAX_TOLD:
                self._told.popitem(last=False)
        match record.body:
            case Text(text=text, reply_to=reply_to, action=action):
                self._recent.add(record.id, record.author, record.time, text)
                self._put(
                    events.Message(
                        room=room,
                        id=record.id.hex(),
                        nick=name,
                        key=key,
                        seq=record.seq,
                        time=time,
                        text=text,
                        reply_to=reply_to.hex() or None,
                        mine=mine,
                        history=history,
                        late=late,
                        action=action,
                        verified=record.author in self._node.verified,
                        other_key=self._people.rival(record.author, record.room) is not None,
                    )
                )
            case Edit(target=target) | Retract(target=target) | React(target=target):
                if isinstance(record.body, React) or self._owns(record, target):
                    self._change(record.body, room=room, nick=name, key=key, time=time, mine=mine, history=history)
            case Topic(text=text):
                self._put(events.Topic(room=room, nick=name, key=key, time=time, text=text, mine=mine, history=history))
            case Profile() | Genesis() | Admit() | Role() | Remove() | Leave() | Unknown():
                pass  # presence tells names; kinds of later versions say nothing to us
            case _:
                assert_never(record.body)

    def _change(
        self, body: Edit | Retract | React, *, room: str, nick: str, key: str, time: str, mine: bool, history: bool
    ) -> None:
        id_ = body.target.hex()
        event: events.Event
        match body:
            case Edit(text=text):
                event = events.Edit(
                    room=room, nick=nick, key=key, time=time, mine=mine, history=history, id=id_, text=text
                )
            case Retract():
                event = events.Retract(room=room, nick=nick, key=key, time=time, mine=mine, history=history, id=id_)
            case React(emoji=emoji, add=add):
                event = events.React(
                    room=room, nick=nick, key=key, time=time, mine=mine, history=history, id=id_, emoji=emoji, add=add
                )
        self._put(event)

    def _owns(self, record: Record, target: bytes) -> bool:
        """False for an attempt to change somebody else's message. What is not here yet is not doubted."""
        known = self._recent.find(record.room, target)
        return known is None or known.author == record.author


def compared(comparison: Comparison) -> events.Safety:
    """Safety words as an event."""
    return events.Safety(
        nick=comparison.name,
        key=comparison.key.hex(),
        words=comparison.words,
        digits=comparison.digits,
        verified=comparison.verified,
        first_seen=timestamp(comparison.first_seen) if comparison.first_seen else None,
        path=comparison.path,
    )


def stored(message: Message, *, room: str, nick: str, mine: bool) -> events.Message:
    """A message of the history as an event; `room` and `nick` as shown."""
    return events.Message(
        room=room,
        id=message.id.hex(),
        nick=nick,
        key=message.author.hex(),
        seq=0 if message.hub else message.seq,
        time=timestamp(message.time),
        text=message.text,
        reply_to=message.reply_to.hex() or None,
        mine=mine,
        history=True,
        action=message.action,
        plain=message.plain or message.hub,
        edited=message.edited,
        retracted=message.retracted,
    )
