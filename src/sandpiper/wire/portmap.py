"""Datagrams that ask a router to pass a port on to us: PCP (RFC 6887) and NAT-PMP (RFC 6886). Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Literal, TypeAlias

from msgspec import Struct

from sandpiper.config.addresses import Address
from sandpiper.errors import RemoteProtocolError

PORT = 5351  # UDP, where a router listens for both
MAX_MESSAGE_BYTES = 1100  # RFC 6887, section 7
NONCE_BYTES = 12
MAX_SECONDS = 24 * 60 * 60  # a router may say 136 years; RFC 6887, section 15: a day is the sensible most

Way: TypeAlias = Literal["pcp", "natpmp"]

_PCP, _PMP = 2, 0  # versions, the first byte of both
_ANSWER = 0x80
_ANNOUNCE, _MAP = 0, 1  # PCP's operations
_OUTSIDE, _MAP_TCP = 0, 2  # those of NAT-PMP
_TCP = 6
_HEAD = struct.Struct("!BBHI16s")  # request: version, operation, reserved, lifetime, our address
_ANSWER_HEAD = struct.Struct("!BBBBII12s")  # version, operation, reserved, result, lifetime, epoch, reserved
_MAPPING = struct.Struct("!12sB3sHH16s")  # nonce, protocol, reserved, internal and external port, external address
_PMP_MAP = struct.Struct("!BBHHHI")
_PMP_HEAD = struct.Struct("!BBHI")

_PCP_RESULTS = {
    1: "it speaks another version",
    2: "it does not allow it",
    3: "it did not understand the question",
    4: "it passes no ports on",
    7: "it has no connection to the internet",
    8: "it has no room for it",
    9: "it does not do it for TCP",
    10: "this machine has too many mappings",
    11: "the port cannot be had",
    12: "another NAT is between this machine and it",
}
_PMP_RESULTS = {
    1: "it speaks another version",
    2: "it does not allow it",
    3: "it has no connection to the internet",
    4: "it has no room for it",
    5: "it passes no ports on",
}
UNKNOWN_VERSION = 1  # result of both


class BadAnswer(RemoteProtocolError):
    """What a router said makes no sense."""

    code = "bad_answer"


class Here(Struct, frozen=True):
    """A router speaks PCP. `epoch`: for how many seconds it has known its mappings."""

    epoch: int


class Outside(Struct, frozen=True):
    """A router speaks NAT-PMP, and `host` is its outside address."""

    host: str
    epoch: int


class Mapped(Struct, frozen=True):
    """A port of ours is passed on for `seconds` (0: no longer). `outside` has no host in NAT-PMP, which tells it in
    `Outside` alone; `nonce` is the question's, and empty in NAT-PMP.
    """

    way: Way
    internal: int
    outside: Address
    seconds: int
    epoch: int
    nonce: bytes = b""


class NotMapped(Struct, frozen=True):
    """A router refuses. `text` continues "because"; `nonce` as in `Mapped`, empty where the answer has none."""

    way: Way
    code: int
    text: str
    nonce: bytes = b""


Answer: TypeAlias = Here | Outside | Mapped | NotMapped


def announce_request(own: str) -> bytes:
    """PCP: are you there? It changes nothing. `own` is our address on the router's network."""
    return _HEAD.pack(_PCP, _ANNOUNCE, 0, 0, _packed(own))


def map_request(own: str, nonce: bytes, internal: int, outside: Address | None, seconds: int) -> bytes:
    """PCP: pass TCP to our port `internal` on for `seconds` (0: no longer), from `outside` if that can be had. The same
    `nonce` renews and ends what it began.
    """
    host, port = outside if outside is not None else ("0.0.0.0", 0)
    body = _MAPPING.pack(nonce, _TCP, b"", internal, port, _packed(host))
    return _HEAD.pack(_PCP, _MAP, 0, seconds, _packed(own)) + body


