"""What somebody gets who may come into a private room: the command, as text and as a QR code, and read back again.

All of it holds the words of a code. It is for the eyes of the person and goes to a terminal that they look at, never to
a log or an error; a QR code goes to no pipe either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from typing_extensions import override

from sandpiper.faces.spans import Line, Span, line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.crypto.codes import Code

QUIET = 2  # modules of nothing around a QR code, of which cameras need some
INK = "qr"  # the style of a QR code in colours: black on white, whatever the terminal has
_RELAY = "--relay"


class Invitation(Struct, frozen=True):
    """A code as somebody typed or pasted it, and the relays that were named with it. Its `repr` shows neither."""

    code: str
    relays: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        return "Invitation(…)"


def command(code: Code, relay: str = "") -> str:
    """What whoever may come in types."""
    return " ".join(("sandpiper join", code.spoken, *((_RELAY, relay) if relay else ())))


def read(typed: str) -> Invitation:
    """What was typed or pasted where a code is asked for: a code, or a whole `command`, as a QR code holds it too."""
    words = typed.split()
    if words[:1] == ["$"]:
        words = words[1:]
    if [word.casefold() for word in words[:2]] != ["sandpiper", "join"]:
        return Invitation(typed)
    code, relays = list[str](), list[str]()
    rest = iter(words[2:])
    for word in rest:
        if word == _RELAY:
            relays += [next(rest, "")]
        elif word.startswith(f"{_RELAY}="):
            relays += [word.removeprefix(f"{_RELAY}=")]
        else:
            code += [word]
    return Invitation(" ".join(code), tuple(filter(None, relays)))


def qr_lines(text: str, *, coloured: bool) -> list[Line]:
    """A QR code of a text, two rows of it in each line. `coloured`: black on white; otherwise in the terminal's own
    colours, of which the text's is taken for the lighter one.
    """
    return [line(Span(row, INK if coloured else "")) for row in _rows(_modules(text), dark_ink=coloured)]


def _modules(text: str) -> list[list[bool]]:
    """The modules of a QR code with what must stand empty around them; True is dark."""
    import segno  # seldom needed, and then a moment does not matter

    made = segno.make_qr(text, error="l", boost_error=False)
    width = len(made.matrix) + 2 * QUIET
    empty = [[False] * width for _ in range(QUIET)]
    side = [False] * QUIET
    return [*empty, *([*side, *map(bool, row), *side] for row in made.matrix), *empty]


def _rows(modules: Sequence[Sequence[bool]], *, dark_ink: bool) -> list[str]:
    rows = []
    for at in range(0, len(modules), 2):
        upper = modules[at]
        lower = modules[at + 1] if at + 1 < len(modules) else [False] * len(upper)
        rows.append(
            "".join(_BLOCKS[one is dark_ink, other is dark_ink] for one, other in zip(upper, lower, strict=True))
        )
    return rows


_BLOCKS = {(True, True): "█", (True, False): "▀", (False, True): "▄", (False, False): " "}
