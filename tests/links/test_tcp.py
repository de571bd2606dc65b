"""Dialling and listening: what goes wrong is told in words, with the next step."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator

import pytest

from sandpiper.errors import DialFailed, LinkLost, UsageError
from sandpiper.net import tcp
from sandpiper.net.tcp import Listener, TcpPipe, dial, format_address, host_of, listen
from sandpiper.testing.conformance import refused, turns

HOST = "127.0.0.1"


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    pipes: list[TcpPipe] = []
    listener = await listen(pipes.append, range(1), (HOST,))
    yield listener
    listener.close()
    for pipe in pipes:
        pipe.abort()
    await turns()


def test_addresses_are_written_as_people_do():
    assert format_address("10.0.0.1", 80) == "10.0.0.1:80"
    assert format_address("fe80::1%eth0", 80) == "[fe80::1%eth0]:80"
    for host in ("10.0.0.1", "fe80::1%eth0", "::1", "?"):
        assert host_of(format_address(host, 80)) == host


async def test_where_nothing_listens_that_is_told(listener):
    listener.close()
    with refused(DialFailed, saying=f"{HOST}:{listener.port}: nothing listens there", code="dial_failed"):
        await dial(HOST, listener.port)


@pytest.mark.parametrize(
    ("host", "port"),
    [("a\0b", 80), ("x" * 300 + ".example", 80), ("a..b", 80), (HOST, 70_000), (HOST, -1), ("[::1", 80), (HOST, 0)],
    ids=["nul", "long", "dots", "port above", "port below", "bracket", "port zero"],
)
async def test_addresses_that_are_none_fail_like_any_other(host, port, monkeypatch):
    async def no_names(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    def look_up(name: str, *args: object, **options: object) -> object:
        return no_names() if name in ("[::1", "a..b") else real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    with refused(DialFailed):
        await dial(host, port)


async def test_a_name_that_nobody_knows_is_told_as_such(monkeypatch):
    async def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio, "open_connection", unknown)
    with pytest.raises(DialFailed, match="name printer could not be found") as caught:
        await dial("printer", 80)
    assert caught.value.hint


async def test_no_answer_is_told_after_a_while(monkeypatch):
    async def silence(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio, "open_connection", silence)
    monkeypatch.setattr(tcp, "DIAL_SECONDS", 0.05)
    with pytest.raises(DialFailed, match="No answer from") as caught:
        await dial(HOST, 9)
    assert "firewall" in caught.value.hint


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EADDRNOTAVAIL, 9999])
async def test_what_the_system_says_is_told_in_our_words(monkeypatch, number):
    async def fail(*_: object, **__: object) -> None:
        raise OSError(number, "system words")

    monkeypatch.setattr(asyncio, "open_connection", fail)
    with pytest.raises(DialFailed) as caught:
        await dial(HOST, 9)
    assert ("system words" in str(caught.value)) == (number == 9999)


async def test_a_cancelled_dial_leaves_nothing_open(listener):
    for count in range(6):
        dialling = asyncio.ensure_future(dial(HOST, listener.port))
        await turns(count)
        if dialling.done():
            (await dialling).abort()
            break
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
    await turns()


async def test_the_first_free_port_is_taken(listener):
    ports = range(listener.port, listener.port + 20)
    second = await listen(lambda pipe: pipe.abort(), ports, (HOST,))
    assert second.port in ports
    assert second.port != listener.port
    second.close()
    await turns()


async def test_a_port_in_use_is_told_with_what_to_do(listener):
    with pytest.raises(UsageError, match=f"Port {listener.port} is in use") as caught:
        await listen(lambda pipe: pipe.abort(), range(listener.port, listener.port + 1), (HOST,))
    assert caught.value.code == "port_in_use"
    assert "--port" in caught.value.hint


async def test_many_ports_in_use_are_told_as_a_range(monkeypatch):
    async def taken(*_: object, **__: object) -> None:
        raise OSError(errno.EADDRINUSE, "Address already in use")

    monkeypatch.setattr(asyncio, "start_server", taken)
    with pytest.raises(UsageError, match="Every port from 8080 to 8999 is in use"):
        await listen(lambda pipe: pipe.abort(), range(8080, 9000))


async def test_an_address_that_is_not_ours_is_told():
    with pytest.raises(UsageError, match="cannot be used"):
        await listen(lambda pipe: pipe.abort(), range(1), ("192.0.2.1",))


async def test_a_connection_that_is_reset_is_a_lost_link_that_says_so(listener):
    pipe = await dial(HOST, listener.port)
    error = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
    pipe._reader.set_exception(error)
    with refused(LinkLost, saying="reset the connection"):
        await pipe.read()
    pipe.abort()
