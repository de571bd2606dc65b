"""Nesting is measured without recursion, for whatever MessagePack holds."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.wire.nesting import HARMLESS_BYTES, MAX_NESTING, nests_too_deep

PADDING = b"x" * (HARMLESS_BYTES + 1)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth(item) for pair in value.items() for item in pair), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary()


@given(
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=40), inner, max_size=4)
    )
)
def test_it_agrees_with_a_recursive_count(value: object) -> None:
    raw = msgspec.msgpack.encode([PADDING, value])
    assert nests_too_deep(raw) == (1 + depth(value) > MAX_NESTING)


@pytest.mark.parametrize("extra", [0, 1, 2, 1000, 100_000])
@pytest.mark.parametrize(
    "opening", [b"\x91", b"\xdc\x00\x01", b"\xdd\x00\x00\x00\x01", b"\x81\xc0", b"\xde\x00\x01\xa1k"]
)
def test_the_bound_holds_for_every_kind_of_container(opening: bytes, extra: int) -> None:
    inside = opening * (MAX_NESTING - 1 + extra) + b"\xc4\x02ab"
    assert nests_too_deep(b"\x92\xc5\x02\x00" + bytes(512) + inside) == (extra > 0)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_ext_types_and_long_strings_are_passed_over_whole(size: int) -> None:
    codes = {1: (0xC7, 0xD9), 2: (0xC8, 0xDA), 4: (0xC9, 0xDB)}
    ext, text = codes[size]
    length = (200).to_bytes(size, "big")
    nest = b"\x91" * 200
    assert not nests_too_deep(b"\x92" + bytes((text,)) + length + nest + bytes((ext,)) + length + b"\x05" + nest)


@given(st.binary(min_size=HARMLESS_BYTES, max_size=2000))
def test_any_bytes_are_answered(raw: bytes) -> None:
    assert nests_too_deep(raw) in (True, False)
