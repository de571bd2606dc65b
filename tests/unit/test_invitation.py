"""What somebody gets who may come in: the command, its QR code, and both read back."""

import segno
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.crypto.codes import Code, parse_code
from sandpiper.faces.invitation import QUIET, Invitation, command, qr_lines, read
from sandpiper.faces.spans import text_of

CODE = parse_code("pine-ocean-42")
HALVES = {"█": (True, True), "▀": (True, False), "▄": (False, True), " ": (False, False)}


def modules(text: str, *, coloured: bool) -> list[list[bool]]:
    """The dark modules that a camera sees, the quiet zone among them."""
    out: list[list[bool]] = []
    for line in qr_lines(text, coloured=coloured):
        halves = [HALVES[char] for char in text_of(line)]
        out += [[half[row] is coloured for half in halves] for row in (0, 1)]
    return out


def test_a_qr_code_holds_exactly_the_command_in_both_ways_to_draw_it():
    text = command(CODE, "tls://relay.example:443")
    wanted = [[bool(cell) for cell in row] for row in segno.make_qr(text, error="l", boost_error=False).matrix]
    for coloured in (True, False):
        seen = modules(text, coloured=coloured)
        inner = [row[QUIET:-QUIET] for row in seen[QUIET : QUIET + len(wanted)]]
        assert inner == wanted
        around = [*seen[:QUIET], *seen[QUIET + len(wanted) : 2 * QUIET + len(wanted)]]
        assert not any(any(row) for row in around)
        assert not any(any(row[:QUIET]) or any(row[-QUIET:]) for row in seen[: 2 * QUIET + len(wanted)])


def test_the_command_is_read_back():
    assert read(command(CODE)) == Invitation("pine-ocean-42")
    assert read(command(CODE, "relay.example:8000")) == Invitation("pine-ocean-42", ("relay.example:8000",))
    assert read("$ sandpiper  join --relay=a --relay b PINE ocean 42\n") == Invitation("PINE ocean 42", ("a", "b"))
    assert read("pine ocean 42") == Invitation("pine ocean 42")
    assert read("sandpiper join pine-ocean-42 --relay") == Invitation("pine-ocean-42")


@given(st.text(max_size=80))
def test_any_text_is_read_as_something(typed: str):
    read(typed)
    read(f"sandpiper join {typed}")


def test_no_repr_shows_the_words():
    assert "pine" not in repr(read(command(Code("42", ("pine", "ocean")))))
