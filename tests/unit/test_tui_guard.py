import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.segment import ControlType, Segment
from rich.style import Style
from textual.color import Color
from textual.strip import Strip

from sandpiper.faces.tui.guard import LastNet, forbidden

BACKGROUND = Color(0, 0, 0)

# The ranges by number, beside the categories that the guard goes by.
NEVER = [
    *range(0x20),
    *range(0x7F, 0xA0),
    0x061C,
    0x200B,
    0x200E,
    0x200F,
    *range(0x2028, 0x202F),
    *range(0x2060, 0x2070),
    0xFEFF,
    *range(0xE0000, 0xE0080),
    0xD800,
    0xDFFF,
]
HOSTILE = st.sampled_from([chr(code) for code in NEVER])
WIDE = st.sampled_from(["👩", "\u200d", "\ufe0f", "☀", "⚓", "名", "e\u0301", "\u200c", "🇩", "🇪", "\U000e0100", "a"])
TEXTS = st.lists(st.one_of(HOSTILE, WIDE, st.characters(exclude_categories=[]))).map("".join)


def passed(*segments: Segment) -> list[Segment]:
    return LastNet().apply(list(segments), BACKGROUND)


@given(TEXTS)
def test_nothing_that_a_terminal_obeys_passes_and_widths_stay(text: str):
    (segment,) = passed(Segment(text))
    assert not set(map(ord, segment.text)) & set(NEVER)
    assert not any(unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") for char in segment.text)
    assert cell_len(segment.text) == cell_len(text)
    segment.text.encode()  # the terminal gets UTF-8: half a character would end the program


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Zl", "Zp", "Cs"])))
def test_what_people_write_passes_as_it_is(text: str):
    tags = {chr(code) for code in range(0xE0000, 0xE0080)}
    text = "".join(char for char in text if char not in tags)
    assert passed(Segment(text)) == [Segment(text)]


@pytest.mark.parametrize("text", ["plain", "👩‍👩‍👧 ☀️ 🇩🇪 名前", "می‌خواهم", "café", "e\u0301"])
def test_scripts_and_emoji_with_joiners_pass(text: str):
    segment = Segment(text, Style(bold=True))
    assert passed(segment)[0] is segment


@pytest.mark.parametrize(
    "text",
    [
        "\x1b]52;c;cm0gLXJm\x07",
        "\x1b[2J\x1b[H",
        "\x9b31m",
        "\x9d0;title\x9c",
        "safe\u202egnp.exe",
        "one\u2028two",
        "a\nb\rc\td",
        "tag\U000e0041\U000e007f",
    ],
)
def test_sequences_come_to_nothing(text: str):
    got = passed(Segment(text))[0].text
    assert not any(forbidden(char) for char in got)
    assert [char for char in got if char != "\ufffd"] == [char for char in text if not forbidden(char)]


def test_a_control_of_our_own_passes():
    bell = Segment("\x07", None, [(ControlType.BELL,)])
    assert passed(bell) == [bell]


@pytest.mark.parametrize("link", ["https://x/\x1b]52;c;eA==\x07", "https://x/\x9c", "https://x/\u202e"])
def test_a_link_cannot_carry_a_sequence(link: str):
    (segment,) = passed(Segment("here", Style(link=link, bold=True)))
    assert segment.style is not None
    assert segment.style.link is None
    assert segment.style.bold


def test_an_ordinary_link_stays():
    segment = Segment("here", Style(link="https://sandpiper.example/radio"))
    assert passed(segment)[0] is segment


def test_a_line_written_through_the_net_has_no_escape_but_its_colours():
    strip = Strip([Segment("a\x1b[31mb\x9b2J", Style(color="#ffffff"))])
    written = strip.apply_filter(LastNet(), BACKGROUND).render(Console(color_system="truecolor", force_terminal=True))
    assert written.count("\x1b") == 2  # the colour, and its end
    assert "a[31mb2J" in written
