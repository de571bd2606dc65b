"""A program that keeps lines for ever and says which it may acknowledge, to be killed at any moment.

Arguments: file, 1 for durable. Writes the number it begins after, then lines of "acknowledged said".
"""

import asyncio
import os
import sys
import time
from pathlib import Path

from sandpiper.hub.history import Batch, KeptRoom
from sandpiper.hub.sqlite import SqliteHistory
from sandpiper.hub.sqlite_schema import HistorySettings
from sandpiper.wire.hub.answers import Said
from sandpiper.wire.hub.lines import encode_answers


def say(text: str) -> None:
    os.write(1, text.encode() + b"\n")


async def main(path: Path, durable: bool) -> None:
    history = SqliteHistory(path, HistorySettings(durable=durable))
    rooms = {room.name: room for room in history.load().rooms}
    room = rooms.get("dev", KeptRoom("dev", "e1"))
    history.remember(room)
    seq = acknowledged = room.seq
    waiting: list[tuple[int, int]] = []
    ts = int(time.time())  # lines of long ago would be removed

    def told() -> None:
        nonlocal acknowledged
        while waiting and waiting[0][0] <= history.written:
            acknowledged = waiting.pop(0)[1]
        say(f"{acknowledged} {seq}")

    history.watch(told)
    say(str(seq))
    while True:
        lines = [Said("alice", f"message {seq + n} {'x' * (n * 37 % 300)}", ts, "dev", seq + n) for n in range(1, 8)]
        history.append(Batch("dev", "e1", seq + 1, len(lines), ts, encode_answers(lines)))
        seq += len(lines)
        waiting.append((history.appended, seq))
        await asyncio.sleep(0.001 if not history.behind else 0.05)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2] == "1"))
