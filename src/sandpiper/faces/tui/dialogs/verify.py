"""Comparing safety words with somebody, and saying whether they are the same."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from typing_extensions import override

from sandpiper.faces.render import Look, clock
from sandpiper.faces.spans import Line, Span, columns, dim, line
from sandpiper.faces.tui.dialogs.answers import Answer, AnswerDialog, Answers
from sandpiper.faces.tui.dialogs.dialog import Paragraph

if TYPE_CHECKING:
    from textual.app import ComposeResult

    from sandpiper.faces.verifying import Comparison

PER_ROW = 4
APART = "  "
LOW = 18  # lines of a screen: in a lower one the dialog scrolls


def first_seen(comparison: Comparison, today: date) -> str:
    """`first seen today 14:05 via lan`, in local time."""
    if not comparison.first_seen:
        return "never linked"
    when = clock(comparison.first_seen, Look(None, today))
    via = f" via {comparison.path}" if comparison.path else ""
    return f"first seen {'today ' if len(when) == len('14:05') else ''}{when}{via}"


class VerifyDialog(AnswerDialog[bool]):
    """Safety words and digits. True: they are the same; False: they are not, or a verification is taken back; None:
    nothing was said. `today` is for tests.
    """

    TONE = "success"
    WIDTH = 66

    def __init__(self, comparison: Comparison, *, today: date | None = None) -> None:
        self._comparison = comparison
        today = today or datetime.now(UTC).astimezone().date()
        if comparison.verified:
            answers = [Answer("n", "take it back", "bad"), Answer("escape", "keep it")]
        else:
            answers = [Answer("y", "they match", "good"), Answer("n", "they do not", "bad"), Answer("escape", "later")]
        self._seen_first = ("ed25519", first_seen(comparison, today))
        super().__init__(f"Verify {comparison.name}", self._seen_first, answers)

    @override
    def contents(self) -> ComposeResult:
        comparison, name = self._comparison, self._comparison.name
        if comparison.verified:
            yield Paragraph(line(Span("✓ ", "good bold"), Span(f"You have verified {name}.", "bold")), classes="gap")
            yield Paragraph(line(dim("These are the words that you have compared.")))
        else:
            head = line(Span(f"Compare these words with {name}", "bold"), dim(" over a call or in person."))
            yield Paragraph(head, classes="gap")
        yield Paragraph(id="words", classes="gap")
        yield Paragraph(id="digits", classes="gap")
        for sentence in self._sentences():
            yield Paragraph(line(sentence), classes="gap")
        yield Answers(self.answers)

    def _sentences(self) -> tuple[str, ...]:
        name = self._comparison.name
        if self._comparison.verified:
            return (f"Take it back if the words that {name} sees are others now, or if you were not sure.",)
        return (
            "If they match, nobody is in the middle. If they do not, do not send anything secret and tell "
            f"{name} another way.",
        )

    @override
    def answered(self, key: str) -> None:
        if key == "escape":
            self.done(None)
        elif key == "n" or (key == "y" and not self._comparison.verified):
            self.done(key == "y")

    @override
    def _decorate(self, width: int | None = None) -> None:
        if self.app.size.height < LOW:  # the answers are out of sight
            self._hints = ("n take it back", "esc keep it") if self._comparison.verified else ("y n", "esc later")
            self._hints = ("↑↓ scroll", *self._hints)
        else:
            self._hints = self._seen_first
        super()._decorate(width)
        inside = min(self.WIDTH, width or self.size.width or self.app.size.width) - 5
        self.query_one("#words", Paragraph).show(*grid(self._comparison.words, inside, "accent bold"))
        self.query_one("#digits", Paragraph).show(*grid(self._comparison.digits, inside, "dim"))


def grid(words: tuple[str, ...], width: int, style: str) -> list[Line]:
    """Words in rows of four below each other; fewer in a row where four are too wide."""
    for count in (PER_ROW, PER_ROW // 2, 1):
        rows = [words[first : first + count] for first in range(0, len(words), count)]
        widths = [max((columns(row[place]) for row in rows if place < len(row)), default=0) for place in range(count)]
        if count == 1 or sum(widths) + len(APART) * count <= width:
            return [line(*(Span(APART + _left(word, widths[n]), style) for n, word in enumerate(row))) for row in rows]
    return []


def _left(word: str, width: int) -> str:
    return word + " " * (width - columns(word))
