"""The little HTTP/1.1 that a hub speaks on its port: GET and HEAD of a page or two, then it closes. Pure."""

from __future__ import annotations

import re
from http import HTTPStatus

import msgspec
from msgspec import Struct

MAX_HEAD_BYTES = 8 * 1024  # request line and headers; what nginx and others take by default

WEBSOCKET_PATH = "/sandpiper"
_UPGRADE = re.compile(rb"\nupgrade:[ \t]*websocket[ \t]*\r?(\n|$)", re.IGNORECASE)  # RFC 6455, section 4.2.1

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
"""Prometheus' text format."""

_CLOSED = "Connection: close\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n"


class Request(Struct, frozen=True):
    """What somebody wants to have. `path` is without its query; it is compared, never opened."""

    path: str
    head: bool = False
    """Only the head of the answer is wanted."""
    upgrade: bool = False
    """The connection is to become a WebSocket (at `/sandpiper`)."""


class Page(Struct, frozen=True):
    """An answer."""

    status: int
    body: str
    kind: str = TEXT


class Health(Struct, frozen=True):
    """What `/healthz` says."""

    status: str
    guests: int
    uptime: int
    """Seconds."""
    problems: tuple[str, ...] = ()


NOT_FOUND = Page(404, "There is no such page here. There are /healthz and /metrics.\n")
FORBIDDEN = Page(403, "The metrics are for this machine only.\n")
_BAD = Page(400, "That is no HTTP/1 request.\n")
_TOO_LONG = Page(431, f"A request has at most {MAX_HEAD_BYTES} bytes here.\n")
_OTHER = Page(405, "Only GET and HEAD.\n")


def read_request(raw: bytes) -> Request | Page | None:
    """The request that `raw` begins with, or what to answer when it is none; None: its head has not ended."""
    end = min((at for at in (raw.find(b"\r\n\r\n"), raw.find(b"\n\n")) if at >= 0), default=-1)
    if end < 0 or end > MAX_HEAD_BYTES:
        return _TOO_LONG if len(raw) > MAX_HEAD_BYTES else None
    words = raw[:end].split(b"\n", 1)[0].split()
    if len(words) != 3 or not words[2].startswith(b"HTTP/1.") or not raw[:end].isascii():
        return _BAD
    if words[0] not in (b"GET", b"HEAD"):
        return _OTHER
    path, head = words[1].decode("ascii").partition("?")[0], words[0] == b"HEAD"
    return Request(path, head, upgrade=path == WEBSOCKET_PATH and not head and _UPGRADE.search(raw[:end]) is not None)


def answer(page: Page, *, head: bool = False) -> bytes:
    """The bytes of an answer; afterwards the connection closes. `head`: without its body."""
    body = page.body.encode()
    lines = f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\nContent-Type: {page.kind}\r\n"
    lines += f"Content-Length: {len(body)}\r\n{_CLOSED}"
    lines += "Allow: GET, HEAD\r\n" if page.status == 405 else ""
    return f"{lines}\r\n".encode() + (b"" if head else body)


def health_page(health: Health) -> Page:
    """`/healthz`: 200 while all is well, else 503."""
    return Page(200 if health.status == "ok" else 503, msgspec.json.encode(health).decode() + "\n", JSON)
