"""What every pipe and every link must do, as tests: whoever makes a new kind of pipe runs them over it.

    class TestCarrierPigeon(PipeConformance):
        @asynccontextmanager
        async def pipes(self):
            async with pigeons() as (one, other):
                yield one, other

    class TestLinkByCarrierPigeon(LinkConformance):
        pipes = TestCarrierPigeon.pipes

pytest (with pytest-asyncio) finds the tests by their names; any other runner can call them one by one.
`LinkConformance` runs the native link's handshake over the pipes and tests what comes out of it.
"""

from __future__ import annotations

from sandpiper.testing.conformance.links import LinkConformance, Linked, Tap
from sandpiper.testing.conformance.pipes import PipeConformance
from sandpiper.testing.conformance.tools import (
    DEADLINE,
    interrupted,
    noise,
    read_exactly,
    read_to_end,
    refused,
    turns,
    until,
)

__all__ = [
    "DEADLINE",
    "LinkConformance",
    "Linked",
    "PipeConformance",
    "Tap",
    "interrupted",
    "noise",
    "read_exactly",
    "read_to_end",
    "refused",
    "turns",
    "until",
]
