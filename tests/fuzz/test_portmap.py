"""Hostile bytes of whoever answers for a router: an error of ours or a meaning, and neither slow nor large."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sandpiper.wire.igd import MAX_TEXT_CHARS, Reply, Url, description_at, outcome, outside_of, read_reply, service_of
from sandpiper.wire.portmap import MAX_SECONDS, BadAnswer, Mapped, Outside, decode_answer
from tests.hostile import HOSTILE

ROUTER = "192.168.1.1"
PAGE = Url(ROUTER, 80, "/")

heads = st.sampled_from(
    [b"\x02\x80\0\0", b"\x02\x81\0\0", b"\0\x80\0\0", b"\0\x82\0\0", b"\x02\x81\0\x02", b"\0\x82\0\x01"]
)
datagrams = st.binary(max_size=80) | st.tuples(heads, st.binary(max_size=60)).map(b"".join)

names = st.sampled_from(["root", "service", "serviceType", "controlURL", "URLBase", "errorCode", "u:X", "device", "a"])
texts = st.text(max_size=40) | st.sampled_from(
    [*HOSTILE.values(), "718", "http://evil.example/", "&a;", "<![CDATA[", "]]>"]
)
trees = st.recursive(
    texts,
    lambda inner: st.tuples(names, st.lists(inner, max_size=4)).map(
        lambda one: f"<{one[0]}>{''.join(one[1])}</{one[0]}>"
    ),
    max_leaves=12,
)
pages = st.binary(max_size=300) | trees.map(lambda tree: f"<?xml version='1.0'?>{tree}".encode("utf-8", "replace"))
lines = st.lists(
    st.sampled_from(["HTTP/1.1 200 OK", "HTTP/1.1 500 x", "HTTP/1.1 302 x", "Content-Length: 3", "Content-Length: -1",
                     "Transfer-Encoding: chunked", "ST: urn:x:device:InternetGatewayDevice:1", "",
                     "LOCATION: http://192.168.1.1/x", "LOCATION: http://192.168.1.1@evil/", "5", "abc", "0"]),
    max_size=8,
).map(lambda some: "\r\n".join(some).encode())  # fmt: skip


def harmless(exc: Exception) -> None:
    assert str(exc).isprintable()
    assert len(str(exc)) < 300


@given(datagrams)
def test_datagrams_are_refused_or_mean_an_address_that_can_be(raw: bytes) -> None:
    try:
        answer = decode_answer(raw)
    except BadAnswer as exc:
        harmless(exc)
        return
    if isinstance(answer, Mapped) and answer.seconds:
        assert 0 < answer.seconds <= MAX_SECONDS
        assert 0 < answer.outside.port < 65536
    if isinstance(answer, Outside):
        assert answer.host != "0.0.0.0"


@given(pages)
def test_pages_are_refused_or_name_a_page_of_the_router(raw: bytes) -> None:
    try:
        assert service_of(raw, PAGE).url.host == ROUTER
    except BadAnswer as exc:
        harmless(exc)


@given(pages, st.sampled_from([200, 401, 500]))
def test_outcomes_are_refused_or_short(raw: bytes, status: int) -> None:
    try:
        found = outcome(Reply(status, raw))
        if isinstance(found, dict):
            assert all(len(text) <= MAX_TEXT_CHARS for text in found.values())
            outside_of(found)
        else:
            assert found.text.isprintable()
    except BadAnswer as exc:
        harmless(exc)


@given(lines | st.binary(max_size=200), st.booleans())
def test_answers_over_http_are_refused_read_or_waited_for(raw: bytes, ended: bool) -> None:
    try:
        reply = read_reply(raw, ended=ended)
    except BadAnswer as exc:
        harmless(exc)
        return
    assert reply is not None or not ended
    assert reply is None or len(reply.body) <= len(raw)


@given(lines | st.binary(max_size=200))
def test_answers_to_a_search_lead_to_the_router_or_nowhere(raw: bytes) -> None:
    page = description_at(raw, ROUTER)
    assert page is None or page.host == ROUTER
