"""A program of the founding protocol, written from its page alone: a socket, lines of JSON, nothing of our code."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.served import HOST, WAIT

# The fields of the founding protocol, in its order, and what they are. More may follow.
SHAPES: dict[str, dict[str, type]] = {
    "nick": {"type": str, "text": str, "ts": int},
    "notice": {"type": str, "text": str, "ts": int},
    "msg": {"type": str, "nick": str, "text": str, "ts": int},
    "error": {"type": str, "text": str},
}

Line = dict[str, Any]


def founding(raw: bytes | str) -> Line:
    """A line of the hub, after a look at its shape; only the founding fields of it."""
    line = json.loads(raw)
    shape = SHAPES[line["type"]]
    assert [name for name in line if name in shape] == list(shape), f"other fields, or another order: {line}"
    assert all(type(line[name]) is kind for name, kind in shape.items()), line
    return {name: line[name] for name in shape if name != "ts"}


class Founder:
    """A program of the founding protocol: connects, takes a nick, says lines, reads lines."""

    def __init__(self, port: int, nick: str = "") -> None:
        self.sock = socket.create_connection((HOST, port), timeout=WAIT)
        self.file = self.sock.makefile("rb")
        if nick:
            self.send({"type": "nick", "nick": nick})
            assert self.read() == {"type": "nick", "text": f"nick set to {nick}"}
            self.settle()

    def send(self, *lines: Line) -> None:
        self.sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def msg(self, text: str) -> None:
        self.send({"type": "msg", "text": text})

    def read(self) -> Line:
        raw = self.file.readline()
        assert raw.endswith(b"\n"), "the hub has closed"
        return founding(raw)

    def hears(self, nick: str, text: str) -> None:
        assert self.read() == {"type": "msg", "nick": nick, "text": text}

    def notices(self, text: str) -> None:
        assert self.read() == {"type": "notice", "text": text}

    def settle(self) -> None:
        """Say something and hear it: comings so far are told now, not to whoever connects next."""
        self.msg("settled")
        while self.read()["type"] != "msg":
            pass

    def close(self) -> None:
        self.file.close()
        self.sock.close()
