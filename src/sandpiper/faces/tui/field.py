"""The text field under the composer: what goes into it is safe, fits a message, and comes in the order of the keys.

Keys are handled where they arrive and not by bindings, which run later and out of order when keys come in a burst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text
from textual.message import Message
from textual.widgets import TextArea
from typing_extensions import override

from sandpiper.faces.emojis import drawn
from sandpiper.faces.tui.terminal import mend_keys
from sandpiper.wire.limits import MAX_TEXT_CHARS
from sandpiper.wire.text import clean_text

if TYPE_CHECKING:
    from textual import events
    from textual.document._document import EditResult, Location
    from textual.document._edit import Edit
    from textual.geometry import Region
    from textual.strip import Strip

ASK_LINES = 5  # a paste of more lines is asked about
MAX_RAW = 4 * MAX_TEXT_CHARS  # characters of a paste that are looked at: cleaning does not make a longer one fit

NEW_LINE = frozenset({"shift+enter", "alt+enter", "ctrl+j", "ctrl+enter", "shift+\r", "alt+\r", "ctrl+\r"})
JOINERS = frozenset("\u200c\u200d")  # Persian and Indic keyboards have them, and Textual thinks nobody types them


mend_keys()


class Field(TextArea):
    """A field of one to eight lines. Subclasses say in `did` what keys do beyond editing."""

    DEFAULT_CSS = """
    Field, Field:focus {
        width: 100%;
        height: auto;
        min-height: 3;
        max-height: 10;
        padding: 0 1;
        border: round $primary;
        border-title-align: left;
        border-title-color: $primary;
        border-title-background: $background;
        border-subtitle-align: right;
        border-subtitle-color: $dim;
        border-subtitle-background: $background;
        background: $background;
        background-tint: $background 0%;
        color: $foreground;
        scrollbar-size-vertical: 1;
        overflow-x: hidden;
    }
    Field.-command, Field.-command:focus { border: round $secondary; border-title-color: $secondary; }
    Field .text-area--cursor, Field:dark .text-area--cursor, Field:light .text-area--cursor {
        color: $background;
        background: $primary;
    }
    """

    class BigPaste(Message):
        """Something of many lines was pasted. Ask about it, then call `insert_paste`, `send_paste` or nothing."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None) -> None:
        self._painted_in: object = None  # the theme that has its styles; None: they may be others than at the last one
        self._told = False  # that there is no room; once is enough while a key is held down
        super().__init__(id=id, highlight_cursor_line=False)
        self.match_cursor_bracket = False

    # ------------------------------------------------------------ paint

    @override
    def notify_style_update(self) -> None:
        self._painted_in = None
        super().notify_style_update()

    @override
    def render_lines(self, crop: Region) -> list[Strip]:
        """As Textual does; it looks all styles up at every paint, which takes a letter longer than the painting."""
        if self._painted_in is not None and self._painted_in is self._theme:
            return super(TextArea, self).render_lines(crop)
        self._painted_in = self._theme
        return super().render_lines(crop)

    # ------------------------------------------------------------ keys

    @override
    async def _on_key(self, event: events.Key) -> None:
        """Do what a key does; printable ones are left to `TextArea`."""
        if self.did(event.key) or await self._edited(event):
            self._restart_blink()
            event.stop()
            event.prevent_default()

    def did(self, key: str) -> bool:
        """Do what a key does here; False when that is what it does in any text."""
        return False

    async def _edited(self, event: events.Key) -> bool:
        if event.key in NEW_LINE:
            self._replace_via_keyboard("\n", *self.selection)
        elif event.character in JOINERS:
            self._replace_via_keyboard(event.character or "", *self.selection)
        elif event.is_printable:
            return False
        else:
            return await self._bound(event.key)
        return True

    async def _bound(self, key: str) -> bool:
        """Do now what a key of `TextArea` does: bindings run later, after letters that were typed after it."""
        for binding in self._bindings.key_to_bindings.get(key, ()):
            if await self.app.run_action(binding.action, self):
                return True
        return False

    # ------------------------------------------------------------ the text

    @override
    async def _on_paste(self, event: events.Paste) -> None:
        """Take a paste as one text, whatever lines it has."""
        event.stop()
        event.prevent_default()
        self._pasted(event.text)

    @override
    def action_paste(self) -> None:
        self._pasted(self.app.clipboard)

    def _pasted(self, raw: str) -> None:
        if len(raw) <= MAX_RAW:
            text = clean_text(raw, max(1, len(raw)))
            length = len(text)
        else:
            text, length = "", len(raw)
        if length > MAX_TEXT_CHARS:
            self._refuse(
                f"What you pasted has {length:,} characters, and a message has room for {MAX_TEXT_CHARS:,}. "
                "Nothing was pasted; try it in parts."
            )
        elif text.strip("\n").count("\n") >= ASK_LINES:
            self.post_message(self.BigPaste(text))
        elif text:
            self._replace_via_keyboard(text, *self.selection)

    @override
    def edit(self, edit: Edit) -> EditResult:
        result = super().edit(edit)
        self.scroll_cursor_visible()  # TextArea does so before it knows its new height
        return result

    @override
    def _replace_via_keyboard(self, insert: str, start: Location, end: Location) -> EditResult | None:
        length = len(self.text) - len(self.get_text_range(start, end)) + len(insert)
        if length > MAX_TEXT_CHARS and insert:
            if not self._told:
                self._told = True
                self._refuse(
                    f"The message would have {length:,} characters, and has room for {MAX_TEXT_CHARS:,}. "
                    "Send this one first, or leave something out."
                )
            return None
        self._told = False
        return super()._replace_via_keyboard(insert, start, end)

    def _refuse(self, sentence: str) -> None:
        self.notify(sentence, severity="warning", markup=False)

    @override
    def get_line(self, line_index: int) -> Text:
        """A line as it is drawn: character by character, so that the cursor is where it seems to be."""
        return Text(drawn(self.document.get_line(line_index)), end="", no_wrap=True)
