"""What Tab offers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.commands import COMMANDS
from sandpiper.faces.completion import common_start, complete, suggest, word_start
from sandpiper.faces.spans import text_of
from sandpiper.faces.terminal import PromptState

STATE = PromptState(room="#general", rooms=("#dev", "#general", "@bob"), nicks=("bob", "Bonnie", "carol~1f2e"))


@pytest.mark.parametrize(
    ("before", "offered"),
    [
        ("/hel", ["/help "]),
        ("/w", ["/who ", "/whois "]),
        ("/join #d", ["#dev "]),
        ("/join ", ["#dev ", "#general ", "@Bonnie ", "@bob ", "@carol~1f2e "]),
        ("/msg bo", ["Bonnie ", "bob "]),
        ("/msg @bo", ["@Bonnie ", "@bob "]),
        ("/msg bob hi @ca", ["@carol~1f2e "]),
        ("/reply @c", ["@carol~1f2e "]),
        ("/reply ", ["@Bonnie ", "@bob ", "@carol~1f2e ", "^ "]),
        ("/help top", ["topic"]),
        ("/nope x", []),
        ("/status x", []),
        ("hello @b", ["@Bonnie ", "@bob "]),
        ("see #g", ["#general "]),
        ("car", ["@carol~1f2e "]),
        ("//join #d", ["#dev "]),
        ("/ x", []),
        ("first\n@ca", ["@carol~1f2e "]),
        ("nice :tad", ["🎉 "]),
        ("nice :tada:", ["🎉 "]),
        ("/react ^ :tad", ["🎉 "]),
        ("/react :tad", ["🎉 "]),
        (":pizz", ["🍕 "]),
        ("at 12:3", []),
        (":t", []),
        (":nope:", []),
        ("", []),
        ("xyz", []),
    ],
)
def test_offers_go_by_where_the_cursor_stands(before: str, offered: list[str]):
    assert [offer.text for offer in complete(before, STATE)] == offered


@given(st.text())
def test_an_offer_replaces_what_was_begun(before: str):
    for offer in complete(before, STATE):
        assert 0 <= offer.length <= len(before)


def test_the_common_start_ignores_case():
    assert common_start(["@Bonnie ", "@bob "]) == "@bo"
    assert common_start(["/who ", "/whois "]) == "/who"
    assert common_start(["/help "]) == "/help "


def test_an_answer_is_yes_no_or_accept():
    state = PromptState(nicks=("bob",))
    assert [offer.text for offer in complete("/verify bob ", state)] == ["accept", "no", "yes"]
    assert [offer.text for offer in complete("/verify bob y", state)] == ["yes"]
    assert [offer.text for offer in complete("/verify b", state)] == ["bob "]


def test_the_words_of_a_code_are_completed_where_a_room_is_named():
    assert "pine-" in [offer.text for offer in complete("/join pin", STATE)]
    assert [offer.text for offer in complete("/join pine-ocea", STATE)] == ["pine-ocean-"]
    assert all(offer.length == 6 for offer in complete("/join pine-o", STATE) if offer.text != "")
    assert complete("/join p", STATE) == [], "a hundred words are no help"
    assert complete("/join pine-ocean-4", STATE) == []
    assert complete("/join #pine", STATE) == []
    assert complete("/leave pin", STATE) == [], "nobody leaves by a code"
    assert complete("pin", STATE) == [], "words of a message are none of a code"


def test_an_emoji_that_is_not_clear_is_completed_by_its_name():
    offers = complete("a :water", STATE)
    assert len(offers) > 1
    assert all(offer.text.startswith(":water") and offer.length == 6 for offer in offers)


# ---------------------------------------------------------------- the list while typing


def suggested(before: str, *, calls: bool = True) -> list[str]:
    return [row.text for row in suggest(before, STATE, calls=calls)]


def test_a_slash_suggests_all_commands_in_the_order_of_the_table():
    assert [text.strip() for text in suggested("/")] == [f"/{command.name}" for command in COMMANDS]


@pytest.mark.parametrize(
    ("before", "texts"),
    [
        ("/wh", ["/who ", "/whois "]),
        ("/oi", ["/join ", "/whois "]),  # contain it
        ("/bye", ["/quit"]),  # is also called so
        ("/re", ["/reply ", "/react ", "/create ", "/ignore ", "/unignore "]),
        ("/nope", []),
        ("//he", []),
        ("/join ", ["#dev ", "#general ", "@Bonnie ", "@bob ", "@carol~1f2e "]),
        ("/msg b", ["Bonnie ", "bob "]),
        ("/msg bob b", []),
        ("/msg bob @b", ["@Bonnie ", "@bob "]),
        ("/help top", ["topic"]),
        ("/nick ", []),
        ("/status ", []),
        ("hello @b", ["@Bonnie ", "@bob "]),
        ("hello\n@b", ["@Bonnie ", "@bob "]),
        ("hello b", []),
        ("me@b", []),
        (":t", []),
        (":tada:", []),
        ("a :tad", ["🎉 "]),
        ("/react ^ :tad", ["🎉 "]),
        ("", []),
    ],
)
def test_suggestions_come_only_where_they_help(before: str, texts: list[str]):
    assert suggested(before) == texts


def test_a_slash_in_an_answer_suggests_nothing():
    assert suggested("/wh", calls=False) == []
    assert suggested("/wh @bo", calls=False) == ["@Bonnie ", "@bob "]


def test_a_command_is_suggested_with_its_parameters_and_help():
    row = suggest("/msg", STATE)[0]
    assert text_of(row.label) == "/msg nick [text]"
    assert [span.style for span in row.label] == ["accent", "bold", "teal"]
    assert row.help.startswith("write to one person")


@given(st.text(st.sampled_from("/@#: \nbmsgtada^"), max_size=12))
def test_a_suggestion_replaces_no_more_than_the_word_that_was_begun(before: str):
    for row in suggest(before, STATE):
        assert 0 <= row.length <= len(before) - word_start(before)
