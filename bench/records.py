"""Records a second received, verified and stored by a late joiner over loopback TCP.

There is no rival program that does the same; beside it stands what the signature checks alone cost on this machine,
one core, which is the floor that no implementation with the same signatures gets below per core.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench.peers import ROOM, child, node, prepared, settings, until_stdin_closes
from bench.report import Result, spread
from sandpiper.core.events import Accepted, CatchUp
from sandpiper.crypto.identity import Identity, verify
from sandpiper.node import Node

COUNT = 20_000
RUNS = 3


async def serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        identity, path = prepared(Path(folder), COUNT)
        async with Node(identity, "bench", path, settings(41800)) as peer:
            print(peer.port, flush=True)
            await until_stdin_closes()


async def receive(port: int) -> float:
    """Records a second, from the first request to the last commit."""
    async with node(42100) as peer:
        done = asyncio.Event()
        start, count = 0.0, 0

        def heard(notice: object) -> None:
            nonlocal start, count
            if isinstance(notice, CatchUp) and notice.missing:
                start = time.perf_counter()
            elif isinstance(notice, Accepted):
                count += 1
            elif isinstance(notice, CatchUp):
                done.set()

        peer.subscribe(heard)
        peer.join(ROOM)
        peer.connect("127.0.0.1", port)
        await asyncio.wait_for(done.wait(), 120)
        elapsed = time.perf_counter() - start
        assert count == COUNT + 1, count  # and the record that carries the nick
        return count / elapsed


def verify_alone() -> float:
    identity = Identity(os.urandom(32))
    message = os.urandom(200)
    signature = identity.sign(message)
    start = time.perf_counter()
    for _ in range(5000):
        verify(identity.key, signature, message)
    return 5000 / (time.perf_counter() - start)


def run() -> list[Result]:
    """Several joiners, one after another, from the same member."""
    with child("bench.records", "serve") as (_, port):
        rates = [asyncio.run(receive(int(port))) for _ in range(RUNS)]
    floor = verify_alone()
    rate = statistics.median(rates)
    note = f"lowest / median / highest: {spread(rates)}; over two processes on the machine's cores"
    return [
        Result("records", "received, verified, stored", "records/s", rate, "checking signatures alone, one core",
               floor, rate / floor, "≥ 10,000 records/s", rate >= 10_000, note),
    ]  # fmt: skip


if __name__ == "__main__":
    assert sys.argv[1] == "serve"
    asyncio.run(serve())
