"""People in one process: real nodes on loopback with real histories, and a terminal that only writes down."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sandpiper.config import Paths
from sandpiper.faces.line import LineFace
from sandpiper.faces.settings import LineSettings
from sandpiper.faces.terminal import Ended, Input, PromptState, Typed
from sandpiper.node import Node, NodeSettings
from sandpiper.store.profile import open_profile


class Paper:
    """A `Terminal` that keeps what is written."""

    coloured = False

    def __init__(self, *, interactive: bool = False) -> None:
        self.interactive = interactive
        self.out = ""
        self.aside = ""
        self.cleared = 0
        self.state = PromptState()
        self.changed = asyncio.Event()
        self._inputs: asyncio.Queue[Input] = asyncio.Queue()

    def width(self) -> int | None:
        return None

    def start(self) -> None:
        pass

    def write(self, text: str, *, aside: bool = False) -> None:
        if aside:
            self.aside += text
        else:
            self.out += text
        self.changed.set()

    async def read(self) -> Input:
        return await self._inputs.get()

    def type(self, *texts: str) -> None:
        for text in texts:
            self._inputs.put_nowait(Typed(text))

    def end(self, ended: Ended) -> None:
        self._inputs.put_nowait(ended)

    def prompt(self, state: PromptState) -> None:
        self.state = state
        self.changed.set()

    def clear(self) -> None:
        self.cleared += 1
        self.changed.set()

    def give_back(self) -> None:
        pass

    async def close(self) -> None:
        pass


def _shows(text: str, person: "Person") -> bool:
    return text in person.paper.out + person.paper.aside


class Person:
    """A node with line mode on top, and its paper."""

    def __init__(self, node: Node, face: LineFace, paper: Paper) -> None:
        self.node = node
        self.face = face
        self.paper = paper
        self.living: asyncio.Task[str]

    def type(self, *texts: str) -> None:
        self.paper.type(*texts)

    async def until(self, predicate: Callable[["Person"], object], what: str = "") -> None:
        """Until `predicate(self)` holds; it is asked again whenever something is written."""
        try:
            async with asyncio.timeout(20):
                while not predicate(self):
                    self.paper.changed.clear()
                    await self.paper.changed.wait()
        except TimeoutError:
            raise AssertionError(f"{what or 'it'} did not come\n{self.paper.out}\naside:\n{self.paper.aside}") from None

    async def sees(self, *texts: str) -> None:
        """Until all of these are written, as data or aside."""
        for text in texts:
            await self.until(partial(_shows, text), text)

    @property
    def lines(self) -> list[str]:
        """Data, without the times in front."""
        return [line[6:] if line[2:3] == ":" else line for line in self.paper.out.splitlines()]

    def events(self, kind: str = "") -> list[dict[str, Any]]:
        """What JSON mode wrote."""
        read = [json.loads(line) for line in self.paper.out.splitlines()]
        return [event for event in read if not kind or event["event"] == kind]


@asynccontextmanager
async def person(
    nick: str, home: Path, *peers: Person, interactive: bool = False, linked: bool = True, **settings: Any
) -> AsyncIterator[Person]:
    """Somebody in #general, linked to `peers` once inside."""
    paths = Paths(home / nick, home / nick, home / nick / "log", portable=True)
    network = NodeSettings(
        ports=range(1),
        hosts=("127.0.0.1",),
        multicast=False,
        peers=tuple(("127.0.0.1", peer.node.port) for peer in peers),
    )
    with open_profile(paths, nick, nick=nick, keyring=False) as profile:
        node = Node(profile.identity, profile.nick, profile.history, network)
        paper = Paper(interactive=interactive)
        face = LineFace(node, profile, LineSettings(**settings), paper)
        node.subscribe(face.notice)
        node.subscribe(lambda _: paper.changed.set())
        async with node:
            one = Person(node, face, paper)
            face.started(node.join("general"))
            one.living = asyncio.create_task(face.live())
            try:
                if linked:
                    for both in (one, *peers):
                        await both.until(lambda me: len(me.node.linked()) >= (len(peers) if me is one else 1))
                yield one
            finally:
                face.stop("quit")
                await one.living
