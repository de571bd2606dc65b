"""Encoding lines keeps nothing: a hub does it a million times a day."""

import sys

import pytest

from sandpiper.wire.hub.answers import Answer, Ponged
from sandpiper.wire.hub.asks import Ask, Ping
from sandpiper.wire.hub.lines import encode_answers, encode_asks

TIMES = 2000


@pytest.mark.parametrize("many", [1, 3])
@pytest.mark.parametrize("kind", [tuple, list])
def test_encoding_leaves_no_block_of_memory(kind: type, many: int):
    answers: list[Answer] = [Ponged(1)] * many
    asks: list[Ask] = [Ping(1)] * many
    before = sys.getallocatedblocks()
    for _ in range(TIMES):
        encode_answers(kind(answers))
        encode_asks(kind(asks))
    assert sys.getallocatedblocks() - before < TIMES / 10
