"""Memory of an idle peer with 30 links, as the system counts it, against a bare Python process with asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from pathlib import Path

from bench.peers import ROOM, child, linked, node, until_stdin_closes
from bench.report import Result

LINKS = 30
BARE = "import asyncio, sys; print('up', flush=True); sys.stdin.read()"


def resident(pid: int) -> float:
    """MB that belong to this process alone (its resident set)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if rollup.exists():
        for line in rollup.read_text().splitlines():
            if line.startswith("Rss:"):
                return int(line.split()[1]) / 1024
    return int(subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])) / 1024


async def idle() -> None:
    async with node(42400, "idle") as peer:
        peer.join(ROOM)
        print(peer.port, flush=True)
        await until_stdin_closes()


async def link_all(port: int, pid: int) -> float:
    async with contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(node(42700 + 10 * n, f"peer{n}")) for n in range(LINKS)]
        for peer in peers:
            peer.join(ROOM)
            peer.connect("127.0.0.1", port)
        for peer in peers:
            await linked(peer)
        await asyncio.sleep(2)
        return resident(pid)


def run() -> list[Result]:
    """One idle peer in its own process, thirty others here."""
    with child("bench.memory", "idle") as (process, port):
        busy = asyncio.run(link_all(int(port), process.pid))
    with subprocess.Popen([sys.executable, "-c", BARE], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as bare:
        assert bare.stdin is not None
        assert bare.stdout is not None
        bare.stdout.readline()
        empty = resident(bare.pid)
        bare.stdin.close()
    return [
        Result("memory", f"idle peer with {LINKS} links", "MB", busy, "Python with asyncio imported", empty,
               busy / empty, "≤ 80 MB", busy <= 80),
    ]  # fmt: skip


if __name__ == "__main__":
    asyncio.run(idle())
