"""The first bytes of a connection, and the little HTTP of a hub."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.hub.http import MAX_HEAD_BYTES, Health, Page, Request, answer, health_page, read_request
from sandpiper.hub.opening import spoken

OPENINGS = [
    (b'{"type":"nick"}', "chat"), (b"\n", "chat"), (b"  {", "chat"), (b"hello", "chat"), (b"Get well", "chat"),
    (b"GETTING", "chat"), (b"Hi", "chat"), (b"SAND", None), (b"SANDPIPER/1\n", "link"), (b"Sandy", "chat"),
    (b"G", None), (b"GET ", "http"), (b"HEAD /x", "http"), (b"HEA", None), (b"POST / HTTP/1.1", "http"),
    (b"P", None), (b"OPTIONS * H", "http"), (b"PUT /", "http"),
    (b"Post ", "chat"), (b"PUTTING", "chat"),
    (b"\x16", None), (b"\x16\x03\x01", "tls"), (b"\x16\x02", "chat"), (b"", None), (b"\xff\xfe", "chat"),
]  # fmt: skip


@pytest.mark.parametrize(("first", "speech"), OPENINGS, ids=lambda value: repr(value))
def test_the_first_bytes_tell_what_is_spoken(first: bytes, speech: str | None):
    assert spoken(first) == speech


@given(st.binary(max_size=40))
def test_more_bytes_never_change_what_the_first_have_told(raw: bytes):
    told = [found for end in range(len(raw) + 1) if (found := spoken(raw[:end])) is not None]
    assert len(set(told)) <= 1
    assert told or len(raw) < 10


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_request_is_read_when_its_head_has_ended(end: bytes):
    lines = end.join((b"GET /metrics?a=b HTTP/1.1", b"Host: hub", b"Accept: */*", b"", b""))
    assert read_request(lines) == Request("/metrics")
    assert all(read_request(lines[:cut]) is None for cut in range(len(lines)))
    assert read_request(lines.replace(b"GET", b"HEAD")) == Request("/metrics", head=True)


BAD = [
    (b"GET\r\n\r\n", 400), (b"GET /\r\n\r\n", 400), (b"GET / FTP/1.0\r\n\r\n", 400), (b"GET / HTTP/2\r\n\r\n", 400),
    (b"GET /\xff HTTP/1.1\r\n\r\n", 400), (b"\n\n", 400), (b"PUT / HTTP/1.1\r\n\r\n", 405),
    (b"GET / HTTP/1.1\r\nX: " + b"x" * MAX_HEAD_BYTES, 431), (b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1\n\n", 431),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "status"), BAD, ids=range(len(BAD)))
def test_what_is_no_request_is_answered_as_such(raw: bytes, status: int):
    page = read_request(raw)
    assert isinstance(page, Page)
    assert page.status == status
    assert answer(page).startswith(b"HTTP/1.1 %d " % status)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_are_refused_or_go_on(raw: bytes):
    assert isinstance(read_request(b"GET " + raw), Request | Page | None)


def test_an_answer_says_how_long_it_is_and_that_it_is_the_last():
    head, _, body = answer(Page(200, "grüße\n")).partition(b"\r\n\r\n")
    assert body.decode() == "grüße\n"
    assert b"Content-Length: %d\r\n" % len(body) in head
    assert b"Connection: close" in head
    assert answer(Page(200, "grüße\n"), head=True) == head + b"\r\n\r\n"


@pytest.mark.parametrize(("status", "code"), [("ok", 200), ("closing", 503), ("failing", 503)])
def test_health_is_a_status_for_machines(status: str, code: int):
    page = health_page(Health(status, 3, 60))
    assert page.status == code
    assert json.loads(page.body) == {"status": status, "guests": 3, "uptime": 60, "problems": []}
