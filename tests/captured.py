"""Bytes that were caught on their way, and what is looked for in them."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import threading
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.relayed import undirected
from tests.served import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable

NOISE_LEAST = 6  # bytes: shorter ones are found by chance in a capture of some hundred kilobytes
ALSO_SAID = frozenset(("room", "peer", "code", "bridge", "data", "signal", "start", "point"))
"""Words of codes that may stand in the lines of any rendezvous."""


def encodings(text: str, least: int = 4) -> set[bytes]:
    """One text in every form in which somebody might have let it slip, as far as it has `least` bytes: shorter ones are
    in any noise.
    """
    forms: set[bytes] = set()
    for cased in {text, text.upper(), text.title()}:
        raws = {cased.encode(codec) for codec in ("ascii", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")}
        raws |= {raw[::-1] for raw in set(raws)}
        for raw in raws:
            forms |= {raw, raw.hex().encode(), raw.hex().upper().encode(), quote(raw, safe="").encode()}
            forms.add("".join(f"%{byte:02x}" for byte in raw).encode())
            forms.add("".join(f"%{byte:02X}" for byte in raw).encode())
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                for shift in range(3):  # wherever it stands in what was encoded; whole quanta only
                    encoded = encode(bytes(shift) + raw + bytes(3)).rstrip(b"=")
                    forms.add(encoded[(shift * 8 + 5) // 6 : (shift + len(raw)) * 8 // 6])
            forms.add(base64.b32encode(raw).rstrip(b"=")[: len(raw) * 8 // 5])
            for name in ("md5", "sha1", "sha256", "sha512"):
                digest = hashlib.new(name, raw).digest()
                forms |= {digest, digest.hex().encode(), base64.b64encode(digest).rstrip(b"=")}
                forms.add(digest[:8])
    return {form for form in forms if len(form) >= least}


def spoken(words: tuple[str, str], heard: bytes) -> list[str]:
    """In which forms the words of a code are in `heard`: together, or each of them where words can be."""
    one, other = words
    found = []
    for first, second in ((one, other), (other, one)):
        together = (f"{first}{mark}{second}" for mark in ("-", " ", "", ",", '","', "\n", "/", "_"))
        found += [text for text in together if said(text, heard)]
        # As a list of MessagePack, of CBOR, or with lengths in front.
        found += [f"{first}?{second}"] * bool(re.search(first.encode() + b".{1,4}" + second.encode(), heard, re.DOTALL))
    lines = b"\n".join(re.findall(rb'\{"type":[^\n]*\}', heard))
    for word in words:
        if word not in ALSO_SAID and re.search(rf"(?i)\b{word}\b".encode(), lines):
            found.append(f"{word} in a line")
        if len(word) >= NOISE_LEAST - 1 and word not in ALSO_SAID and word.encode() in heard:
            found.append(word)
        found += [word for form in encodings(word, NOISE_LEAST) if len(form) > len(word) + 2 and form in heard]
    return found


def said(text: str, heard: bytes) -> bool:
    """Whether `text` is in `heard` in any form."""
    return any(form in heard for form in encodings(text, NOISE_LEAST))


def shown(key: str, heard: bytes) -> bool:
    """Whether a key (hex digits) is in `heard`, or half of it."""
    raw = bytes.fromhex(key)
    halves = [raw[:16], raw[16:]]
    forms = [form for half in halves for form in (half, half.hex().encode(), half.hex().upper().encode())]
    encoded = base64.b64encode(raw)
    return any(form in heard for form in (*forms, encoded[:20], encoded[20:40]))


def all_said(texts: Iterable[str], heard: bytes) -> list[str]:
    """Those of these texts that are in `heard`."""
    return [text for text in texts if said(text, heard)]


class Wiretap:
    """Stands between everybody and a relay, keeps every byte, and sees to it that nobody finds a way around it."""

    def __init__(self, far: int) -> None:
        self.heard = bytearray()
        self._far = far
        self._server = socket.create_server((HOST, 0))
        self.port = int(self._server.getsockname()[1])
        self._socks: list[socket.socket] = [self._server]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            far = socket.create_connection((HOST, self._far))
            self._socks += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while chunk := source.recv(65536):
                self.heard += chunk
                target.sendall(undirected(chunk))
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self) -> None:
        for sock in self._socks:
            sock.close()
