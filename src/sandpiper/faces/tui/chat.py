"""The chat as one screen: its widgets, what the backstage tells put into them, and what the person does sent back.

What is chosen in dialogs is in `flows`; what each widget shows is the widget's own business.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, ClassVar, assert_never

from msgspec.structs import replace
from textual import events, on
from textual.binding import Binding
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from typing_extensions import override

from sandpiper.faces.render import mentions
from sandpiper.faces.spans import Span, excerpt, text_of
from sandpiper.faces.tui.activity import Activity
from sandpiper.faces.tui.composer import Composer
from sandpiper.faces.tui.drafts import Change, Draft, Reply
from sandpiper.faces.tui.empty import EmptyState
from sandpiper.faces.tui.flows import Flows
from sandpiper.faces.tui.header import Header
from sandpiper.faces.tui.keys import bindings, chosen_keys
from sandpiper.faces.tui.notify import Notifier, deserves
from sandpiper.faces.tui.row import Edge
from sandpiper.faces.tui.sidebar import Sidebar, next_unread, rooms_in_order
from sandpiper.faces.tui.status import StatusLine
from sandpiper.faces.tui.transcript.layout import Setting
from sandpiper.faces.tui.transcript.widget import Transcript
from sandpiper.faces.tui.views import (
    Around,
    Clear,
    Delivery,
    Ended,
    Found,
    Invited,
    Joining,
    Named,
    NotDone,
    Note,
    OtherKey,
    Said,
    Show,
    Typing,
    Update,
)
from sandpiper.faces.tui.wording import NARROW, drawn_around, find_room
from sandpiper.faces.verifying import Comparison
from sandpiper.node.notices import CodePassword, PasswordWanted
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from textual.app import ComposeResult
    from textual.binding import BindingType

    from sandpiper.faces.settings import TuiSettings
    from sandpiper.faces.tui.row import Drawn
    from sandpiper.faces.tui.themes import Looks
    from sandpiper.faces.tui.views import Backstage, RoomView
    from sandpiper.wire.ids import RoomId

_ABOUT_A_MESSAGE = re.compile(r"/(?:reply|edit) [0-9a-f]{64} ")  # what `_send` puts before an answer or a change
TOAST_CELLS = 200  # of a note that is shown where there is no transcript
CHOSEN_HINT = "r reply · e edit · + react · y copy · d delete · esc back"
MIN_SIDEBAR_ROWS = 12  # on a lower screen every row is for the transcript


class Chat(Screen[None]):
    """See the module."""

    DEFAULT_CSS = """
    Chat { background: $background; layout: vertical; }
    Chat #middle { height: 1fr; }
    Chat #main { width: 1fr; padding: 0 1 0 0; }
    Chat Header, Chat EmptyState, Chat Activity, Chat Suggestions, Chat Composer { margin: 0 0 0 1; }
    Chat Sidebar { width: 31; }
    Chat EmptyState { height: auto; display: none; }
    Chat.-quiet-room EmptyState { display: block; }
    Chat Transcript { height: 1fr; }
    Chat.-narrow Sidebar { display: none; }
    Chat.-narrow #main { padding: 0; }
    Chat.-narrow Header, Chat.-narrow EmptyState, Chat.-narrow Activity, Chat.-narrow Suggestions,
    Chat.-narrow Composer { margin: 0; }
    Chat.-bare Sidebar, Chat.-bare Header, Chat.-bare StatusLine, Chat.-bare Activity, Chat.-bare Composer,
    Chat.-bare EmptyState { display: none; }
    Chat.-bare #main { padding: 0; }
    """
    AUTO_FOCUS: ClassVar[str | None] = "Composer"
    BINDINGS: ClassVar[list[BindingType]] = [
        *bindings(of_app=False),
        *(Binding(f"alt+{n}", f"turn('room({n})')", show=False, priority=True) for n in range(1, 10)),
    ]

    def __init__(self, backstage: Backstage, settings: TuiSettings, looks: Looks, notifier: Notifier) -> None:
        super().__init__()
        self.backstage = backstage
        self.around: Around | None = None
        self.room: RoomId | None = None
        self.flows = Flows(self)
        self.looks = looks
        self._settings = settings
        self._notifier = notifier
        self._focused = True
        self._drafts: dict[RoomId, Draft] = {}
        self._early: list[str] = []
        self._keys = {action: keys[0] for action, keys in chosen_keys(settings.keys).items() if keys}

    @override
    def compose(self) -> ComposeResult:
        looks, keys = self.looks, self._keys
        setting = Setting(80, PeerKey(b""), "", emoji=looks.emoji)
        with Horizontal(id="middle"):
            yield Sidebar(looks, keys)
            with Vertical(id="main"):
                yield Header(looks, keys)
                yield EmptyState(looks)
                yield Transcript(self.backstage.reader, setting, looks)
                yield Activity(looks)
                yield Composer()
        yield StatusLine(looks, keys)

    def on_mount(self) -> None:
        """Hear of the terminal's focus."""
        self.watch(self.app, "app_focus", self._focus_changed, init=False)

    @property
    def transcript(self) -> Transcript:
        """What was said in the room on the screen."""
        return self.query_one(Transcript)

    @property
    def composer(self) -> Composer:
        """Where the person types."""
        return self.query_one(Composer)

    @property
    def shown_room(self) -> RoomView | None:
        """The room on the screen, as it is now."""
        return find_room(self.around, self.room)

    # ------------------------------------------------------------ what the backstage tells

    def take(self, update: Update, *, unfinished: bool = False) -> None:
        """One update of the backstage; `unfinished`: a piece of one, and the next piece follows soon."""
        transcript = self.transcript
        match update:
            case Around():
                self._take_around(update)
            case Named(room=room, who=who):
                transcript.named(room, who)
            case Said():
                self._take_said(update, unfinished=unfinished)
            case Delivery():
                transcript.delivered(update)
            case Note():
                transcript.note(update)
                if self.room is None and update.room is None:  # there is no transcript to say it in
                    text = " ".join(text_of(line) for line in update.lines)
                    self.app.notify(excerpt(text, TOAST_CELLS), markup=False)
            case NotDone(room=room, typed=typed):
                self._give_back(room, _ABOUT_A_MESSAGE.sub("", typed))
            case Found(words=words, messages=messages):
                self.flows.search(words, messages)
            case Typing():
                self.query_one(Activity).typing(replace(update, name=self.looks.drawn(update.name)))
            case Comparison():
                self.flows.verify(update)
            case OtherKey():
                self.flows.other_key(update)
            case Invited():
                self.flows.invited(update, qr=self._settings.qr)
            case Joining(step=step):
                self.flows.joining(step)
            case PasswordWanted() | CodePassword():
                self.flows.password(update)
            case Show(room=room):
                self.go(room, carry=True)
                self._send_early()
            case Clear():
                transcript.empty()
            case Ended():
                pass  # the app's
            case _:
                assert_never(update)

    def _take_around(self, around: Around) -> None:
        before, self.around = self.around, around
        rooms = {room.id for room in around.rooms}
        for gone in [room.id for room in before.rooms if room.id not in rooms] if before is not None else ():
            self.transcript.forget(gone)
        if before is None or (before.us.key, before.us.nick) != (around.us.key, around.us.nick):
            setting = self.transcript.sheets.setting
            self.transcript.set(replace(setting, me=around.us.key, nick=around.us.nick))
        if before is not None and before.ignored != around.ignored:
            self.transcript.read_again()
        if before is None:
            self.call_later(self._go_somewhere)  # the room to start in is told right behind this
        elif self.room not in rooms:
            self._go_somewhere()
        self._show_around()

    def _go_somewhere(self) -> None:
        """Go to the first room, unless the one on the screen is still ours."""
        if self.shown_room is None and self.around is not None:
            self.go(next(iter(rooms_in_order(self.around)), None))
            self._send_early()

    def _send_early(self) -> None:
        """What was sent before there was a room goes to the one that is there now."""
        early, self._early = self._early, []
        for text in early:
            self.backstage.obey(self.room, text)

    def _give_back(self, room: RoomId | None, text: str) -> None:
        """A text that could not be sent goes back to where it was typed."""
        if room == self.room or room is None:
            self.composer.give_back(text)
        elif room not in self._drafts:
            self._drafts[room] = Draft(text, (0, 0))

    def _show_around(self) -> None:
        around, room = self.around, self.shown_room
        if around is None:
            return
        drawn = drawn_around(around, self.looks.drawn)
        for widget in (self.query_one(Sidebar), self.query_one(Header), self.query_one(EmptyState)):
            widget.show(drawn, self.room)
        self.query_one(StatusLine).show(drawn, self.room)
        self.query_one(Activity).show(find_room(drawn, self.room))
        self.composer.about(around, room)
        self._show_emptiness()

    @on(Transcript.Emptied)
    def _show_emptiness(self) -> None:
        """In a room without messages, say what can be done."""
        self.set_class(self.around is not None and self.transcript.has_nothing, "-quiet-room")

    def _take_said(self, said: Said, *, unfinished: bool) -> None:
        self.transcript.take(said.room, said.messages, said.ahead, unfinished=unfinished)
        room, around, activity = find_room(self.around, said.room), self.around, self.query_one(Activity)
        sheets = self.transcript.sheets
        for message in said.messages:
            name = sheets.name(message)
            if message.id in said.fresh or message.edited:
                activity.stopped(self.looks.drawn(name), said.room)
            if message.id not in said.fresh or room is None or around is None:
                continue
            mentioned = mentions(message.text, around.us.nick)
            on_screen = said.room == self.room
            if deserves(room, mentioned=mentioned, focused=self._focused, on_screen=on_screen):
                self._notifier.notify(f"{name} in {room.label}", message.text, time.monotonic())

    # ------------------------------------------------------------ which room is on the screen

    def go(self, room: RoomId | None, *, carry: bool = False) -> None:
        """Put a room on the screen. `carry`: a command led here, so what was typed behind it is meant for here."""
        if room == self.room:
            return
        composer, kept = self.composer, Draft()
        if carry or self.room is None:
            kept = composer.draft
        elif composer.draft != Draft():
            self._drafts[self.room] = composer.draft
        self.room = room
        view = self.shown_room
        self.transcript.show(room, view.read if view is not None and view.unread else None)
        if kept == Draft():
            composer.restore(self._drafts.pop(room, Draft()) if room is not None else Draft())
        composer.focus()
        self.backstage.look(room, focused=self._focused)
        self._show_around()

    def _focus_changed(self, focused: bool) -> None:
        """The person has turned to this terminal, or away: what comes meanwhile is new."""
        self._focused = focused
        transcript, sheet = self.transcript, self.transcript.sheet
        if not focused and sheet is not None and transcript.following:
            transcript.mark_read(sheet.last_place())
        transcript.attended = focused
        self.backstage.look(self.room, focused=focused)

    async def action_turn(self, action: str) -> None:
        """Do an action behind all that was typed before its key: it may lead to another room, or out of the program."""
        if self.focused is self.composer and self.app.screen is self:
            self.composer.post_message(Composer.Turn(action))
        else:
            await self.run_action(action)

    @on(Composer.Turned)
    async def _turned(self, event: Composer.Turned) -> None:
        await self.run_action(event.action)

    def on_key(self, event: events.Key) -> None:
        """Keys that come before anything has the focus are for the composer."""
        if self.focused is None:
            event.stop()
            self.composer.post_message(events.Key(event.key, event.character))

    def action_room(self, number: int) -> None:
        """Go to a room by its number, from 1."""
        order = rooms_in_order(self.around) if self.around is not None else []
        if number <= len(order):
            self.go(order[number - 1])

    def action_next_unread(self) -> None:
        """Go to the next room with something unread, mentions first."""
        room = next_unread(self.around, self.room) if self.around is not None else None
        if room is not None:
            self.go(room)

    def action_next_room(self) -> None:
        """Go to the room below."""
        self._step(1)

    def action_previous_room(self) -> None:
        """Go to the room above."""
        self._step(-1)

    def _step(self, step: int) -> None:
        order = rooms_in_order(self.around) if self.around is not None else []
        if order:
            at = order.index(self.room) if self.room in order else -1 if step > 0 else 0
            self.go(order[(at + step) % len(order)])

    # ------------------------------------------------------------ what the person does

    @on(Composer.Sent)
    def _send(self, event: Composer.Sent) -> None:
        text = event.text
        match event.mode:
            case Reply(id=id):
                text, said = f"/reply {id} {text}", True
            case Change(id=id):
                text, said = f"/edit {id} {text}", False
            case _:
                said = not text.startswith("/") or text.startswith(("//", "/me "))
        if said:  # whoever speaks has read, and wants to see it
            self.transcript.mark_read(None)
            self.transcript.action_newest()
        if self.room is None and (self.around is None or self.around.rooms):
            self._early.append(text)  # typed before there is a room on the screen
        else:
            self.backstage.obey(self.room, text)

    @on(Composer.Typed)
    def _typed(self) -> None:
        if self.room is not None:
            self.backstage.typing(self.room)

    @on(Composer.SelectMessages)
    def _select(self) -> None:
        if not self.transcript.choose_last():
            self.composer.elsewhere = False

    @on(Composer.Passed)
    async def _passed(self, event: Composer.Passed) -> None:
        """A key that was struck before the focus had moved."""
        composer = self.composer
        if composer.elsewhere:
            match await self.transcript.strike(event.event.key):
                case Transcript.Wanted() as wanted:
                    self._wanted(wanted)
                case Transcript.Left():
                    self._left()
                case _:
                    pass
            await composer.take_back(None)
        else:
            await composer.take_back(event.event)

    @on(Composer.BigPaste)
    def _pasted(self, event: Composer.BigPaste) -> None:
        self.flows.paste(event.text)

    @on(Composer.Leave)
    async def _leave(self) -> None:
        await self.run_action("app.quit")

    @on(Transcript.Left)
    def _left(self) -> None:
        self.composer.elsewhere = False
        if self.has_class("-bare"):
            self.action_bare()
        else:
            self.composer.focus()

    def on_descendant_focus(self) -> None:
        """While a message is selected, the composer says what can be done with it."""
        self.composer.hint = CHOSEN_HINT if self.focused is self.transcript else ""
        if self.focused is self.composer:
            self.composer.elsewhere = False

    def on_descendant_blur(self) -> None:
        """See `on_descendant_focus`."""
        self.composer.hint = ""

    @on(Transcript.Wanted)
    def _wanted(self, event: Transcript.Wanted) -> None:
        self.flows.wanted(event.action, event.message)

    @on(Transcript.Seen)
    def _seen(self, event: Transcript.Seen) -> None:
        self.backstage.read(event.room, event.place)

    @on(Transcript.Failed)
    def _failed(self, event: Transcript.Failed) -> None:
        self.say(str(event.error), event.error.hint)

    def say(self, text: str, hint: str = "") -> None:
        """Say in the transcript that something cannot be done here."""
        line = (Span(text, "warn"), Span(f" {hint}" if hint else ""))
        self.transcript.note(Note(None, "trouble", (line,), time.time_ns() // 1_000_000))

    @on(Sidebar.RoomChosen)
    def _room_chosen(self, event: Sidebar.RoomChosen) -> None:
        self.go(event.room)

    @on(Sidebar.PeerChosen)
    def _peer_chosen(self, event: Sidebar.PeerChosen) -> None:
        self.flows.go_to_peer(event.key, event.room)

    @on(Edge.Asked)
    async def _asked(self, event: Edge.Asked) -> None:
        await self.run_action(event.action)

    def action_jump(self) -> None:
        """Open the jump dialog."""
        self.flows.jump(self._keys)

    def action_search(self) -> None:
        """Open the search."""
        self.flows.search("")

    def action_help(self) -> None:
        """Explain everything."""
        settings = self._settings
        files = {"settings": settings.config_file, "log": settings.log_file}
        self.flows.help(chosen_keys(settings.keys), {name: str(path) for name, path in files.items() if path})

    @override
    def action_page_up(self) -> None:
        """Scroll back."""
        self.transcript.scroll_page(-1)

    @override
    def action_page_down(self) -> None:
        """Scroll forward."""
        self.transcript.scroll_page(1)

    def action_oldest(self) -> None:
        """Go to the first message."""
        self.transcript.action_oldest()

    def action_newest(self) -> None:
        """Go to the last message."""
        self.transcript.action_newest()

    def action_bare(self) -> None:
        """The transcript alone, or everything again."""
        bare = not self.has_class("-bare")
        self.set_class(bare, "-bare")
        self.transcript.set(replace(self.transcript.sheets.setting, bare=bare))
        (self.transcript if bare else self.composer).focus()
        if bare:
            self.app.notify("Esc brings everything back.", timeout=3, markup=False)

    # ------------------------------------------------------------ how it looks

    def on_resize(self, event: events.Resize) -> None:
        """Narrow or low screens have no sidebar."""
        narrow = event.size.width < NARROW or event.size.height < MIN_SIDEBAR_ROWS
        self.set_class(narrow, "-narrow")
        self.query_one(Header).narrow = narrow

    def set_looks(self, looks: Looks) -> None:
        """Another theme."""
        self.looks = looks
        self.transcript.looks = looks
        self.transcript.set(replace(self.transcript.sheets.setting, emoji=looks.emoji))
        for widget in self._drawn():
            widget.looks = looks
        self._show_around()

    def _drawn(self) -> Iterator[Drawn]:
        yield from (self.query_one(Sidebar), self.query_one(Header), self.query_one(EmptyState))
        yield from (self.query_one(Activity), self.query_one(StatusLine))
