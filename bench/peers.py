"""Parts that several benchmarks share: a prepared history, and a node that runs until its stdin closes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.core.engine import Engine
from sandpiper.core.events import Append, JoinOpen, Post, SaveRoom
from sandpiper.crypto.identity import Identity
from sandpiper.node import Node, NodeSettings, moment
from sandpiper.store.history import History
from sandpiper.wire.records import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sandpiper.wire.ids import RoomId

ROOM = "general"
LOOPBACK = ("lo0" if sys.platform == "darwin" else "lo",)


def settings(first_port: int, **more: object) -> NodeSettings:
    """A node on 127.0.0.1 that nobody finds by itself."""
    return NodeSettings(ports=range(first_port, first_port + 200), hosts=("127.0.0.1",), multicast=False, **more)  # type: ignore[arg-type]


def prepared(folder: Path, count: int) -> tuple[Identity, Path]:
    """An identity and its history file with `count` messages of its own in one room."""
    identity, path = Identity(os.urandom(32)), folder / "history.db"
    history = History(path)
    engine = Engine(identity, "bench", random.Random(), moment())

    def keep(effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, SaveRoom):
                history.save_room(effect)
            elif isinstance(effect, Append):
                history.append(effect)

    keep(list(engine.handle(JoinOpen(ROOM), moment())))
    room = engine.rooms()[0].id
    for number in range(count):
        keep(list(engine.handle(Post(room, Text(f"message {number}, as long as a usual line of chat is")), moment())))
        if number % 1000 == 999:
            history.commit()
    history.close()
    return identity, path


@contextlib.asynccontextmanager
async def node(first_port: int, nick: str = "bench") -> AsyncIterator[Node]:
    """A fresh node in this process."""
    with tempfile.TemporaryDirectory() as folder:
        async with Node(Identity(os.urandom(32)), nick, Path(folder) / "history.db", settings(first_port)) as running:
            yield running


async def linked(peer: Node, room: RoomId | None = None) -> None:
    """Wait until a node has a link (to a member of `room`, when one is given)."""
    changed = asyncio.Event()
    end = peer.subscribe(lambda _: changed.set())
    while not (peer.linked() if room is None else peer.members(room)):
        changed.clear()
        await asyncio.wait_for(changed.wait(), 30)
    end()


async def until_stdin_closes() -> None:
    """Wait until whoever started us closes our stdin."""
    await asyncio.to_thread(sys.stdin.read)


@contextlib.contextmanager
def child(module: str, *args: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m module args` until the block ends; gives the process and its first line of output."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
