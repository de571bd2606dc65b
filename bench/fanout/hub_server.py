"""Our hub for the race: `python -m bench.fanout.hub_server PORT uvloop|asyncio`, until it is killed.

History in memory and every feature on; only the allowances (messages a second) are lifted, as for the rivals.
"""

from __future__ import annotations

import asyncio
import gc
import sys

from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import ChatSettings, Pace
from sandpiper.hub.serving import serve_chat

FREE = Pace(1e9, 1e9)  # no allowance ever runs out


async def serve(port: int) -> None:
    """Serve until killed."""
    settings = ChatSettings(connections_an_address=20_000, guest_pace=FREE, address_pace=FREE, room_pace=FREE)
    await serve_chat("127.0.0.1", port, settings, MemoryHistory())
    gc.freeze()
    await asyncio.Event().wait()


def main() -> None:
    """Run on the loop that was asked for."""
    if sys.argv[2] == "uvloop":
        import uvloop

        uvloop.run(serve(int(sys.argv[1])))
    else:
        asyncio.run(serve(int(sys.argv[1])))


if __name__ == "__main__":
    main()
