"""The rendezvous' golden vectors: what they say is what the code does, and what the page says."""

from __future__ import annotations

import json
import re

from sandpiper.wire.rendezvous import AnyAsk, AnyWord, decode_ask, decode_word
from tests.unit.rendezvous_vectors import asks, meeting, words
from tests.unit.vectors import FOLDER

PAGE = (FOLDER.parent / "rendezvous.md").read_text(encoding="utf-8")


def published(name: str) -> list[object]:
    loaded = json.loads((FOLDER / "rendezvous.json").read_text(encoding="utf-8"))[name]
    assert isinstance(loaded, list)
    return loaded


def test_published_lines_are_understood_by_both_sides() -> None:
    assert [decode_ask(str(line).encode()) for line in published("asks")] == asks()
    assert [decode_word(str(line).encode()) for line in published("words")] == words()


def test_every_line_has_a_vector_and_stands_on_the_page() -> None:
    for union, made in ((AnyAsk, asks()), (AnyWord, words())):
        kinds = set(union.__args__)
        assert {type(one) for one in made} == kinds
        for kind in kinds:
            assert f"`{kind.__struct_config__.tag}" in PAGE


def test_the_published_meeting_is_how_the_desk_answers() -> None:
    assert published("meeting") == meeting()
    told = [word for step in meeting() for _, word in step["told"]]  # type: ignore[attr-defined]
    assert any("coordinate_connection" in word for word in told)
    assert any('"code":"no_peer"' in word for word in told)
    assert told[-1] == "", "a bridge is handed over without a word"


def test_the_bounds_on_the_page_are_those_of_the_code() -> None:
    from sandpiper.hub.rendezvous import limits
    from sandpiper.wire import rendezvous

    defaults = limits.RendezvousSettings()
    for words_, value in (
        ("signal", f"{rendezvous.MAX_SIGNAL_BYTES // 1024} KiB"),
        ("peers of a room", f"{rendezvous.MAX_PEERS + 1}"),
        ("rooms of a connection", f"{limits.MAX_ROOMS_A_GUEST}"),
        ("lines of a connection", f"{limits.LINES_RATE:.0f} a second, {limits.LINES_BURST:.0f} at once"),
        ("rooms made, entered or looked up", f"{defaults.joins_a_minute} a minute"),
        ("registrations of an address", f"{defaults.registrations_an_address}"),
        ("codes of an address", f"{defaults.codes_an_address}"),
        ("halves of bridges of an address", f"{defaults.bridges_an_address}"),
        ("half a bridge", f"{limits.WAITING_SECONDS:.0f} s"),
        ("a quiet bridge", f"{limits.BRIDGE_IDLE_SECONDS:.0f} s"),
        ("in no room", f"{limits.IDLE_SECONDS:.0f} s"),
        ("a code without anybody", f"{limits.EMPTY_SECONDS / 60:.0f} min"),
    ):
        row = re.search(rf"^\| {words_}[^|]*\| ([^|]*) \|", PAGE, re.MULTILINE)
        assert row is not None, words_
        assert value in row[1], (words_, row[1], value)
