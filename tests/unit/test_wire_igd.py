"""What is said with a UPnP router: only the router's own words count, and no page of it can do harm."""

from __future__ import annotations

import time

import pytest

from sandpiper.wire.igd import (
    MAX_DATAGRAM_BYTES,
    MAX_DEPTH,
    MAX_ELEMENTS,
    MAX_PAGE_BYTES,
    MAX_TEXT_CHARS,
    Fault,
    Reply,
    Service,
    Url,
    add_mapping,
    delete_mapping,
    description_at,
    get,
    outcome,
    outside_of,
    page_of,
    read_reply,
    search,
    service_of,
)
from sandpiper.wire.portmap import BadAnswer

ROUTER = "192.168.1.1"
PAGE = Url(ROUTER, 5000, "/rootDesc.xml")
IP1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
IP2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
PPP = "urn:schemas-upnp-org:service:WANPPPConnection:1"
FOUND = (
    "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    "USN: uuid:1::x\r\nEXT:\r\nLocation:  http://192.168.1.1:5000/rootDesc.xml\r\n\r\n"
)


def description(*services: tuple[str, str], base: str = "") -> bytes:
    inner = "".join(
        f"<service><serviceType>{kind}</serviceType><serviceId>x</serviceId><controlURL>{url}</controlURL></service>"
        for kind, url in services
    )
    return (
        f'<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">{base}<device><deviceList><device>'
        f"<serviceList>{inner}</serviceList></device></deviceList></device></root>"
    ).encode()


def envelope(inner: str) -> bytes:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
        f"{inner}</s:Body></s:Envelope>"
    ).encode()


def fault(code: str) -> bytes:
    return envelope(
        f"<s:Fault><faultcode>s:Client</faultcode><detail><UPnPError><errorCode>{code}</errorCode></UPnPError></detail>"
        "</s:Fault>"
    )


# ---------------------------------------------------------------- finding it


def test_the_search_is_that_of_the_standard():
    wanted = b'M-SEARCH * HTTP/1.1 | HOST: 239.255.255.250:1900 | MAN: "ssdp:discover" | MX: 1 | ST: urn:x:1 |  | '
    assert search("urn:x:1").split(b"\r\n") == wanted.split(b" | ")


def test_the_description_is_where_the_router_says():
    assert description_at(FOUND.encode(), ROUTER) == PAGE
    assert description_at(FOUND.replace("\r\n", "\n").encode(), ROUTER) == PAGE
    assert description_at(FOUND.replace(":5000", "").encode(), ROUTER) == Url(ROUTER, 80, "/rootDesc.xml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("http://192.168.1.1", "http://192.168.1.2"),
        ("http://192.168.1.1", "http://evil.example"),
        ("http://192.168.1.1", "http://192.168.1.1@evil.example"),
        ("http://192.168.1.1", "http://192.168.1.1.evil.example"),
        ("http://192.168.1.1", "http://[fe80::1]"),
        ("http://", "https://"),
        ("http://", "file://"),
        ("http://192.168.1.1:5000/rootDesc.xml", "/rootDesc.xml"),
        (":5000", ":0"),
        (":5000", ":65536"),
        (":5000", ":x"),
        ("/rootDesc.xml", "/a b"),
        ("/rootDesc.xml", "/a\rHost: evil"),
        ("/rootDesc.xml", "/" + "a" * 600),
        ("200 OK", "404 Not Found"),
        ("HTTP/1.1 200 OK", "NOTIFY * HTTP/1.1"),
        ("InternetGatewayDevice", "MediaServer"),
        ("EXT:", "EXT: é"),
        ("EXT:", "EXT: " + "a" * MAX_DATAGRAM_BYTES),
        ("Location", "Elsewhere"),
    ],
)
def test_what_leads_away_from_the_router_or_is_no_router_is_passed_over(old: str, new: str):
    assert old in FOUND
    assert description_at(FOUND.replace(old, new).encode(), ROUTER) is None


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        (description((IP1, "/ctl")), Service(Url(ROUTER, 5000, "/ctl"), IP1)),
        (description((IP1, "ctl")), Service(Url(ROUTER, 5000, "/ctl"), IP1)),
        (description((IP1, "http://192.168.1.1:80/ctl")), Service(Url(ROUTER, 80, "/ctl"), IP1)),
        (description((PPP, "/ppp"), (IP1, "/1"), (IP2, "/2")), Service(Url(ROUTER, 5000, "/2"), IP2)),
        (description((PPP, "/ppp")), Service(Url(ROUTER, 5000, "/ppp"), PPP)),
        (
            description((IP1, "/ctl"), base=f"<URLBase>http://{ROUTER}:49152/x/</URLBase>"),
            Service(Url(ROUTER, 49152, "/ctl"), IP1),
        ),
        (description((IP1, "http://192.168.1.9/ctl"), (PPP, "/ppp")), Service(Url(ROUTER, 5000, "/ppp"), PPP)),
        (
            description((IP1, "/ctl"), base="<URLBase>http://evil.example/</URLBase>"),
            Service(Url(ROUTER, 5000, "/ctl"), IP1),
        ),
    ],
)
def test_the_service_that_maps_ports_is_found(body: bytes, wanted: Service):
    assert service_of(body, PAGE) == wanted


BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "' + b"a" * 1000 + b'">' + b"".join(
    b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 100) for n in range(8)
) + b"]><root>&i;</root>"  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<root>",
        b"\xff\xfe",
        b"<html>log in</html>",
        description(("urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1", "/ctl")),
        description((IP1, "http://evil.example/ctl")),
        description((IP1, "//evil.example/ctl")),
        description((IP1, "http://192.168.1.1@evil.example/ctl")),
        description((IP1, "https://192.168.1.1/ctl")),
        b'<!DOCTYPE root SYSTEM "http://evil.example/x">' + description((IP1, "/ctl"))[21:],
        b'<?xml version="1.0" encoding="utf-32-strange"?><root/>',
        b"<a>" * (MAX_DEPTH + 1),
        b"<root>" + b"<a/>" * MAX_ELEMENTS + b"</root>",
        BOMB,
        b"<root>" + b"&#97;" * (MAX_PAGE_BYTES // 5) + b"</root>",
    ],
)
def test_descriptions_that_are_none_or_lead_elsewhere_are_refused_at_once(body: bytes):
    start = time.perf_counter()
    with pytest.raises(BadAnswer):
        service_of(body, PAGE)
    assert time.perf_counter() - start < 1.0


def test_a_doctype_is_refused_also_where_it_does_no_harm():
    harmless = description((IP1, "/ctl")).replace(b'"1.0"?>', b'"1.0"?><!DOCTYPE root>')
    with pytest.raises(BadAnswer, match="DOCTYPE"):
        service_of(harmless, PAGE)


def test_texts_are_cut():
    long = description((IP1, "/ctl"), base=f"<URLBase>{'a' * 100_000}{'&#97;' * 5_000}</URLBase>")
    assert service_of(long, PAGE).url.path == "/ctl"
    values = outcome(Reply(200, envelope(f"<NewExternalIPAddress>{'1' * 50_000}</NewExternalIPAddress>")))
    assert isinstance(values, dict)
    assert len(values["NewExternalIPAddress"]) <= MAX_TEXT_CHARS


# ---------------------------------------------------------------- asking it


def test_requests_are_whole_and_hold_nothing_that_could_end_them_early():
    service = Service(Url(ROUTER, 5000, "/ctl"), IP1)
    raw = add_mapping(service, "192.168.1.20", 8080, 8081, 1200)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /ctl HTTP/1.1\r\nHost: 192.168.1.1:5000\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head
    assert f'SOAPAction: "{IP1}#AddPortMapping"'.encode() in head
    for part in ("NewExternalPort>8081<", "NewInternalPort>8080<", "NewInternalClient>192.168.1.20<",
                 "NewProtocol>TCP<", "NewLeaseDuration>1200<", "NewEnabled>1<"):  # fmt: skip
        assert part.encode() in body
    assert b"NewExternalPort>8081<" in delete_mapping(service, 8081)
    assert b"<NewInternalClient>&lt;x&gt;<" in add_mapping(service, "<x>", 1, 1, 1)
    assert get(PAGE) == b"GET /rootDesc.xml HTTP/1.1\r\nHost: 192.168.1.1:5000\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello and more",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    ],
)
def test_answers_are_read_as_soon_as_they_are_whole(raw: bytes):
    assert read_reply(raw, ended=False) == Reply(200, b"hello")
    for cut in range(len(raw.partition(b"hello")[0]) if b"hello" in raw else raw.index(b"\r\n0\r\n")):
        assert read_reply(raw[:cut], ended=False) is None


def test_an_answer_without_a_length_ends_with_the_connection():
    raw = b"HTTP/1.1 500 Oh\r\n\r\nhello"
    assert read_reply(raw, ended=False) is None
    assert read_reply(raw, ended=True) == Reply(500, b"hello")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: http://192.168.1.1/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\nhel",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    ],
)
def test_answers_that_are_none_are_cut_or_lead_elsewhere_are_refused(raw: bytes):
    with pytest.raises(BadAnswer):
        read_reply(raw, ended=True)


def test_an_endless_answer_is_refused():
    with pytest.raises(BadAnswer, match="KiB"):
        read_reply(b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * MAX_PAGE_BYTES, ended=False)
    with pytest.raises(BadAnswer, match="KiB"):
        read_reply(b"a" * (MAX_PAGE_BYTES + 1), ended=False)


def test_outcomes_are_values_or_a_reason():
    ok = envelope(
        f'<u:GetExternalIPAddressResponse xmlns:u="{IP1}"><NewExternalIPAddress>11.0.0.7</NewExternalIPAddress>'
        "</u:GetExternalIPAddressResponse>"
    )
    values = outcome(Reply(200, ok))
    assert isinstance(values, dict)
    assert outside_of(values) == "11.0.0.7"
    assert outcome(Reply(500, fault("718"))) == Fault(718, "the port is somebody else's")
    assert outcome(Reply(500, fault("999"))) == Fault(999, "its reason is number 999")
    assert outcome(Reply(500, fault("-1; rm"))) == Fault(0, "its reason is number 0")
    assert outcome(Reply(401, b"")) == Fault(401, "it answers 401")
    for body in (b"", b"<x", BOMB):
        with pytest.raises(BadAnswer):
            outcome(Reply(200, body))


@pytest.mark.parametrize("text", ["", "unknown", "0.0.0.0", "127.0.0.1", "224.0.0.1", "11.0.0.7\x1b[2J", "1.2.3"])
def test_an_outside_address_that_is_none_is_refused_and_not_repeated(text: str):
    with pytest.raises(BadAnswer) as caught:
        outside_of({"NewExternalIPAddress": text})
    assert str(caught.value).isprintable()


def test_links_of_the_router_are_addresses_of_it():
    assert page_of("http://192.168.1.1", ROUTER) == Url(ROUTER, 80, "/")
    assert str(PAGE) == "http://192.168.1.1:5000/rootDesc.xml"
