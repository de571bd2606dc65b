"""Whole joins, first messages and meetings again, every byte at the relay caught: nothing that was said is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.captured import Wiretap, all_said, encodings, shown, spoken
from tests.relayed import Relayed
from tests.served import HOST
from tests.ui.test_rooms_by_code import Person, wrong

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "two herons on a pier"
ROOM = "birdwatchers"
NICKS = ("alice-heron", "bob-egret", "eve-cuckoo")
TEXTS = ("the heron has landed", "who saw the kingfisher", "back without a code", "and the bittern as well")
TOPIC = "wetlands of the north"


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay")) as served:
        yield served
        served.unharmed()


def test_the_search_finds_what_is_there() -> None:
    """Else finding nothing would say nothing."""
    assert spoken(("pine", "ocean"), b'noise {"type":"signal","data":"pine-ocean"} noise')
    assert spoken(("pine", "ocean"), b"\x93\xa4pine\xa5ocean\x00")
    for form in sorted(encodings("pine ocean", 6))[::11]:
        assert all_said(["pine ocean"], b"\x00\x01" + form + b"\xff")
    assert shown("ab" * 32, b"-" + bytes.fromhex("ab" * 16) + b"-")
    assert not spoken(("pine", "ocean"), b'{"type":"signal","data":"pin"} pineapples and ocelots')


def test_of_joins_words_and_meetings_again_a_relay_gets_no_word_name_key_or_text(
    tmp_path: Path, relay: Relayed
) -> None:
    """A join with a password, one with wrong words, talk, and both back without a code (by the room's tag)."""
    alice, bob, eve = (tmp_path / nick for nick in NICKS)
    known = {"SANDPIPER_ROOM_PASSWORD": PASSWORD}
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n", encoding="utf-8")
    tap = Wiretap(relay.port)
    where = f"{HOST}:{tap.port}"
    keys = []
    try:
        with Person(NICKS[0], alice, "create", ROOM, "--password-file", str(secret), relay=where) as host:
            code = host.code
            host.say(TEXTS[0], f"/topic {TOPIC}")
            with Person(NICKS[2], eve, "join", wrong(code), relay=where, env=known) as guesser:
                guesser.fails("wrong_code", 4)
            with Person(NICKS[1], bob, "join", code, relay=where, env=known) as guest:
                guest.meets(NICKS[0], "relay")
                guest.shows(TEXTS[0], 30)
                guest.say(TEXTS[1])
                host.shows(TEXTS[1], 30)
                assert {peer["path"] for one in (host, guest) for peer in one.of("peer")} == {"relay"}
        first = len(tap.heard)
        with Person(NICKS[0], alice, "--room", ROOM) as host, Person(NICKS[1], bob, "--room", ROOM) as guest:
            host.meets(NICKS[1], "relay")
            guest.meets(NICKS[0], "relay")
            host.say(TEXTS[2])
            guest.shows(TEXTS[2], 30)
            guest.say(TEXTS[3])
            host.shows(TEXTS[3], 30)
            keys += [str(one.of("ready")[0]["key"]) for one in (host, guest)]
    finally:
        tap.close()
    heard = bytes(tap.heard)
    assert heard.count(b'"bridged"') >= 6, "all of it went through here: three bridges, and each is told to both"
    assert b'"tag"' in heard[first:], "they met again by the room's tag"
    one, other, number = code.split("-")
    assert f'"{number}"'.encode() in heard, "the number is for everybody"
    assert spoken((one, other), heard) == []
    assert all_said((ROOM, *NICKS, *TEXTS, TOPIC, PASSWORD, f"#{ROOM}"), heard) == []
    assert len(set(keys)) == 2
    assert not [key for key in keys if shown(key, heard)]
