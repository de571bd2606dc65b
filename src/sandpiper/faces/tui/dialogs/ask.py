"""What is asked before a profile is open: a nick at the first start, and the passphrase of a sealed identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.widgets import Input
from typing_extensions import override

from sandpiper.errors import UsageError
from sandpiper.faces.spans import Span, dim, line
from sandpiper.faces.tui.dialogs.dialog import Dialog, Entry, Paragraph
from sandpiper.wire.limits import MAX_NICK_CHARS
from sandpiper.wire.text import check_nick

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult
    from textual.message import Message

HUB_PASSWORD = "Whoever runs the hub gets it, and can read the room as ever."
CODE_PASSWORD = "It is sent to nobody: the members prove to each other that they know it. A wrong one is a wrong guess."
MAX_PASSPHRASE = 1024  # characters: a limit for a paste that went to the wrong place


class NickDialog(Dialog[str]):
    """The nick of a new profile, checked; None when the person would rather leave.

    `checks` gives the nick as it is used, or raises `UsageError` for one that cannot be.
    """

    WIDTH = 64

    def __init__(self, suggested: str, checks: Callable[[str], str] = check_nick) -> None:
        super().__init__("Welcome to Sandpiper", ("enter go on", "esc leave"))
        self._suggested = suggested
        self._checks = checks

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(line(Span("What should others call you?", "bold")), classes="gap")
        yield Entry(self._suggested, max_length=4 * MAX_NICK_CHARS)
        yield Paragraph(id="trouble")
        yield Paragraph(line(dim("A key is made for you on this machine; no account.")))
        yield Paragraph(line(dim("You can be called something else at any time: /nick")))

    @override
    def opened(self) -> None:
        self.query_one(Entry).action_select_all()

    def on_input_changed(self) -> None:
        """What was wrong may be right now."""
        self.query_one("#trouble", Paragraph).show()

    @override
    def entered(self, text: str) -> None:
        try:
            self.done(self._checks(text))
        except UsageError as error:
            # Its hint names an option of the command line, which is of no use here.
            self.query_one("#trouble", Paragraph).show(line(Span(f"! {error}", "warn")))


class PassphraseDialog(Dialog[str]):
    """A passphrase, shown as dots; None when the person would rather leave. It is kept nowhere but in the line."""

    WIDTH = 64

    def __init__(self, prompt: str) -> None:
        super().__init__("Sealed identity", ("enter go on", "esc leave"))
        self._prompt = prompt

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(line(Span(self._prompt, "bold")), classes="gap")
        yield Secret()
        yield Paragraph(line(dim("The passphrase was chosen when this identity was sealed.")), classes="gap")

    @override
    def entered(self, text: str) -> None:
        self.query_one(Entry).clear()
        self.done(text)


class PasswordDialog(Dialog[str]):
    """The password of a hub, or of a room, shown as dots; None when the person would rather not. It comes by itself, so
    what is typed until the first pause is not for it. `about` says who gets to know it.
    """

    WIDTH = 64
    guard = "opening"
    GUARDED = "pause a moment to type it"

    def __init__(self, label: str, text: str, *, about: str = HUB_PASSWORD) -> None:
        super().__init__(f"Password of {label}", ("enter go on", "esc not now"))
        self._text = text
        self._about = about

    @override
    def contents(self) -> ComposeResult:
        yield Paragraph(line(Span(self._text, "bold")), classes="gap")
        yield Secret()
        yield Paragraph(line(dim(self._about)), classes="gap")

    @override
    def entered(self, text: str) -> None:
        if text:
            self.query_one(Entry).clear()
            self.done(text)


class Secret(Entry):
    """A line whose text nobody sees, neither on the screen nor in anything that describes the line."""

    def __init__(self) -> None:
        super().__init__(password=True, max_length=MAX_PASSPHRASE)

    @override
    def post_message(self, message: Message) -> bool:
        # News of a change would carry the text, and a log of messages would have it then.
        return False if isinstance(message, Input.Changed) else super().post_message(message)

    @override
    def action_copy(self) -> None:
        """Nothing: it is no text for the clipboard."""

    @override
    def action_cut(self) -> None:
        """Nothing, as for copying."""
