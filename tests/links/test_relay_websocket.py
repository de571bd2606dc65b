"""The hub's port as a WebSocket, by an independent program's client: one stream of bytes, however it is cut."""

from __future__ import annotations

import json
import os
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.relayed import Relayed, token
from tests.served import HOST, trusting

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    home = tmp_path_factory.mktemp("hub")
    with Relayed(home, "--tls", "self-signed", roles="chat,rendezvous,relay") as served:
        yield served
        served.unharmed()


def dial(hub: Relayed, scheme: str = "ws") -> ClientConnection:
    context = trusting() if scheme == "wss" else None
    if context is not None:
        # This client reads in a thread while another one writes, which Python's TLS does not take when something of
        # TLS itself comes in: the tickets of 1.3. What is written then may never be sent.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    return connect(f"{scheme}://{HOST}:{hub.port}/sandpiper", ssl=context, compression=None, proxy=None)


def hear(one: ClientConnection) -> dict[str, Any]:
    word: dict[str, Any] = json.loads(one.recv(timeout=10))
    return word


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_bridge_joins_a_websocket_and_a_websocket(hub: Relayed, scheme: str) -> None:
    given, sent = token(), os.urandom(2 << 20)
    with dial(hub, scheme) as near, dial(hub, scheme) as far:
        for one in (near, far):
            one.send(json.dumps({"type": "bridge", "token": given}).encode() + b"\n")
        assert hear(near) == hear(far) == {"type": "bridged"}

        def send() -> None:
            for at in range(0, len(sent), 100_000):
                near.send(sent[at : at + 100_000])

        sender = threading.Thread(target=send)
        sender.start()
        got = b""
        while len(got) < len(sent):
            part = far.recv(timeout=10)
            assert isinstance(part, bytes)
            got += part
        sender.join()
        assert got == sent


def test_a_bridge_joins_a_websocket_and_a_plain_connection(hub: Relayed) -> None:
    line = json.dumps({"type": "bridge", "token": token()}).encode() + b"\n"
    with dial(hub) as near, socket.create_connection((HOST, hub.port), 10) as far:
        near.send(line + b"early")
        far.sendall(line)
        got = b""
        while not got.endswith(b"early"):
            got += far.recv(100)
        assert got == b'{"type":"bridged"}\nearly'
        assert hear(near) == {"type": "bridged"}
        far.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed):
            near.recv(timeout=10)


def test_lines_may_be_cut_anywhere(hub: Relayed) -> None:
    with dial(hub) as one:
        one.send([b'{"type":', b'"observe"', b"}\n"])  # one message in three frames
        assert hear(one)["type"] == "observed"
        for byte in b'{"type":"create_room"}\n':
            one.send(bytes([byte]))
        assert hear(one)["type"] == "room_created"
        assert one.ping().wait(10)


def test_the_chat_is_there_as_well(hub: Relayed) -> None:
    with dial(hub) as alice, dial(hub) as bob:
        for one, nick in ((alice, "alice"), (bob, "bob")):
            one.send(json.dumps({"type": "nick", "nick": nick}).encode() + b"\n")
        assert "alice" in hear(alice)["text"]
        bob.send(b'{"type":"msg","text":"over frames"}\n')
        got = b""
        while b"over frames" not in got:
            part = alice.recv(timeout=10)
            assert isinstance(part, bytes)
            got += part


@pytest.mark.parametrize("hostile", ["text", "huge", "garbage", "half"])
def test_frames_that_are_none_end_that_connection_only(hub: Relayed, hostile: str) -> None:
    with dial(hub) as one:
        if hostile == "text":
            one.send('{"type":"observe"}\n')
        elif hostile == "huge":
            one.send(bytes(300 * 1024))
        elif hostile == "garbage":
            one.socket.sendall(b"\xff" * 100)
        else:
            one.socket.sendall(b"\x82\xfe\xff")
            one.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionClosed):
            list(iter(lambda: one.recv(timeout=10), None))
    assert hub.get("/healthz")[0] == 200


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_neither_tls_nor_another_websocket_is_inside_of_one(hub: Relayed, scheme: str) -> None:
    with dial(hub, scheme) as one:
        one.send(b"\x16\x03\x01\x00\x05hello")
        assert one.recv(timeout=10) == bytes((0x15, 3, 1, 0, 2, 2, 40))
    with dial(hub, scheme) as one:
        one.send(
            b"GET /sandpiper HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        answer = one.recv(timeout=10)
        assert isinstance(answer, bytes)
        assert answer.startswith(b"HTTP/1.1 404")
    with dial(hub, scheme) as one:
        one.send(b'{"type":"observe"}\n')
        assert hear(one)["type"] == "observed", "the hub is there"


def test_web_pages_do_not_speak_through_the_browsers_of_their_visitors(hub: Relayed) -> None:
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{HOST}:{hub.port}/sandpiper", origin=Origin("https://evil.example"), proxy=None)
    with socket.create_connection((HOST, hub.port), 10) as one:
        one.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 27\r\n\r\n"
            b'{"type":"msg","text":"hi"}\n'
        )
        heard = b""
        while piece := one.recv(1000):
            heard += piece
        assert heard.startswith(b"HTTP/1.1 405")
        assert b'"type"' not in heard


def test_only_its_path_is_a_websocket_and_only_when_asked(hub: Relayed) -> None:
    with pytest.raises(InvalidStatus):
        connect(f"ws://{HOST}:{hub.port}/healthz", proxy=None)
    assert hub.get("/sandpiper")[0] == 404
    with socket.create_connection((HOST, hub.port), 10) as one:
        one.sendall(b"GET /sandpiper HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
        assert one.recv(12) == b"HTTP/1.1 400"
