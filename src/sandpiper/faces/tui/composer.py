"""Where messages are written. It sends nothing itself: it tells the screen what was typed, in the order of the keys.

One key never waits for another: what Enter sends, and what it takes from the list above, is decided when it arrives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from textual.content import Content
from textual.events import Key
from textual.message import Message
from textual.widget import Widget
from typing_extensions import override

from sandpiper.errors import UsageError
from sandpiper.faces.commands import find
from sandpiper.faces.completion import common_start, complete, listed, suggest, word_start
from sandpiper.faces.emojis import shown, with_emoji
from sandpiper.faces.people import PLAIN_MARK
from sandpiper.faces.spans import excerpt, harmless, line, text_of
from sandpiper.faces.terminal import PromptState
from sandpiper.faces.tui.drafts import Change, Cursor, Draft, Mode, Past, Plain, Reply
from sandpiper.faces.tui.field import Field
from sandpiper.faces.tui.suggestions import Suggestions
from sandpiper.faces.tui.wording import NARROW, bare_name, online

if TYPE_CHECKING:
    from sandpiper.faces.completion import Suggestion
    from sandpiper.faces.tui.views import Around, RoomView

__all__ = ["Change", "Composer", "Draft", "Mode", "Plain", "Reply"]

MAX_EXCERPT = 60  # cells of the quoted message in the border


class Composer(Field):
    """See the module. It puts its `suggestions` right before itself, in a vertical layout, where they take no room."""

    class Sent(Message):
        """A message or a command is to be sent; the composer is ready for the next one."""

        def __init__(self, text: str, mode: Mode) -> None:
            super().__init__()
            self.text = text
            self.mode = mode

    class Typed(Message):
        """The text of a message has changed by typing. Not posted for commands."""

    class SelectMessages(Message):
        """The person goes up, out of the empty composer, into the messages."""

    class Passed(Message):
        """A key that was struck right after the one that led out of here: it is meant for where that leads."""

        def __init__(self, event: Key) -> None:
            super().__init__()
            self.event = event

    class Turn(Message):
        """An action that waits for its turn behind the keys that were struck before its own."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    class Turned(Message):
        """It is the turn of an action: all that was typed before has been told."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    class Leave(Message):
        """The person wants to leave the program."""

    SUBTITLE: ClassVar[str] = "enter send · shift+enter new line · / commands · @ people"
    NARROW_SUBTITLE: ClassVar[str] = "enter send · / commands"

    def __init__(self, *, id: str | None = None) -> None:
        self._label = ""
        self._hint = ""
        self.elsewhere = False
        """Keys go to the selected message, although the focus may not be there yet."""
        self._passing = 0  # keys passed on and not done yet: what comes behind them keeps its place
        self._state = PromptState()
        self._writing: Mode = Plain()
        self._under: Draft | None = None
        self._past = Past()
        self._seen_text = ""
        self._loading = False
        self._closed_at: int | None = None  # where the word begins whose suggestions the person has closed
        self.suggestions = Suggestions(self._take)
        """The list above the composer."""
        super().__init__(id=id)

    # ------------------------------------------------------------ what the screen tells

    def about(self, around: Around, room: RoomView | None) -> None:
        """Be in this room, and complete the names of those around."""
        self.room = room.label if room is not None else ""
        self.state = PromptState(
            room=self.room,
            others=room.others if room is not None else 0,
            away=bool(around.us.status),
            rooms=(
                *(one.label.removesuffix(PLAIN_MARK) for one in around.rooms),
                *(f"#{name}" for name in around.elsewhere),
            ),
            nicks=(
                *(who.name for who in (room.hub.people if room is not None and room.hub is not None else ())),
                *(bare_name(peer) for peer in online(around)),
            ),
        )

    @property
    def hint(self) -> str:
        """What the border says of keys that do something elsewhere now; empty: the person writes here."""
        return self._hint

    @hint.setter
    def hint(self, hint: str) -> None:
        if hint != self._hint:
            self._hint = hint
            self._decorate()

    @property
    def room(self) -> str:
        """What the current room is called, for the border: `#harbour`, or somebody's name."""
        return self._label

    @room.setter
    def room(self, label: str) -> None:
        if label != self._label:
            self._label = label
            self._decorate()

    @property
    def state(self) -> PromptState:
        """The rooms and nicks that can be completed."""
        return self._state

    @state.setter
    def state(self, state: PromptState) -> None:
        if state != self._state:
            self._state = state
            if self.suggestions.is_open and not self.suggestions.moved:
                self._suggest()

    @property
    def mode(self) -> Mode:
        """What Enter makes of the text."""
        return self._writing

    def answer(self, message_id_hex: str, name: str, excerpt: str) -> None:
        """Write an answer to a message; what was begun before comes back afterwards."""
        self._begin(Reply(message_id_hex, name, excerpt), "")

    def change(self, message_id_hex: str, text: str) -> None:
        """Write another text for a message of ours; what was begun before comes back afterwards."""
        self._begin(Change(message_id_hex, text), text)

    def give_back(self, text: str) -> None:
        """Take back what could not be sent: into the empty composer, or else to where Ctrl+P begins."""
        if not self.text and isinstance(self._writing, Plain):
            self._put(text)
        else:
            self._past.keep(text)

    def wipe(self) -> bool:
        """Leave an answer or a change, or clear the text; False when there was neither. Ctrl+P brings the text back."""
        if self.suggestions.is_open:
            self.suggestions.offer(())
        if not isinstance(self._writing, Plain):
            self._leave_mode()
        elif self.text:
            self._past.rest()
            self._past.keep(self.text)
            self._put("")
        else:
            return False
        return True

    @property
    def draft(self) -> Draft:
        """All that stands here, for `restore`; equal to `Draft()` when there is nothing."""
        return Draft(self.text, self.cursor_location, self._writing, self._under)

    def restore(self, draft: Draft | None = None) -> None:
        """Put a draft in the place of what stands here, which is not kept; None: nothing."""
        draft = draft or Draft()
        self._past.rest()
        self._writing, self._under = draft.mode, draft.under
        self._put(draft.text, draft.cursor)

    def insert_paste(self, text: str) -> None:
        """Put the text of a `BigPaste` where the cursor is."""
        self._replace_via_keyboard(text, *self.selection)
        self.focus()

    def send_paste(self, text: str) -> None:
        """Send the text of a `BigPaste` by itself; it is never a command, and what stands here stays."""
        text = text.strip("\n").rstrip()
        mode = self._writing
        if isinstance(mode, Reply) and not self.text:
            self.post_message(self.Sent(text, mode))
            self._leave_mode()
        else:
            self.post_message(self.Sent(f"/{text}" if text.startswith("/") else text, Plain()))

    # ------------------------------------------------------------ keys

    def on_composer_turn(self, turn: Turn) -> None:
        """All keys before it are done; what they have told stands in the queue before this."""
        turn.stop()
        self.post_message(self.Turned(turn.action))

    @override
    async def _on_key(self, event: Key) -> None:
        """Pass a key on while the person is elsewhere; otherwise it goes on to `Field`."""
        if self.elsewhere or self._passing:
            event.stop()
            event.prevent_default()
            self._passing += 1
            self.post_message(self.Passed(event))

    async def take_back(self, event: Key | None) -> None:
        """A key that was passed on has been done (None), or is meant for this field after all."""
        self._passing -= 1
        if event is None:
            return
        if event.is_printable and event.character:
            self._replace_via_keyboard(event.character, *self.selection)
        else:
            await super()._on_key(Key(event.key, event.character))

    @override
    def did(self, key: str) -> bool:
        is_open = self.suggestions.is_open
        match key:
            case "enter":
                self._enter()
            case "tab":
                self._tab()
            case "up" | "ctrl+p" if is_open:
                self.suggestions.move(-1)
            case "down" | "ctrl+n" if is_open:
                self.suggestions.move(1)
            case "up" if not self.text:
                self.elsewhere = True
                self.post_message(self.SelectMessages())
            case "ctrl+p":
                self._recall(self._past.older(self.text))
            case "ctrl+n":
                self._recall(self._past.newer(self.text))
            case "ctrl+d" if not self.text:
                if isinstance(self._writing, Plain):
                    self.post_message(self.Leave())
            case "escape":
                return self._escape()
            case _:
                return False
        return True

    def _enter(self) -> None:
        picked = self.suggestions.picked
        if picked is not None and (self.suggestions.moved or self._is_half_a_command()):
            self._take(picked)
        else:
            self._send()

    def _is_half_a_command(self) -> bool:
        text = self.text
        if not self._is_call() or text.split() != [text]:
            return False
        try:
            find(text[1:])
        except UsageError:
            return True
        return False

    def _send(self) -> None:
        typed = self.text.strip("\n").rstrip()
        mode = self._writing
        if not typed.strip():
            return
        if isinstance(mode, Change) and typed == mode.text:
            self._leave_mode()
            return
        unsent = self._past.sent(typed)
        if self._under is not None:
            if unsent:
                self._past.keep(unsent)
            self._leave_mode(keep=False)
        else:
            self._put(unsent)
        self.post_message(self.Sent(with_emoji(typed), mode))

    def _escape(self) -> bool:
        if self.suggestions.is_open:
            self._closed_at = word_start(self._before())
            self.suggestions.offer(())
        elif not isinstance(self._writing, Plain):
            self._leave_mode()
        else:
            return False
        return True

    def _recall(self, text: str | None) -> None:
        if text is not None:
            self._put(text)

    # ------------------------------------------------------------ completing

    def _before(self) -> str:
        return self.get_text_range((0, 0), self.cursor_location)

    def _is_call(self) -> bool:
        """The text is a command, and not the answer to a message or its new text."""
        text = self.text
        return isinstance(self._writing, Plain) and text.startswith("/") and not text.startswith("//")

    def _suggest(self) -> None:
        """Show what can follow at the cursor."""
        before = self._before()
        at = word_start(before)
        if at != self._closed_at:
            self._closed_at = None
        if self._closed_at is not None or not self.selection.is_empty:
            self.suggestions.offer(())
        else:
            self.suggestions.offer(suggest(before, self._state, calls=self._is_call()))

    def _tab(self) -> None:
        """Take the suggestion; without one, complete as far as it is clear, or list what is possible."""
        picked = self.suggestions.picked
        if picked is not None:
            self._take(picked)
            return
        before = self._before()
        if before.startswith("/") and not self._is_call():
            return
        offers = complete(before, self._state)
        if not offers:
            return
        common = common_start([offer.text for offer in offers])
        if len(offers) == 1 or len(common) > offers[0].length:
            self._complete(offers[0].length, common)
        else:
            self.suggestions.offer(listed(offers))

    def _take(self, suggestion: Suggestion) -> None:
        self._closed_at = None
        self._complete(suggestion.length, suggestion.text)
        self.suggestions.moved = False
        self.focus()

    def _complete(self, length: int, text: str) -> None:
        row, column = self.cursor_location
        self._replace_via_keyboard(text, (row, max(0, column - length)), (row, column))

    # ------------------------------------------------------------ the text

    @override
    def update_suggestion(self) -> None:
        """Follow a change of the text, in the same step: the next key may be Enter."""
        text = self.text
        if text == self._seen_text:
            return
        self._seen_text = text
        is_call = self._is_call()
        self.set_class(is_call, "-command")
        if self._loading:
            return
        self._suggest()
        if text and not is_call:
            self.post_message(self.Typed())

    def watch_selection(self) -> None:
        """The cursor has moved: the list goes with it, but moving opens none."""
        if self.suggestions.is_open and not self._loading:
            self._suggest()

    def _put(self, text: str, cursor: Cursor | None = None) -> None:
        """Have another text, without anybody having typed it."""
        self._loading = True
        try:
            self.load_text(text)
            self.move_cursor(self.clamp_visitable(cursor) if cursor is not None else self.document.end)
        finally:
            self._loading = False
        self._closed_at = None
        self.suggestions.offer(())
        self._decorate()

    # ------------------------------------------------------------ modes

    def _begin(self, mode: Reply | Change, text: str) -> None:
        self._past.rest()
        if self._under is None:
            self._under = self.draft
        else:
            self._keep_unsent()
        self._writing = mode
        self._put(text)
        self.focus()

    def _leave_mode(self, *, keep: bool = True) -> None:
        """Go back to what was begun before; Ctrl+P brings back what is not sent, unless it should not be kept."""
        if keep:
            self._keep_unsent()
        self.restore(self._under)

    def _keep_unsent(self) -> None:
        if not (isinstance(self._writing, Change) and self.text == self._writing.text):
            self._past.keep(self.text)

    # ------------------------------------------------------------ looks

    @override
    async def on_mount(self) -> None:
        """Put the list above, and write the border."""
        if isinstance(self.parent, Widget) and not self.suggestions.is_attached:
            await self.parent.mount(self.suggestions, before=self)
        self._decorate()

    def on_resize(self) -> None:
        """Fit the border and the list to the new size, and keep the cursor in sight."""
        self._decorate()
        if self.suggestions.is_mounted:
            self.suggestions.fit()
        self.call_after_refresh(self.scroll_cursor_visible)

    def on_blur(self) -> None:
        """Nobody types here now."""
        self.suggestions.offer(())

    def _decorate(self) -> None:
        """Say in the border what is written here and which keys help."""
        if not self.is_attached:
            return
        self.set_class(self._is_call(), "-command")
        title, hints = self._border(narrow=self.app.size.width < NARROW)
        self.border_title = title if title.plain else None
        self.border_subtitle = Content(self._hint) if self._hint else hints
        self.set_class(bool(self._hint), "-elsewhere")

    def _border(self, *, narrow: bool) -> tuple[Content, Content]:
        match self._writing:
            case Plain():
                label = _safe(self._label)
                hints = Content(self.NARROW_SUBTITLE if narrow else self.SUBTITLE)
                return Content(label if narrow else f"message {label}".rstrip()), hints
            case Reply(name=name, excerpt=quoted):
                quote = "  " + _safe(excerpt(quoted, MAX_EXCERPT))
                return Content.assemble(f"reply to {_safe(name)}", (quote, "$dim")), Content("enter send · esc leave")
            case Change():
                return Content("edit your message"), Content("enter change · esc leave")


def _safe(text: str) -> str:
    """Peer text for the border: one line, in characters of certain width."""
    return shown(text_of(harmless(line(text))))
