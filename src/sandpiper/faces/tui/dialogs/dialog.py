"""What every dialog is: a box over the dimmed screen that is answered once, with a result or with None.

Keys are handled where they arrive and not by bindings, so that keys typed in a burst keep their order. Every text in
a dialog is built from `spans`; none is ever parsed as markup.

A dialog that opens while somebody is writing must not take what they write for an answer: see `Dialog.guard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Generic, Literal, TypeVar

from rich.text import Text
from textual.containers import VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static
from typing_extensions import override

from sandpiper.faces.emojis import shown
from sandpiper.faces.spans import Line, columns, harmless, line
from sandpiper.faces.tui.themes import looks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from textual import events
    from textual.app import ComposeResult

    from sandpiper.faces.tui.themes import Looks

Result = TypeVar("Result")

BETWEEN = " · "  # between two key hints
EARLY_SHOWN = 12  # characters of what was typed too early that are shown again: enough to recognize it
AS_WRITING = ("enter", "tab", "backspace")  # keys besides letters that somebody who goes on writing presses

Guard = Literal["none", "opening", "always"]


def styled(looks: Looks, *lines: Line) -> Text:
    """Lines of spans as one text in the styles of a theme."""
    text = Text(end="", no_wrap=False)
    for number, spans in enumerate(lines):
        if number:
            text.append("\n")
        for part in harmless(spans):
            text.append(looks.drawn(part.text), looks.style(part.style))
    return text


def fitting(hints: Sequence[str], width: int) -> str:
    """As many key hints as fit `width` cells, the last ones first to stay: the last says how to get out."""
    kept = list(hints)
    while len(kept) > 1 and columns(BETWEEN.join(kept)) > width:
        kept.pop(0)
    return BETWEEN.join(kept)


class Paragraph(Static):
    """Some lines of spans, wrapped to the width of the dialog."""

    DEFAULT_CSS = "Paragraph { height: auto; width: 100%; }"

    def __init__(self, *lines: Line, id: str | None = None, classes: str | None = None) -> None:
        super().__init__("", id=id, classes=classes, markup=False)
        self._lines = lines

    def on_mount(self) -> None:
        """Show the lines in the theme of the app."""
        self.show(*self._lines)

    def show(self, *lines: Line) -> None:
        """Show these lines instead. Only while the dialog is open."""
        self._lines = lines
        self.update(styled(looks_of(self.app), *lines))


class Box(VerticalScroll):
    """The box of a dialog: it scrolls when the screen is too low for what is in it."""


class Entry(Input):
    """The line of a dialog in which a person types; at most one a dialog.

    Enter goes straight to `Dialog.entered`, so that it stays in the order of the keys.
    """

    DEFAULT_CSS = """
    Entry, Entry:focus {
        height: 1;
        border: none;
        padding: 0;
        background: $chip;
        background-tint: $chip 0%;
        color: $foreground;
    }
    Entry > .input--placeholder, Entry > .input--suggestion { color: $dim; }
    """

    def __init__(self, value: str = "", *, placeholder: str = "", password: bool = False, max_length: int = 0) -> None:
        super().__init__(
            value, placeholder, password=password, max_length=max_length, id="entry", select_on_focus=False
        )

    @override
    async def _on_key(self, event: events.Key) -> None:
        dialog = self.screen
        if isinstance(dialog, Dialog) and dialog.too_early(event):
            return
        if isinstance(dialog, Dialog) and dialog.taken(event, self):
            event.stop()
            event.prevent_default()
        else:
            await super()._on_key(event)


class Dialog(ModalScreen[Result], Generic[Result]):
    """A dialog. Subclasses yield what is in the box from `contents` and end with `done(result)`.

    `title` stands in the upper border; `hints`, in the lower one, as many as fit.
    """

    TONE: ClassVar[str] = "primary"
    """The colour of the border: a variable of the theme ("success", "error", …)."""
    WIDTH: ClassVar[int] = 80
    """Cells, border included; never more than the screen has."""
    PAUSE: ClassVar[float] = 0.7
    """Seconds without a letter after which a key is meant for the dialog: longer than between two keys of a word."""
    guard: Guard = "none"
    """When letters (and Enter, Tab) count only after a `PAUSE` on the screen: never, until the first pause, always."""
    GUARDED: ClassVar[str] = "pause a moment to answer"
    """The key hint after something was typed too early."""

    DEFAULT_CSS = """
    Dialog {
        align: center middle;
        background: $background 70%;
        overflow: hidden hidden;
    }
    Dialog > Box {
        width: 80;
        max-width: 100%;
        height: auto;
        max-height: 100%;
        padding: 0 1;
        border: round $primary;
        background: $background;
        color: $foreground;
        border-title-align: left;
        border-title-color: $primary;
        border-subtitle-align: right;
        border-subtitle-color: $dim;
        scrollbar-size-vertical: 1;
    }
    Dialog > Box.-secondary { border: round $secondary; border-title-color: $secondary; }
    Dialog > Box.-success { border: round $success; border-title-color: $success; }
    Dialog > Box.-error { border: round $error; border-title-color: $error; }
    Dialog > Box.-rule { border: round $rule; border-title-color: $dim; }
    Dialog .gap { margin-top: 1; }
    """

    AUTO_FOCUS = "Entry, Box"

    def __init__(self, title: str | Line, hints: Sequence[str] = ("esc close",)) -> None:
        super().__init__()
        self._heading: Line = line(title) if isinstance(title, str) else title
        self._hints = tuple(hints)
        self._done = False
        self.early: list[str] = []
        """Characters typed here that were not meant for this dialog: whoever opened it gives them back when it closes.
        """
        self._shown_at: float | None = None
        self._typed_at = 0.0
        self._passed: events.Key | None = None  # bubbles up here, and has been judged

    # ------------------------------------------------------------ for subclasses

    def contents(self) -> ComposeResult:
        """The widgets in the box."""
        raise NotImplementedError

    def opened(self) -> None:
        """The dialog is on the screen and has its widgets."""

    def entered(self, text: str) -> None:
        """Enter was pressed in the `Entry`, in which `text` stands."""

    def pressed(self, event: events.Key) -> bool:
        """A key that no widget of the dialog wanted; True when it was of use."""
        return False

    def taken(self, event: events.Key, entry: Entry) -> bool:
        """A key pressed in the `Entry`, before the entry sees it; True when the entry must not."""
        if event.key == "enter":
            self.entered(entry.value)
            return True
        return False

    def done(self, result: Result | None) -> None:
        """Close with a result. What comes after the first time, a key typed too much, does nothing."""
        if not self._done and self.is_current:
            self._done = True
            _ = self.dismiss(result)

    def hint(self, *hints: str) -> None:
        """Show other key hints in the lower border. Only while the dialog is open."""
        self._hints = hints
        self._decorate()

    @property
    def looks(self) -> Looks:
        """What style words look like in the theme of the app."""
        return looks_of(self.app)

    @property
    def box(self) -> Box:
        """The box; there while the dialog is open."""
        return self.query_one(Box)

    # ------------------------------------------------------------ Textual

    @override
    def compose(self) -> ComposeResult:
        box = Box(id="box", classes=f"-{self.TONE}")
        box.styles.width = self.WIDTH
        with box:
            yield from self.contents()

    def on_mount(self) -> None:
        """Write the border; the focus goes to what is typed in, else to the box, so that its keys scroll."""
        for entry in self.query(Entry):
            self.box.can_focus = False
            self.set_focus(entry)
        self._decorate()
        self.opened()
        self.call_after_refresh(self._now_shown)

    def _now_shown(self) -> None:
        self._shown_at = Message().time  # by the clock that stamps keys, which is not the same on every system
        if self.early and not self._done:
            self._decorate()

    def too_early(self, event: events.Key) -> bool:
        """True when a key was typed before a pause: it is kept in `early`, and nobody may act on it.

        Esc and keys that write nothing always pass. Whichever widget gets a key first asks; the dialog, to which it
        bubbles, asks last.
        """
        if self.guard == "none" or not (event.is_printable or event.key in AS_WRITING) or event is self._passed:
            return False
        # When the key was pressed counts, and not when it comes here: the app may have been busy in between.
        early = self._shown_at is None or event.time - max(self._shown_at, self._typed_at) < self.PAUSE
        if early or event.is_printable:
            self._typed_at = event.time
        if early:
            event.stop()
            event.prevent_default()
            self._not_for_me(event)
            return True
        self._passed = event
        if self.guard == "opening":
            self.guard = "none"
            if self.early:
                self._decorate()
        return False

    def _not_for_me(self, event: events.Key) -> None:
        if event.key == "backspace":
            self.early = self.early[:-1]
        elif event.is_printable and event.character is not None:
            self.early.append(event.character)
        if self._shown_at is not None:
            self._decorate()

    def on_resize(self, event: events.Resize) -> None:
        """Show as many key hints as fit now."""
        self._decorate(event.size.width)

    def _decorate(self, width: int | None = None) -> None:
        inside = min(self.WIDTH, width or self.size.width or self.app.size.width) - 6
        self.box.border_title = Text(_plain(self._heading))
        hints = self._hints
        if self.early and self.guard != "none":
            hints = ("esc close", f"not taken: {''.join(self.early[-EARLY_SHOWN:])}", self.GUARDED)
        shown_hints = fitting(hints, inside)
        self.box.border_subtitle = Text(_plain(line(shown_hints))) if shown_hints else None

    def on_key(self, event: events.Key) -> None:
        """Esc closes; what is typed before the entry has the focus goes to it; nothing reaches the screen below."""
        entry = next(iter(self.query(Entry)), None)
        if self.too_early(event):
            return
        if event.key == "escape":
            event.stop()
            self.done(None)
        elif entry is not None and not entry.has_focus and (self.focused is None or event.is_printable):
            event.stop()
            self.set_focus(entry)
            entry.post_message(type(event)(event.key, event.character))
        elif self.pressed(event) or event.key == "enter":
            event.stop()
        elif self.guard == "always" and event.is_printable:
            event.stop()
            self._not_for_me(event)  # the beginning of a word; the rest of it will come too early

    def on_click(self, event: events.Click) -> None:
        """A click beside the box closes."""
        if not self.box.region.contains(event.screen_x, event.screen_y):
            event.stop()
            self.done(None)


def _plain(spans: Line) -> str:
    return shown("".join(part.text for part in harmless(spans)))
