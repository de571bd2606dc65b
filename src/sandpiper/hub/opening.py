"""What somebody who has connected speaks, told from the first bytes. Pure."""

from __future__ import annotations

from typing import Literal

Spoken = Literal["chat", "http", "tls", "link"]
"""Lines of the chat, HTTP/1, a TLS handshake, or a peer's native link."""

# A TLS record that holds a handshake, of any version since SSL 3 (RFC 8446, section 5.1). No line of text begins so.
_TLS = b"\x16\x03"
# No JSON begins so either, but a line that somebody types by mistake may: hence whole words and their blank.
# All methods, also those that are refused: a web page can have its visitor's browser send a POST anywhere, with lines
# of the chat in its body.
_HTTP = (b"GET ", b"HEAD ", b"POST ", b"PUT ", b"PATCH ", b"DELETE ", b"OPTIONS ", b"TRACE ", b"CONNECT ")
_LINK = b"SANDPIPER/"
_MARKS: tuple[tuple[bytes, Spoken], ...] = ((_TLS, "tls"), *((method, "http") for method in _HTTP), (_LINK, "link"))


def spoken(first: bytes) -> Spoken | None:
    """What `first` begins; None when more bytes must tell (there are at most ten that do not). Anything that is
    nothing else is a line of the chat, which answers it.
    """
    for mark, found in _MARKS:
        if first.startswith(mark):
            return found
        if mark.startswith(first):
            return None
    return "chat"
