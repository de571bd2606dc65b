"""Names of emoji, and emoji drawn so that every terminal agrees how wide they are."""

from __future__ import annotations

import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from wcwidth import wcwidth

from sandpiper.faces.emojis import How, drawn, emoji_named, names_matching, shown, with_emoji
from sandpiper.wire.text import clean_text

PERSIAN = "می\u200cخواهم"  # noqa: RUF001
# Characters that change the width of their neighbours, and those that are changed.
JOINING = st.sampled_from(
    "\u200d\u200c\ufe0e\ufe0f\u20e3\U000e0101\U0001f1e6\U0001f1e9\U0001f3fb\U0001f3ff👍👩☝❤🏴#1aक्िක්ශර"
    "\u1100\u1161\u11a8\u115f\u1160\ua960\ud7b0\ud7fb가각ㄱ\U0001f6d9\u1ade"
)
TEXTS = st.one_of(st.text(), st.text(JOINING, max_size=12), st.text(st.one_of(JOINING, st.characters())))


# ---------------------------------------------------------------- names


def test_names_that_begin_so_come_first_and_each_emoji_once():
    found = names_matching("wav")
    assert found[0] == ("👋", "wave")
    assert ("🌊", "water_wave") in found
    begins = [named.name.startswith("wav") for named in found]
    assert begins == sorted(begins, reverse=True)
    assert len({named.emoji for named in found}) == len(found)


def test_no_more_names_than_asked_for():
    assert len(names_matching("a", 7)) == 7


def test_names_can_be_typed_on_any_keyboard():
    assert emoji_named("GERMANY") == "🇩🇪"
    assert emoji_named("antigua_barbuda") == "🇦🇬"
    assert emoji_named("cat") == "🐱"
    assert emoji_named("nope") is None


def test_skin_tones_are_known_but_not_offered():
    assert emoji_named("thumbs_up_dark_skin_tone") == "👍🏿"
    assert all("skin_tone" not in named.name for named in names_matching("thumbs_up"))


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        (":wave:", "👋"),
        ("hi :wave:!", "hi 👋!"),
        ("(:+1:)", "(👍)"),
        (":wave::heart:", "👋❤️"),
        (":wave: :nope:", "👋 :nope:"),
        (":wave::nope:", ":wave::nope:"),
        ("/react ^ :Wave:", "/react ^ 👋"),
        ("12:30:45", "12:30:45"),
        ("it is :1: and :30:", "it is :1: and :30:"),
        ("std::wave::x :: ::wave::", "std::wave::x :: ::wave::"),
        ("a:wave: :wave:b", "a:wave: :wave:b"),
        ("http://x/:wave:/y http://h:8080:wave:", "http://x/:wave:/y http://h:8080:wave:"),
        ("`:wave:` :wave:", "`:wave:` 👋"),
        ("``a ` :wave:`` :wave:", "``a ` :wave:`` 👋"),
        ("it`s :wave:", "it`s 👋"),
        ("```\n:wave:\n``` :wave:", "```\n:wave:\n``` 👋"),
        ("```\n:wave:", "```\n:wave:"),
        ("", ""),
    ],
)
def test_names_of_emoji_become_emoji_where_they_are_meant(text: str, sent: str):
    assert with_emoji(text) == sent


PIECES = st.sampled_from([":wave:", ":heart:", ":nope:", ":", "`", "```", " ", "a", "/", "\n", "👋"])


@given(st.lists(PIECES).map("".join))
def test_names_are_replaced_once_and_nothing_grows(text: str):
    sent = with_emoji(text)
    assert with_emoji(sent) == sent
    assert len(sent) <= len(text)


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("👨‍👩‍👧", "👨👩👧"),
        ("🕵️‍♀️", "🕵♀"),
        ("❤️ ✌︎", "❤ ✌"),
        ("👍🏽 ☝🏿 ✌️🏽", "👍 ☝ ✌"),
        ("🏽 a🏿", "🟧 a⬛"),
        ("🇩🇪", "DE"),
        ("🇩🇪🇫🇷!", "DE FR!"),
        ("🇩", "D"),
        ("1️⃣", "1"),
        ("🏴\U000e0067\U000e0062\U000e007f", "🏴"),
        (PERSIAN, PERSIAN),
        ("한", "한"),
        ("\u1112\u1161\u11ab", "한"),
        ("\u1100\u1100가", "ㄱㄱ가"),
        ("\u1161 \ua960", "ㅏ \ufffd"),
        ("Zoë\tक्ष\n漢字", "Zoë\tक्ष\n漢字"),
    ],
)
def test_safe_text_is_readable(text: str, safe: str):
    assert shown(text) == safe


@given(TEXTS)
@example("\u0915\u094d\u200d\u0937")
@example("\u1100\u200d\u1161")
@example("👍🏽🏽\ufe0f")
@example("\U0001f1e9\ufe0f\U0001f1ea")
def test_no_width_in_safe_text_depends_on_a_neighbour(text: str):
    for safe in (shown(clean_text(text)), shown(clean_text(text), "codes")):
        for line in safe.split("\n"):
            part = line.replace("\t", "")
            widths = [wcwidth(char) for char in part]
            assert min(widths, default=0) >= 0
            assert cell_len(part) == sum(widths)


@given(TEXTS)
def test_safe_text_stays_as_it_is(text: str):
    safe = shown(clean_text(text))
    assert shown(safe) == safe


@given(TEXTS)
def test_drawn_text_is_as_safe_and_has_as_many_characters(text: str):
    text = clean_text(text)
    line = drawn(text)
    assert len(line) == len(text)
    assert cell_len(line) == sum(cell_len(char) for char in line)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("hi 👋", "hi :waving_hand:"),
        ("👨‍👩‍👧", ":family_man_woman_girl:"),
        ("❤ ❤️", ":red_heart: :red_heart:"),
        ("🇩🇪", ":germany:"),
        ("👍🏽", ":thumbs_up_medium_skin_tone:"),
        ("© 2026 → ™ 1 #", "© 2026 → ™ 1 #"),
        ("漢字", "漢字"),
    ],
)
def test_codes_are_names_that_can_be_typed(text: str, codes: str):
    assert shown(text, "codes") == codes


@pytest.mark.parametrize("text", ["👨‍👩‍👧 🇩🇪 ❤️", "\u1112\u1161\u11ab"])
def test_joined_text_is_as_it_was_sent(text: str):
    assert shown(text, "joined") == text


def test_text_in_ascii_loads_nothing():
    program = (
        "import sys\n"
        "from sandpiper.faces.emojis import shown, with_emoji\n"
        "hows = ('safe', 'joined', 'codes')\n"
        "assert all(shown('plain :wave [b]', how) == 'plain :wave [b]' for how in hows)\n"
        "assert with_emoji('at 12:30:45') == 'at 12:30:45'\n"
        "assert not {'emoji', 'rich', 'wcwidth'} & set(sys.modules), sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_every_way_is_covered():
    assert set(get_args(How)) == {"safe", "joined", "codes"}
