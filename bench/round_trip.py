"""A message there and one back, between two processes, against a bare asyncio TCP echo of as many bytes.

Ours is the whole way: sign, commit to disk, seal, send; open, check the signature, place, show; and the answer back.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from bench.peers import ROOM, child, linked, node, until_stdin_closes
from bench.report import Result, percentile
from sandpiper.core.events import Accepted
from sandpiper.crypto.identity import Identity, verify
from sandpiper.wire.records import Text

ROUNDS = 300
WARM_UP = 50
SIZE = 300  # bytes of the bare echo: about what one record weighs on the wire


async def pause(number: int) -> None:
    """Stay under the rate that one peer may push (20 a second, 100 at once), or sync takes over; both wait alike."""
    if number % 10 == 9:
        await asyncio.sleep(0.5)


async def bare_server() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65536):
            writer.write(chunk)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await until_stdin_closes()
    server.close()


async def bare(port: int) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times = []
    for number in range(ROUNDS + WARM_UP):
        await pause(number)
        start = time.perf_counter()
        writer.write(b"x" * SIZE)
        await reader.readexactly(SIZE)
        times.append(time.perf_counter() - start)
    writer.close()
    return times[WARM_UP:]


async def our_server() -> None:
    async with node(41200) as peer:
        room = peer.join(ROOM)

        def answer(notice: object) -> None:
            if isinstance(notice, Accepted) and not notice.mine and isinstance(notice.record.body, Text):
                peer.post(room, Text(notice.record.body.text))

        peer.subscribe(answer)
        print(peer.port, flush=True)
        await until_stdin_closes()


async def ours(port: int) -> list[float]:
    """Times of messages and their answers."""
    async with node(41500) as peer:
        room = peer.join(ROOM)
        back: asyncio.Queue[None] = asyncio.Queue()

        def heard(notice: object) -> None:
            if isinstance(notice, Accepted) and not notice.mine and isinstance(notice.record.body, Text):
                back.put_nowait(None)

        peer.subscribe(heard)
        peer.connect("127.0.0.1", port)
        await linked(peer, room)
        times = []
        for number in range(ROUNDS + WARM_UP):
            await pause(number)
            start = time.perf_counter()
            peer.post(room, Text(f"{number:0100}"))
            await asyncio.wait_for(back.get(), 10)
            times.append(time.perf_counter() - start)
        return times[WARM_UP:]


def floor() -> float:
    """Seconds for what no implementation with these promises can leave out: two signatures made, two checked, two
    commits that survive `kill -9`. No sockets, no second process."""
    identity, message = Identity(os.urandom(32)), os.urandom(200)
    with tempfile.TemporaryDirectory() as folder, closing(sqlite3.connect(Path(folder) / "floor.db")) as database:
        for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "wal_autocheckpoint = 0"):
            database.execute(f"PRAGMA {pragma}")
        database.execute("CREATE TABLE records (n INTEGER PRIMARY KEY, raw BLOB)")
        times = []
        for _ in range(300):
            start = time.perf_counter()
            for _ in range(2):
                signature = identity.sign(message)
                with database:
                    database.execute("INSERT INTO records (raw) VALUES (?)", (signature + message,))
                verify(identity.key, signature, message)
            times.append(time.perf_counter() - start)
    return percentile(times, 0.5)


def run() -> list[Result]:
    """Run both, the bare echo before and after."""
    with child("bench.round_trip", "bare") as (_, port):
        echo = asyncio.run(bare(int(port)))
        with child("bench.round_trip", "ours") as (_, our_port):
            times = asyncio.run(ours(int(our_port)))
        echo += asyncio.run(bare(int(port)))
    least = floor() * 1e3
    p50, p99 = percentile(times, 0.5) * 1e3, percentile(times, 0.99) * 1e3
    bare50, bare99 = percentile(echo, 0.5) * 1e3, percentile(echo, 0.99) * 1e3
    name = "bare asyncio TCP echo"
    note = f"two signatures made, two checked and two commits cost {least:.3g} ms by themselves in the same run"
    return [
        Result("round_trip", "message there and back, p50", "ms", p50, name, bare50, p50 / bare50, "at most 3 times",
               p50 <= 3 * bare50, note),
        Result("round_trip", "message there and back, p99", "ms", p99, name, bare99, p99 / bare99, "-", None),
    ]  # fmt: skip


if __name__ == "__main__":
    asyncio.run(bare_server() if sys.argv[1] == "bare" else our_server())
