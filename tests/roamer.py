"""A guest that goes on at another hub of the cluster when its own is gone: it resumes, and says again what is open."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from sandpiper.crypto.identity import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
WAIT = 20.0
Line = dict[str, Any]


class Roamer:
    """Written from the protocol's page. `lines` has what it got in its room, as a program would show it."""

    def __init__(self, nick: str, ports: Sequence[int], room: str, start: int = 0, *, keyed: bool = True) -> None:
        self.nick = nick
        self.room = room
        self.ports = list(ports)
        self.at = start
        self.key = Identity(nick.encode().ljust(32, b"\0")) if keyed else None
        self.lines: list[Line] = []
        self.got: list[Line] = []
        self.acked: dict[str, int] = {}
        self.open: dict[str, Line] = {}
        self.joined: Line = {}
        self.moves = 0
        self.replaced = False
        """Its key came in anew elsewhere; it does not fight."""
        self.failure = ""
        """What should not have come."""
        self.last = 0
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._said = 0
        self._resuming = False
        self._own = secrets.token_hex(8)

    async def __aenter__(self) -> Roamer:
        self._task = asyncio.create_task(self._live(), name=f"roamer {self.nick}")
        await self.until(lambda: bool(self.joined), "joined")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))
        if self._writer is not None:
            self._writer.close()

    async def until(self, holds: Callable[[], object], what: str, seconds: float = WAIT) -> None:
        """Until it holds; asked again whenever something comes."""
        assert self._task is not None
        try:
            async with asyncio.timeout(seconds), self._changed:
                while not holds() and not self.failure:
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{self.nick}: {what} did not come; last {self.got[-5:]}") from None
        if self.failure:
            raise AssertionError(self.failure)

    async def _live(self) -> None:
        while not self.replaced:
            port = self.ports[self.at % len(self.ports)]
            try:
                reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 24)
            except OSError:
                self.at += 1
                await asyncio.sleep(0.05)
                continue
            self._writer = writer
            with contextlib.suppress(ConnectionError):
                await self._talk(reader)
            writer.close()
            self._writer = None
            self.moves += 1
            self.at += 1

    async def _talk(self, reader: asyncio.StreamReader) -> None:
        self.send({"type": "hello", "v": 1})
        hub_id = b""
        async for raw in reader:
            line: Line = json.loads(raw)
            if line["type"] == "hello":
                hub_id = base64.b64decode(line.get("id", "")) or bytes(32)
                if self.key is not None:
                    self.send({"type": "auth", "key": base64.b64encode(self.key.key).decode()})
                else:
                    self._enter()
            elif line["type"] == "challenge":
                assert self.key is not None
                signed = self.key.sign(b"sandpiper hub auth 1\0" + hub_id + base64.b64decode(line["nonce"]))
                shown, proof = base64.b64encode(self.key.key).decode(), base64.b64encode(signed).decode()
                self.send({"type": "auth", "key": shown, "signature": proof})
            elif line["type"] == "auth":
                self._enter()
            async with self._changed:
                try:
                    self._take(line)
                except AssertionError as exc:
                    self.failure = str(exc)
                self._changed.notify_all()

    def _enter(self) -> None:
        self.send({"type": "nick", "nick": self.nick})
        if self.joined:
            self._resuming = True
            self.send({"type": "join", "room": self.room, "epoch": self.joined["epoch"], "since": self.last})
        else:
            self.send({"type": "join", "room": self.room})

    def _take(self, line: Line) -> None:
        self.got.append(line)
        self.replaced = self.replaced or line.get("code") == "replaced"
        if line["type"] == "error" and line.get("code") == "nick_taken":
            self.send({"type": "nick", "nick": self.nick})  # until the hub that had it counts as gone
        if line["type"] == "error" and line.get("code") == "busy" and "client_id" in line:
            self.send(self.open[line["client_id"]])
        if line["type"] == "joined" and line["room"] == self.room:
            if self._resuming:
                self._resuming = False
                assert line["resumed"], line
                assert line["first"] == self.last + 1, f"more was missed than a hub tells by itself: {line}"
            self.joined = line
            self.send(*self.open.values())
        elif line.get("room") == self.room and line.get("seq"):
            if line["type"] != "ack":
                assert line["seq"] > self.last, f"{self.nick} got {line} after {self.last}"
                self.last = line["seq"]
                self.lines.append(line)
            if line.get("client_id") in self.open:
                del self.open[line["client_id"]]
                self.acked[line["client_id"]] = line["seq"]

    def send(self, *lines: Line) -> None:
        if self._writer is not None:
            self._writer.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def say(self, text: str) -> str:
        """Say it, again and again if need be, until it is confirmed."""
        self._said += 1
        client_id = f"{self._own}-{self._said}"
        line = {"type": "msg", "room": self.room, "text": text, "client_id": client_id}
        self.open[client_id] = line
        if self.joined:
            self.send(line)
        return client_id

    async def ask(self, line: Line, kind: str) -> Line:
        """Send a line; the next one of this kind, or an error."""
        before = len(self.got)
        self.send(line)
        found: list[Line] = []

        def answered() -> bool:
            found[:] = [one for one in self.got[before:] if one["type"] in (kind, "error")]
            return bool(found)

        await self.until(answered, kind)
        return found[0]

    async def gets(self, kind: str, **fields: object) -> Line:
        """A line of this kind with these fields, that has come or will come."""
        found: list[Line] = []

        def there() -> bool:
            found[:] = [
                one for one in self.got
                if one["type"] == kind and all(one.get(name) == value for name, value in fields.items())
            ]  # fmt: skip
            return bool(found)

        await self.until(there, f"{kind} {fields}")
        return found[-1]

    async def history(self) -> list[Line]:
        """All that the hub has of the room, the oldest first."""
        lines: list[Line] = []
        before = 0
        while True:
            page = await self.ask({"type": "history", "room": self.room, "before": before, "limit": 200}, "history")
            assert page["type"] == "history", page
            lines[:0] = page["messages"]
            if not page.get("more"):
                return lines
            if not page["messages"]:
                return lines
            before = page["messages"][0]["seq"]


def has(guest: Roamer, count: int) -> bool:
    """Whether it has got so many numbered lines."""
    return len(guest.lines) >= count
