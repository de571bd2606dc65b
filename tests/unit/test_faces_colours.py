"""A colour for each key."""

from hypothesis import given
from hypothesis import strategies as st

from sandpiper.faces.colours import PALETTE, Colours
from sandpiper.wire.ids import PeerKey, RoomId

KEYS = st.binary(min_size=32, max_size=32).map(PeerKey)
ROOM, OTHER = RoomId(b"r" * 32), RoomId(b"o" * 32)


@given(st.lists(KEYS, unique=True, max_size=len(PALETTE)))
def test_no_two_in_one_room_are_alike_while_colours_last(keys: list[PeerKey]):
    colours = Colours()
    assert len({colours.of(key, ROOM) for key in keys}) == len(keys)


@given(st.lists(KEYS, unique=True, min_size=len(PALETTE) + 1, max_size=40))
def test_with_more_people_than_colours_everybody_still_has_one(keys: list[PeerKey]):
    colours = Colours()
    assert {colours.of(key, ROOM) for key in keys} == set(PALETTE)


@given(KEYS, st.lists(KEYS))
def test_a_colour_stays(key: PeerKey, others: list[PeerKey]):
    colours = Colours()
    first = colours.of(key, ROOM)
    for other in others:
        colours.of(other, ROOM)
    assert colours.of(key, ROOM) == first


@given(KEYS)
def test_who_is_alone_has_the_same_colour_everywhere_and_always(key: PeerKey):
    assert Colours().of(key, ROOM) == Colours().of(key, OTHER) == Colours().of(key)
