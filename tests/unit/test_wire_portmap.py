"""Datagrams of PCP and NAT-PMP, to the byte, as the figures of RFC 6887 and RFC 6886 lay them out."""

from __future__ import annotations

import pytest

from sandpiper.config.addresses import Address
from sandpiper.wire.portmap import (
    MAX_MESSAGE_BYTES,
    MAX_SECONDS,
    BadAnswer,
    Here,
    Mapped,
    NotMapped,
    Outside,
    announce_request,
    decode_answer,
    map_request,
    pmp_map_request,
    pmp_outside_request,
)

NONCE = bytes(range(1, 13))
OWN, ANY = "00000000000000000000ffffc0a80114", "00000000000000000000ffff00000000"  # 192.168.1.20 and 0.0.0.0, mapped
SEEN = "00000000000000000000ffff0b000007"  # 11.0.0.7
PCP_ANSWER = f"02810000 000004b0 00000539 {'00' * 12} {NONCE.hex()} 06 000000 1f90 c001 {SEEN}"


def raw(text: str) -> bytes:
    return bytes.fromhex(text.replace(" ", ""))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (announce_request("192.168.1.20"), f"02 00 0000 00000000 {OWN}"),
        (
            map_request("192.168.1.20", NONCE, 8080, None, 1200),
            f"02 01 0000 000004b0 {OWN} {NONCE.hex()} 06 000000 1f90 0000 {ANY}",
        ),
        (
            map_request("192.168.1.20", NONCE, 8080, Address("11.0.0.7", 49153), 0),
            f"02 01 0000 00000000 {OWN} {NONCE.hex()} 06 000000 1f90 c001 {SEEN}",
        ),
        (
            map_request("2001:db8::5", NONCE, 8080, Address("2001:db8::5", 8080), 1),
            "02 01 0000 00000001 20010db8000000000000000000000005"
            f"{NONCE.hex()} 06 000000 1f90 1f90 20010db8000000000000000000000005",
        ),
        (pmp_outside_request(), "00 00"),
        (pmp_map_request(8080, 49153, 1200), "00 02 0000 1f90 c001 000004b0"),
        (pmp_map_request(8080, 0, 0), "00 02 0000 1f90 0000 00000000"),
    ],
)
def test_requests_are_those_of_the_standards(made: bytes, wanted: str):
    assert made == raw(wanted)


@pytest.mark.parametrize(
    ("answer", "meant"),
    [
        (f"02800000 00000000 00000539 {'00' * 12}", Here(epoch=1337)),
        (PCP_ANSWER, Mapped("pcp", 8080, Address("11.0.0.7", 49153), 1200, 1337, NONCE)),
        (PCP_ANSWER + "00000000", Mapped("pcp", 8080, Address("11.0.0.7", 49153), 1200, 1337, NONCE)),
        (
            f"02810000 00000000 00000539 {'00' * 12} {NONCE.hex()} 06 000000 1f90 0000 {ANY}",
            Mapped("pcp", 8080, Address("0.0.0.0", 0), 0, 1337, NONCE),
        ),
        (
            f"02810002 00000708 00000539 {'00' * 12} {NONCE.hex()} 06 000000 1f90 0000 {ANY}",
            NotMapped("pcp", 2, "it does not allow it", NONCE),
        ),
        (f"02810001 00000708 00000539 {'00' * 12}", NotMapped("pcp", 1, "it speaks another version")),
        (f"028100ff 00000708 00000539 {'00' * 12}", NotMapped("pcp", 255, "its reason is number 255")),
        ("0080 0000 00000539 0b000007", Outside("11.0.0.7", 1337)),
        ("0082 0000 00000539 1f90 c001 000004b0", Mapped("natpmp", 8080, Address("", 49153), 1200, 1337)),
        ("0082 0000 00000539 1f90 0000 00000000", Mapped("natpmp", 8080, Address("", 0), 0, 1337)),
        ("0081 0001 00000539", NotMapped("natpmp", 1, "it speaks another version")),  # to a question in PCP
        ("0082 0003 00000539 1f90 0000 00000000", NotMapped("natpmp", 3, "it has no connection to the internet")),
    ],
)
def test_answers_are_understood(answer: str, meant: object):
    assert decode_answer(raw(answer)) == meant


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "02",
        "0281000000000000",  # cut short
        PCP_ANSWER[:-2],
        PCP_ANSWER + "00",  # no multiple of four
        PCP_ANSWER.replace("0281", "0201", 1),  # a question
        PCP_ANSWER.replace("0281", "0381", 1),  # a version that there is not
        PCP_ANSWER.replace("0281", "0282", 1),  # an operation that was not asked for
        PCP_ANSWER.replace(" 06 ", " 11 "),  # UDP
        PCP_ANSWER.replace("c001", "0000"),  # port 0
        PCP_ANSWER.replace(SEEN, ANY),
        PCP_ANSWER.replace(SEEN, "00000000000000000000ffff7f000001"),  # loopback
        PCP_ANSWER.replace(SEEN, "00000000000000000000ffffe0000001"),  # multicast
        PCP_ANSWER.replace(SEEN, "00" * 16),
        "0080 0000 00000539 00000000",
        "0080 0000 00000539 0b0000",
        "0082 0000 00000539 1f90 0000 000004b0",
        "0081 0000 00000539 1f90 c001 000004b0",  # UDP in NAT-PMP
        "00" * 20,
        "0082" + "00" * MAX_MESSAGE_BYTES,
    ],
)
def test_answers_that_make_no_sense_are_refused(answer: str):
    with pytest.raises(BadAnswer):
        decode_answer(raw(answer))


def test_a_lease_of_a_century_is_a_day():
    found = decode_answer(raw(PCP_ANSWER.replace("000004b0", "ffffffff")))
    assert isinstance(found, Mapped)
    assert found.seconds == MAX_SECONDS
