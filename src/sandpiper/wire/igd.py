"""What is said with a UPnP router: finding it (SSDP), its description, and mapping a port (WANIPConnection). Pure.

Everything here comes from the network in clear text, so it is read narrowly: only one address is accepted as the
router's, in links too; texts and trees are bounded; XML with a DOCTYPE, from where entities come, is refused.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any, NamedTuple
from urllib.parse import urljoin
from xml.parsers import expat
from xml.sax.saxutils import escape

from msgspec import Struct
from typing_extensions import override

from sandpiper.wire.portmap import BadAnswer

SEARCH_GROUP, SEARCH_PORT = "239.255.255.250", 1900
TARGETS = ("urn:schemas-upnp-org:device:InternetGatewayDevice:1", "urn:schemas-upnp-org:device:InternetGatewayDevice:2")
MAX_DATAGRAM_BYTES = 2048  # an answer to a search; usual ones have 400
MAX_PAGE_BYTES = 128 * 1024  # a description with its head; usual ones have 5 KiB, grown ones 20
MAX_URL_CHARS = 512
MAX_ELEMENTS, MAX_DEPTH, MAX_TEXT_CHARS = 4000, 32, 1024

_SERVICES = (  # the first that a router has
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
)
_URL = re.compile(r"http://([0-9.]{7,15})(?::([0-9]{1,5}))?(/[!-~]*)?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")

CONFLICT, SAME_PORTS, ONLY_PERMANENT = 718, 724, 725  # WANIPConnection, section 2.4.16
_FAULTS = {
    401: "it does not know how",
    402: "it did not understand the question",
    501: "it failed",
    606: "it does not allow it",
    CONFLICT: "the port is somebody else's",
    SAME_PORTS: "it only maps a port to the same number",
    ONLY_PERMANENT: "it only maps for ever",
    728: "it has no room for it",
}


class Url(NamedTuple):
    """A page of the router."""

    host: str
    port: int
    path: str

    @override
    def __str__(self) -> str:
        return f"http://{self.host}:{self.port}{self.path}"


class Service(Struct, frozen=True):
    """What maps ports: where to ask, and by which name."""

    url: Url
    kind: str


class Reply(Struct, frozen=True):
    """An answer over HTTP."""

    status: int
    body: bytes


class Fault(Struct, frozen=True):
    """A router refuses; `text` continues "because"."""

    code: int
    text: str


# ---------------------------------------------------------------- finding it


def search(target: str) -> bytes:
    """The datagram that asks who is a router (UPnP Device Architecture 1.1, section 1.3.2)."""
    lines = (
        "M-SEARCH * HTTP/1.1",
        f"HOST: {SEARCH_GROUP}:{SEARCH_PORT}",
        'MAN: "ssdp:discover"',
        "MX: 1",
        f"ST: {target}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def description_at(raw: bytes, router: str) -> Url | None:
    """Where the answer to a search says that the description is; None: it is no answer of the router's, or its page is
    elsewhere.
    """
    if len(raw) > MAX_DATAGRAM_BYTES or not raw.isascii():
        return None
    head, *lines = raw.decode("ascii").split("\n")
    if head.split()[:2] != ["HTTP/1.1", "200"]:
        return None
    fields = {name.strip().lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    if "InternetGatewayDevice" not in fields.get("st", ""):
        return None
    return page_of(fields.get("location", ""), router)


def page_of(url: str, router: str) -> Url | None:
    """A link as something to ask the router for; None: it leads elsewhere."""
    found = _URL.fullmatch(url)
    if found is None or len(url) > MAX_URL_CHARS or found[1] != router:
        return None
    port = int(found[2] or 80)
    return Url(router, port, found[3] or "/") if 1 <= port <= 65535 else None


def service_of(body: bytes, page: Url) -> Service:
    """The service that maps ports, from a router's description, which was read from `page`.

    Raises:
        BadAnswer: it is no description, or there is no such service on the router itself.
    """
    tree = _read(body)
    base = page_of(tree.leaves.get("URLBase", ""), page.host) or page
    for kind in _SERVICES:
        for service in tree.services:
            if service.get("serviceType") == kind:
                url = page_of(urljoin(str(base), service.get("controlURL", "")), page.host)
                if url is not None:
                    return Service(url, kind)
    raise BadAnswer("The router's description names nothing that maps ports.")


# ---------------------------------------------------------------- asking it


def get(url: Url) -> bytes:
    """A request for a page."""
    return f"GET {url.path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nConnection: close\r\n\r\n".encode()


def call(service: Service, action: str, **arguments: str | int) -> bytes:
    """A request to do something (SOAP over HTTP)."""
    inner = "".join(f"<{name}>{escape(str(text))}</{name}>" for name, text in arguments.items())
    body = (
        '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" '
        's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:{action} xmlns:u="{service.kind}">{inner}</u:{action}></s:Body></s:Envelope>\r\n'
    ).encode()
    url = service.url
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nConnection: close\r\n"
        f'Content-Type: text/xml; charset="utf-8"\r\nContent-Length: {len(body)}\r\n'
        f'SOAPAction: "{service.kind}#{action}"\r\n\r\n'
    )
    return head.encode() + body


def add_mapping(service: Service, own: str, internal: int, external: int, seconds: int) -> bytes:
    """Pass TCP on from port `external` of the router to `internal` of ours for `seconds` (0: until it is ended)."""
    return call(
        service,
        "AddPortMapping",
        NewRemoteHost="",
        NewExternalPort=external,
        NewProtocol="TCP",
        NewInternalPort=internal,
        NewInternalClient=own,
        NewEnabled=1,
        NewPortMappingDescription="sandpiper",
        NewLeaseDuration=seconds,
    )


def delete_mapping(service: Service, external: int) -> bytes:
    """Pass it on no longer."""
    return call(service, "DeletePortMapping", NewRemoteHost="", NewExternalPort=external, NewProtocol="TCP")


def read_reply(raw: bytes, *, ended: bool) -> Reply | None:
    """The answer over HTTP in what has come; None: more of it is to come. `ended`: nothing more comes.

    Raises:
        BadAnswer: it is no such answer, too long, or sends us elsewhere.
    """
    if len(raw) > MAX_PAGE_BYTES:
        raise BadAnswer(f"The router's answer has more than {MAX_PAGE_BYTES // 1024} KiB.")
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        if ended:
            raise BadAnswer("The router broke off its answer.")
        return None
    found = _STATUS.match(raw)
    if found is None:
        raise BadAnswer("The router does not answer as HTTP does.")
    status = int(found[1])
    if 300 <= status < 400:
        raise BadAnswer("The router sends us elsewhere, and that is not followed.")
    fields = {name.strip().lower(): text.strip() for name, _, text in (x.partition(b":") for x in head.split(b"\n"))}
    if b"chunked" in fields.get(b"transfer-encoding", b"").lower():
        body = _unchunked(rest)
    else:
        length = fields.get(b"content-length", b"")
        known = int(length) if re.fullmatch(rb"[0-9]{1,7}", length) else None
        body = rest[:known] if known is not None and len(rest) >= known else rest if ended and known is None else None
    if body is None and ended:
        raise BadAnswer("The router broke off its answer.")
    return None if body is None else Reply(status, body)


def _unchunked(rest: bytes) -> bytes | None:
    """A body in chunks (RFC 9112, section 7.1); None: it has not ended. Raises BadAnswer."""
    parts: list[bytes] = []
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            return None
        size = line.partition(b";")[0].strip()
        if not re.fullmatch(rb"[0-9a-fA-F]{1,6}", size):
            raise BadAnswer("The router does not answer as HTTP does.")
        count = int(size, 16)
        if not count:
            return b"".join(parts)
        if len(rest) < count + 2:
            return None
        parts.append(rest[:count])
        rest = rest[count + 2 :]


def outcome(reply: Reply) -> dict[str, str] | Fault:
    """What came of a `call`: the values in the answer, or why not.

    Raises:
        BadAnswer: it is neither.
    """
    if reply.status == 200:
        return _read(reply.body).leaves
    if reply.status != 500:
        return Fault(reply.status, f"it answers {reply.status}")
    code = _read(reply.body).leaves.get("errorCode", "")
    number = int(code) if re.fullmatch(r"[0-9]{1,4}", code) else 0
    return Fault(number, _FAULTS.get(number, f"its reason is number {number}"))


def outside_of(values: dict[str, str]) -> str:
    """The router's outside address, of what `GetExternalIPAddress` gave.

    Raises:
        BadAnswer: there is none.
    """
    text = values.get("NewExternalIPAddress", "")
    try:
        address = ip_address(text)
    except ValueError:
        raise BadAnswer("The router does not know its outside address.") from None
    if address.is_unspecified or address.is_multicast or address.is_loopback:
        raise BadAnswer("The router has no outside address.")
    return str(address)


# ---------------------------------------------------------------- XML


class _Tree:
    """What matters of a page: texts by the name of their element (the first of each), and services."""

    def __init__(self) -> None:
        self.leaves: dict[str, str] = {}
        self.services: list[dict[str, str]] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []  # of these
        self._count = 0

    def begin(self, name: str, _attributes: object) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH:
            raise BadAnswer("The router's answer has too many elements.")
        self._open.append((name.rpartition(":")[2], {}))
        self._texts.append("")

    def text(self, text: str) -> None:
        if len(self._texts[-1]) < MAX_TEXT_CHARS:
            self._texts[-1] += text[:MAX_TEXT_CHARS]

    def end(self, _name: str) -> None:
        name, inner = self._open.pop()
        text = self._texts.pop()[:MAX_TEXT_CHARS].strip()
        if name == "service":
            self.services.append(inner)
        if not inner:
            self.leaves.setdefault(name, text)
        if self._open:
            self._open[-1][1].setdefault(name, text)


def _read(body: bytes) -> _Tree:
    """Raises BadAnswer when it is no XML, too much of it, or has a DOCTYPE."""
    tree, parser = _Tree(), expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = tree.begin, tree.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = tree.text, _no_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as exc:  # the latter two: of its encoding
        raise BadAnswer("The router's answer is not XML.") from exc
    return tree


def _no_doctype(*_: Any) -> None:
    raise BadAnswer("The router's answer has a DOCTYPE, which is not read.")
