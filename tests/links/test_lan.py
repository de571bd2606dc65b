"""Multicast on the loopback interface: who hears whom, and interfaces that come, go and fail."""

import asyncio
import socket
import sys
from collections.abc import Callable

import pytest

from sandpiper.errors import UsageError
from sandpiper.net import lan
from sandpiper.net.interfaces import Interface, list_interfaces
from sandpiper.net.lan import Multicast
from sandpiper.testing.conformance import turns, until

LO = "lo0" if sys.platform == "darwin" else "lo"
LOOPBACK = Interface(LO, socket.if_nametoindex(LO), "127.0.0.1", v6=False)
ELSEWHERE = Interface("eth7", 77, "192.0.2.7", v6=False)  # documentation addresses: no machine has them
ELSEWHERE6 = Interface("eth7", 77, "fe80::7", v6=True)


class Ear:
    """A `Multicast` and what it has heard."""

    def __init__(self, group: str, only: tuple[str, ...] = (LO,)) -> None:
        host, _, port = group.rpartition(":")
        self.multicast = Multicast(host, int(port), only)
        self.heard: list[tuple[bytes, str]] = []
        self.multicast.listen(lambda raw, host: self.heard.append((raw, host)))

    async def __aenter__(self) -> "Ear":
        await self.multicast.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.multicast.close()
        await turns()


def has(*present: Interface) -> Callable[..., tuple[Interface, ...]]:
    return lambda _only=(): present


async def test_two_programs_of_one_machine_hear_each_other_and_themselves(multicast):
    async with Ear(multicast) as one, Ear(multicast) as other:
        assert one.multicast.interfaces == (LOOPBACK,)
        assert one.multicast.cast(lambda address: f"from {address}".encode()) == 1
        await until(lambda: one.heard and other.heard, "the beacon")
        assert one.heard == other.heard == [(b"from 127.0.0.1", "127.0.0.1")]
        assert one.multicast.problems == {}


async def test_groups_on_other_ports_are_not_heard(multicast, multicast_groups):
    async with Ear(multicast) as one, Ear(next(multicast_groups)) as other:
        one.multicast.cast(lambda _address: b"here")
        other.multicast.cast(lambda _address: b"there")
        await until(lambda: one.heard and other.heard, "the beacons")
        assert [raw for raw, _ in one.heard] == [b"here"]
        assert [raw for raw, _ in other.heard] == [b"there"]


async def test_after_closing_nothing_is_heard_or_sent(multicast):
    async with Ear(multicast) as one, Ear(multicast) as other:
        one.multicast.close()
        assert one.multicast.cast(lambda _address: b"x") == 0
        other.multicast.cast(lambda _address: b"y")
        await until(lambda: other.heard, "the beacon")
        assert one.heard == []


async def test_nobody_listening_is_no_trouble(multicast):
    host, _, port = multicast.rpartition(":")
    alone = Multicast(host, int(port), (LO,))
    await alone.look()
    alone.cast(lambda _address: b"x")
    await asyncio.sleep(0)
    alone.close()
    await turns()


async def test_an_interface_that_comes_is_used_and_one_that_goes_is_left(multicast, monkeypatch):
    monkeypatch.setattr(lan, "list_interfaces", has())
    async with Ear(multicast) as ear:
        assert ear.multicast.interfaces == ()
        assert ear.multicast.cast(lambda _address: b"x") == 0
        monkeypatch.setattr(lan, "list_interfaces", has(LOOPBACK))
        assert await ear.multicast.look(), "one has come"
        assert not await ear.multicast.look(), "it has come before"
        ear.multicast.cast(lambda _address: b"hello")
        await until(lambda: ear.heard, "the beacon")
        monkeypatch.setattr(lan, "list_interfaces", has())
        assert not await ear.multicast.look()
        assert ear.multicast.interfaces == ()
        monkeypatch.setattr(lan, "list_interfaces", has(LOOPBACK))
        assert await ear.multicast.look(), "it has come back"
        ear.multicast.cast(lambda _address: b"again")
        await until(lambda: len(ear.heard) == 2, "the beacon")


async def test_an_interface_that_cannot_be_used_is_told_once_and_stops_no_other(multicast, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(lan, "list_interfaces", has(ELSEWHERE, LOOPBACK, ELSEWHERE6))
    async with Ear(multicast) as ear:
        for _ in range(3):
            await ear.multicast.look()
        assert ear.multicast.interfaces == (LOOPBACK,)
        assert set(ear.multicast.problems) == {ELSEWHERE.address, ELSEWHERE6.address}
        assert len([r for r in caplog.records if ELSEWHERE.address in r.message]) == 1
        assert ear.multicast.cast(lambda _address: b"x") == 1


async def test_an_interface_that_fails_while_sending_is_told_and_forgotten_when_it_works_again(multicast):
    async with Ear(multicast) as ear:
        working = ear.multicast._senders[LOOPBACK]
        broken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        broken.close()
        ear.multicast._senders[LOOPBACK] = broken
        assert ear.multicast.cast(lambda _address: b"x") == 0
        assert list(ear.multicast.problems) == ["127.0.0.1"]
        ear.multicast._senders[LOOPBACK] = working
        assert ear.multicast.cast(lambda _address: b"x") == 1
        assert ear.multicast.problems == {}


async def test_two_addresses_of_one_interface_are_no_trouble(multicast, monkeypatch):
    second = Interface(LO, LOOPBACK.index, "127.0.0.2", v6=False)
    monkeypatch.setattr(lan, "list_interfaces", has(LOOPBACK, second))
    async with Ear(multicast) as ear:
        if sys.platform == "linux":  # elsewhere the whole of 127/8 is not there
            assert ear.multicast.interfaces == (LOOPBACK, second)
        assert ear.multicast.cast(lambda address: address.encode())
        await until(lambda: ear.heard, "a beacon")


async def test_the_loopback_interface_is_left_out_for_ipv6(multicast, monkeypatch):
    monkeypatch.setattr(lan, "list_interfaces", has(Interface(LO, LOOPBACK.index, "::1", v6=True)))
    async with Ear(multicast) as ear:
        assert ear.multicast.interfaces == ()
        assert ear.multicast.problems == {}


async def test_a_port_that_cannot_be_shared_is_told(multicast):
    host, _, port = multicast.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as selfish:
        selfish.bind(("", int(port)))
        ear = Multicast(host, int(port), (LO,))
        assert not await ear.look()
        assert list(ear.problems) == ["127.0.0.1"]
        ear.close()
    assert await ear.look(), "and tried again"
    ear.close()
    await turns()


def test_interfaces_are_listed_and_chosen_by_name():
    (lo,) = [one for one in list_interfaces((LO,)) if not one.v6 and one.address == "127.0.0.1"]
    assert lo == LOOPBACK
    assert lo.loopback
    assert lo in list_interfaces()
    assert not ELSEWHERE.loopback


def test_an_interface_that_there_is_not_is_told_with_those_that_there_are():
    with pytest.raises(UsageError) as caught:
        list_interfaces((LO, "warp0"))
    assert caught.value.code == "no_interface"
    assert "warp0" in str(caught.value)
    assert LO in caught.value.hint


def test_interfaces_that_cannot_be_listed_are_told(monkeypatch):
    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("ifaddr.get_adapters", fail)
    with pytest.raises(UsageError) as caught:
        list_interfaces()
    assert "Too many open files" in str(caught.value)