def pmp_outside_request() -> bytes:
    """NAT-PMP: what is your outside address? It changes nothing."""
    return bytes((_PMP, _OUTSIDE))


def pmp_map_request(internal: int, external: int, seconds: int) -> bytes:
    """NAT-PMP: as `map_request`. To end it, `external` and `seconds` are 0."""
    return _PMP_MAP.pack(_PMP, _MAP_TCP, 0, internal, external, seconds)


def decode_answer(raw: bytes) -> Answer:
    """What a router answers.

    Raises:
        BadAnswer: it is neither PCP's nor NAT-PMP's, or says what cannot be.
    """
    if not 8 <= len(raw) <= MAX_MESSAGE_BYTES:
        raise BadAnswer(f"A router's answer has {len(raw)} bytes.")
    version, operation = raw[0], raw[1]
    if not operation & _ANSWER:
        raise BadAnswer("A router asks instead of answering.")
    if version == _PCP:
        return _pcp_answer(raw, operation & ~_ANSWER)
    if version == _PMP:
        return _pmp_answer(raw, operation & ~_ANSWER)
    raise BadAnswer(f"A router answers in version {version} of the protocol, which is not known.")


def _pcp_answer(raw: bytes, operation: int) -> Answer:
    if len(raw) < _ANSWER_HEAD.size or len(raw) % 4:
        raise BadAnswer(f"A router's PCP answer has {len(raw)} bytes.")
    result, seconds, epoch = _ANSWER_HEAD.unpack_from(raw)[3:6]
    whole = operation == _MAP and len(raw) >= _ANSWER_HEAD.size + _MAPPING.size
    if result:
        nonce = raw[_ANSWER_HEAD.size :][:NONCE_BYTES] if whole else b""
        return NotMapped("pcp", result, _PCP_RESULTS.get(result, f"its reason is number {result}"), nonce)
    if operation == _ANNOUNCE:
        return Here(epoch)
    if not whole:
        raise BadAnswer("A router's PCP answer is no mapping.")
    nonce, protocol, _, internal, external, host = _MAPPING.unpack_from(raw, _ANSWER_HEAD.size)
    if protocol != _TCP:
        raise BadAnswer("A router has mapped another protocol than TCP.")
    outside = Address(_unpacked(host), external)
    if seconds:
        _check(outside)
    return Mapped("pcp", internal, outside, min(seconds, MAX_SECONDS), epoch, nonce)


def _pmp_answer(raw: bytes, operation: int) -> Answer:
    result, epoch = _PMP_HEAD.unpack_from(raw)[2:4]
    if result:
        return NotMapped("natpmp", result, _PMP_RESULTS.get(result, f"its reason is number {result}"))
    if operation == _OUTSIDE and len(raw) == 12:
        host = str(IPv4Address(raw[8:12]))
        _check(Address(host, 1))
        return Outside(host, epoch)
    if operation == _MAP_TCP and len(raw) == 16:
        internal, external, seconds = struct.unpack_from("!HHI", raw, 8)
        if seconds:
            _check(Address("1.1.1.1", external))
        return Mapped("natpmp", internal, Address("", external), min(seconds, MAX_SECONDS), epoch)
    raise BadAnswer("A router's NAT-PMP answer is of no known kind.")


def _check(outside: Address) -> None:
    """Raises BadAnswer for what nobody could dial."""
    address = ip_address(outside.host)
    if not outside.port or address.is_unspecified or address.is_multicast or address.is_loopback:
        raise BadAnswer(f"A router offers {outside}, which cannot be.")


def _packed(host: str) -> bytes:
    """An address in 16 bytes; IPv4 as ::ffff:a.b.c.d (RFC 6887, section 5)."""
    address = ip_address(host)
    return address.packed if isinstance(address, IPv6Address) else b"\0" * 10 + b"\xff\xff" + address.packed


def _unpacked(raw: bytes) -> str:
    address = IPv6Address(raw)
    return str(address.ipv4_mapped or address)
