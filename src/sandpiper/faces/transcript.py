"""Line mode for people: every notice as a line of text, and silence where a line would only be noise."""

from __future__ import annotations

from datetime import UTC, date, datetime
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
from sandpiper.faces import render, sentences
from sandpiper.faces.catchup import CatchingUp
from sandpiper.faces.comings import Comings
from sandpiper.faces.invitation import command, qr_lines
from sandpiper.faces.people import PLAIN_MARK
from sandpiper.faces.render import Look, Name
from sandpiper.faces.showing import Showing
from sandpiper.faces.spans import Line, Span, ansi, columns, dim, fold, harmless, line, text_of
from sandpiper.faces.verifying import comparison_lines, key_changed_lines
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
    from sandpiper.faces.terminal import Terminal
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import Node, NodeNotice
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId


RULE = 60  # cells around what must not be overlooked
LATE_MS = 5_000  # two who speak at once are not late; a message this much older than the one above it is


def skipped(count: int) -> str:
    """What stands for lines that a slow reader missed."""
    return f"! {count} lines skipped; messages are in: sandpiper history\n"


class Transcript:
    """A `Report` of lines of text."""

    def __init__(
        self, node: Node, people: People, recent: Recent, terminal: Terminal, *, quiet: bool, qr: bool = False
    ) -> None:
        """`quiet`: messages and errors alone; `qr`: show codes as QR codes, too, if a person sits at a terminal."""
        self._node = node
        self._people = people
        self._recent = recent
        self._terminal = terminal
        self._quiet = quiet
        self._qr = qr and terminal.interactive
        self._showing = Showing(node, people, recent)
        self._comings = Comings(people, self._showing, self._news)
        self._day: date | None = None
        self._catching_up: dict[RoomId, CatchingUp] = {}
        self._newest: dict[RoomId, int] = {}  # time of the newest message shown
        self._alone = sentences.Alone(node, people)

    # ------------------------------------------------------------ Report

    @property
    def room(self) -> RoomId | None:
        """See `Report`."""
        return self._showing.room

    @room.setter
    def room(self, room: RoomId | None) -> None:
        self._showing.room = room

    def started(self, start: Start, earlier: Sequence[Message]) -> None:
        """See `Report`."""
        for message in earlier:
            self._keep(message)
            self._put(render.message(self._showing.stored(message, listed=False), self._look()))
        if self._quiet:
            return
        key = start.key.hex()
        profile = "temporary identity" if start.temporary else f"profile {start.profile}"
        who = (" · you are ", self._showing.name(start.key).span, dim(f" · {profile} · key {key[:4]} {key[4:8]}"))
        rooms = " ".join(self._people.label(room) for room in self._node.rooms() if room.kind == "open")
        banner = [line(Span("Sandpiper", "bold"), f" {__version__}", *who, dim(f" · port {start.port}"))]
        banner += [line(f"· {note}") for note in start.notes]
        banner.append(line(Span("OPEN", "bold"), f" {rooms}: {sentences.OPEN}"))
        if private := " ".join(self._people.label(room) for room in self._node.rooms() if room.kind == "private"):
            banner.append(line(Span("PRIVATE", "bold"), f" {private}: {sentences.PRIVATE}"))
        if hubs := " ".join(self._people.label(room) for room in self._node.rooms() if room.kind == "hub"):
            banner.append(line(Span("HUB", "bold"), f" {hubs}: {sentences.HUB}"))
        if start.compat:
            banner.append(line(Span("PLAIN", "bold"), f" {sentences.COMPAT}"))
        if self._terminal.interactive:
            banner.append(line(dim("/help lists the commands · Tab completes · Ctrl+D quits")))
        self._put(self._folded(banner), aside=True)

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """See `Report`."""
        self._put(self._folded(lines))

    def listing(self, messages: Sequence[Message]) -> None:
        """See `Report`."""
        for message in messages:
            self._keep(message)
            self._put(render.message(self._showing.stored(message, listed=True), self._look()))

    def compare(self, comparison: Comparison) -> None:
        """See `Report`."""
        self.reply("verify", comparison_lines(comparison))

    def narrate(self, code: str, text: str, hint: str = "") -> None:
        """See `Report`."""
        if not self._quiet:
            self._put(self._folded([line(dim(f"· {text} {hint}".rstrip()))]), aside=True)

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """See `Report`."""
        self._put(render.trouble(text, hint, self._look()), aside=True)

    def notice(self, notice: NodeNotice) -> None:
        """See `Report`."""
        people, showing = self._people, self._showing
        match notice:
            case Accepted(record=record):
                if not people.hidden(record.author):
                    self._accepted(notice)
            case Preview(record=record):
                if not people.hidden(record.author):
                    self._catching_up.setdefault(record.room, CatchingUp()).preview(record)
                    self._record(record, late=False)
            case PeerChanged():
                self._alone.somebody_came()
                self._comings.changed(notice)
            case PlainPeer(author=author, nick=nick, linked=linked):
                self._alone.somebody_plain_came()
                if not people.hidden(author):
                    name = Name(nick + PLAIN_MARK, people.colour(author))
                    self._news(*sentences.plain_peer(name.span, linked=linked))
            case PlainMessage(author=author):
                if not people.hidden(author):
                    self._recent.add(notice.id, notice.author, notice.time, notice.text)
                    self._live(render.message(showing.plain(notice), self._look()))
            case Delivered(room=room, members=members):
                if alone := self._alone.sentence(room, members):
                    self.narrate("alone", alone)
            case Gap(room=room, author=author, missing=missing):
                if room not in self._catching_up:
                    name = showing.name(author, room)
                    count = f"{missing} message{'' if missing == 1 else 's'} from "
                    if missing:
                        self._news(count, name.span, " missing, fetching")
                    else:
                        self._news("Nothing is missing from ", name.span, " any more")
            case RoomChanged():
                self._happened(sentences.room_changed(notice, people))
            case CatchUp(room=room, missing=missing):
                self._catch_up(room, missing)
            case Forked():
                self.trouble("forked", *sentences.forked(notice, people))
            case Problem(code=code, text=text, hint=hint):
                self.trouble(code, text, hint)
            case HubNews(text=text, coming=True):
                self._news(text)
            case HubNews(code=code, text=text, hint=hint):
                self.narrate(code, text, hint)
            case HubChange():
                self._hub_change(notice)
            case MemberChanged():
                if sentences.is_news(notice, people):
                    self._news(sentences.member_changed(notice, people))
            case CodeMade():
                text, hint = sentences.code_made(notice, people)
                self._put(self._folded([line(Span(text, "bold")), line(f"  {hint}")]))
                if self._qr:
                    self._put_qr(command(notice.code, notice.relay))
            case CodeTried():
                self.trouble("code_tried", *sentences.code_tried(notice, people))
            case CodeEnded(reason=reason):
                self.narrate(reason, *sentences.code_ended(notice, people))
            case KeyChanged():
                self._block(key_changed_lines(notice, people))
            case MeetingNews(code=code, text=text, hint=hint):
                self.narrate(code, text, hint)
            case TypingSeen() | Refused() | PasswordWanted() | Judged():
                pass  # whoever has a prompt asks for passwords
            case _:
                assert_never(notice)

    def _hub_change(self, change: HubChange) -> None:
        if self._people.hidden(change.author):
            return
        name = Name(change.nick, self._people.colour(change.author, change.room))
        self._change(change.room, name, change.body, change.time, author=None)

    # ------------------------------------------------------------ writing

    def _look(self) -> Look:
        return Look(self._terminal.width(), datetime.now(UTC).astimezone().date())

    def _folded(self, lines: Sequence[Line]) -> list[Line]:
        return [part for one in lines for part in fold(one, self._terminal.width(), 2)]

    def _put(self, lines: Sequence[Line], *, aside: bool = False) -> None:
        self._comings.flush()
        paint = ansi if self._terminal.coloured else text_of
        self._terminal.write("".join(f"{paint(harmless(one))}\n" for one in lines), aside=aside)

    def _put_qr(self, text: str) -> None:
        """A QR code, where the terminal is wide enough for all of it."""
        lines = qr_lines(text, coloured=self._terminal.coloured)
        if columns(text_of(lines[0])) <= (self._terminal.width() or 0):
            self._put(lines)

    def _block(self, lines: Sequence[Line]) -> None:
        """Lines that must not be overlooked, with rules around them; quiet or not."""
        rule = line(Span("─" * min(self._terminal.width() or RULE, RULE), "warn"))
        self._put([rule, *self._folded([line(Span("! ", "error"), *lines[0]), *lines[1:]]), rule], aside=True)

    def _live(self, lines: Sequence[Line]) -> None:
        """Lines of now: between two days comes a rule."""
        today = self._look().today
        if self._day not in (None, today):
            self._put([render.day_rule(today)])
        self._day = today
        self._put(lines)

    def _happened(self, *parts: str | Span, time_ms: int | None = None) -> None:
        """Something that happened, now or at `time_ms`."""
        time_ms = int(datetime.now(UTC).timestamp() * 1000) if time_ms is None else time_ms
        self._live(render.happened(time_ms, self._look(), *parts))

    def _news(self, *parts: str | Span) -> None:
        """Comings and goings, which a quiet face leaves out."""
        if not self._quiet:
            self._happened(*parts)

    # ------------------------------------------------------------ messages

    def _keep(self, message: Message) -> None:
        self._recent.add(message.id, message.author, message.time, message.text)

    def _accepted(self, notice: Accepted) -> None:
        if notice.shown:
            return
        catching_up = self._catching_up.get(notice.record.room)
        if catching_up is None or not notice.history or not catching_up.hides(notice.record):
            self._record(notice.record, late=notice.late)

    def _record(self, record: Record, *, late: bool) -> None:
        room, showing, at = record.room, self._showing, record.time
        label = showing.label(room)
        who: list[str | Span] = [f"{label} " if label else "", showing.name(record.author, room).span]
        match record.body:
            case Text(text=text):
                self._comings.flush(record.author)
                self._recent.add(record.id, record.author, record.time, text)
                newest = self._newest.get(room, record.time)
                self._newest[room] = max(newest, record.time)
                late = late and newest - record.time > LATE_MS
                self._live(render.message(showing.record(record, record.body, late=late), self._look()))
            case Edit() | Retract() | React():
                self._change(room, showing.name(record.author, room), record.body, at, author=record.author)
            case Topic(text=text):
                self._happened(*who, sentences.topic_set(text), time_ms=at)
            case Profile() | Genesis() | Admit() | Role() | Remove() | Leave() | Unknown():
                pass  # presence tells names; kinds of later versions say nothing to us
            case _:
                assert_never(record.body)

    def _change(
        self, room: RoomId, name: Name, body: Edit | Retract | React, at: int, *, author: PeerKey | None
    ) -> None:
        """Somebody changed a message, or put something on it; `author` None: the hub answers for who may."""
        label = self._showing.label(room)
        who: list[str | Span] = [f"{label} " if label else "", name.span]
        known = self._recent.find(room, body.target)
        if not isinstance(body, React) and (known is None or author not in (None, known.author)):
            return
        said = self._showing.said(room, body.target)
        match body:
            case Edit(target=target, text=text):
                self._happened(*who, " edited ", said, f" to: {text}", time_ms=at)
                self._recent.changed(target, text)
            case Retract(target=target):
                when = render.clock(known.time, self._look()) if known is not None else ""
                self._happened(*who, f" deleted the message of {when}", time_ms=at)
                self._recent.changed(target, "")
            case React(emoji=emoji, add=add):
                self._happened(*who, f" put {emoji} on " if add else f" took {emoji} off ", said, time_ms=at)

    def _catch_up(self, room: RoomId, missing: int) -> None:
        if missing:
            self._catching_up.setdefault(room, CatchingUp())
            self.narrate("catching_up", f"Fetching {missing:,} older messages of {self._people.room(room)}.")
            return
        catching_up = self._catching_up.pop(room, None)
        tail, hidden = catching_up.end() if catching_up is not None else ([], 0)
        for record in tail:
            self._record(record, late=False)
        if hidden:
            older = f"{hidden:,} older message{' is' if hidden == 1 else 's are'} here now"
            where = ": /history" if room == self.room else f", in {self._people.room(room)}"
            self.narrate("caught_up", older + where)
