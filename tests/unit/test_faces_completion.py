"""What Tab offers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.completion import common_start, complete
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
