"""One connection until it is known what it speaks: then it is a guest, is answered over HTTP, or becomes TLS."""

from __future__ import annotations

import asyncio
import hmac
import ssl
from typing import TYPE_CHECKING, Literal, Protocol, cast

import msgspec
from msgspec import Struct
from typing_extensions import override

from sandpiper.hub.chat import Connection, address_of
from sandpiper.hub.http import Page, Request, answer, read_request
from sandpiper.hub.opening import spoken
from sandpiper.hub.rendezvous.desk import Seen
from sandpiper.wire.hub.answers import Error, Notice
from sandpiper.wire.hub.lines import encode_answers
from sandpiper.wire.limits import MAX_LINE_BYTES
from sandpiper.wire.rendezvous import opens_rendezvous

if TYPE_CHECKING:
    from sandpiper.hub.chat import Hall
    from sandpiper.hub.counts import Counts
    from sandpiper.hub.introducing import Introductions
    from sandpiper.wire.hub.answers import AnyAnswer

# --- how long a connection may take, in seconds ---
QUIET = 2.0  # whoever has said nothing by then only listens, to the chat: all else speaks at once
HTTP_SECONDS = 5.0  # for the head of a request
PASSWORD_SECONDS = 60.0  # for the hub's password: long enough to type it into `nc`
ENDING_SECONDS = 3.0  # for the reason of a refusal to be taken

# --- guessing the hub's password ---
MAX_WRONG = 3  # lines that are not the password, then the connection ends
WRONG_WAIT = 1.0  # seconds before a wrong one is answered: three guesses take three seconds and a connection

# A fatal alert, handshake_failure (RFC 8446, section 6): what a TLS program understands of "no TLS here".
_NO_TLS = bytes((0x15, 3, 1, 0, 2, 2, 40))

_State = Literal["unknown", "http", "password", "tls", "ending", "gone"]


class Front(Struct, frozen=True):
    """What the door knows of the hub's settings; it is exchanged as a whole when they are read again."""

    tls: ssl.SSLContext | None = None
    tls_only: bool = False
    """Whoever comes in without TLS is told so, and goes. Only HTTP is served without, for probes."""
    password: str = ""
    motd: str = ""
    loopback_counts: bool = False
    chat: bool = True
    """The chat is served; else there are only the rendezvous and the relay."""


class Porch(Protocol):
    """What doors share."""

    front: Front
    counts: Counts
    closing: str
    """What newcomers are told while the hub closes; empty: it does not."""
    introductions: Introductions | None
    """The rendezvous and the relay, where they are served."""

    @property
    def hall(self) -> Hall:
        """What guests share."""
        ...

    def arrive(self, door: Door) -> str:
        """A connection is at the door; why not, when there are too many; empty: it is."""
        ...

    def leave(self, door: Door) -> None:
        """It is not any more."""
        ...

    def secure(self, door: Door, transport: asyncio.Transport, first: bytes) -> None:
        """Begin TLS on it; `first` was read already."""
        ...

    def frame(self, door: Door, transport: asyncio.Transport, first: bytes) -> None:
        """It has asked with `first` to be a WebSocket."""
        ...

    def page(self, request: Request, *, local: bool) -> Page:
        """The answer to a request; `local`: it comes from this machine."""
        ...


class _Password(Struct, tag_field="type", tag="password"):
    password: str


class _InnerConnection(Connection):
    """A guest inside TLS or a WebSocket, where no side can close halfway."""

    __slots__ = ()

    @override
    def eof_received(self) -> bool:
        super().eof_received()
        return False


class Door(asyncio.BufferedProtocol):
    """A connection that has not said yet what it speaks, or that is dealt with here. Never reads more than it needs."""

    __slots__ = (
        "_first", "_porch", "_since", "_state", "_transport", "_wrong", "address", "framed", "inner", "local", "secure",
    )  # fmt: skip

    def __init__(self, porch: Porch, *, secure: bool = False, framed: bool = False) -> None:
        self.address = ""
        self.local = False
        self.secure = secure
        """It is inside TLS."""
        self.framed = framed
        """It is inside a WebSocket, and neither TLS nor another WebSocket may be inside that."""
        self.inner = framed or secure
        """It is inside another connection, which has been at the door before."""
        self._porch = porch
        self._transport: asyncio.Transport | None = None
        self._first = b""
        self._state: _State = "unknown"
        self._since = 0.0
        self._wrong = 0

    # ------------------------------------------------------------ life

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast("asyncio.Transport", transport)
        self._since = self._porch.hall.now().mono
        peer = transport.get_extra_info("peername")
        host = peer[0] if peer else ""
        self.address = address_of(host, loopback_counts=self._porch.front.loopback_counts)
        self.local = bool(host) and not address_of(host, loopback_counts=False)
        why_not = self._porch.arrive(self)
        if why_not:
            self._porch.counts.turned_away.add("crowded")
            self._state = "gone"
            transport.write(encode_answers((Error(why_not, "full"),)))
            self._go()
        elif self._first:  # inside TLS, they came together with the end of the handshake
            self._look_at_first()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._porch.leave(self)
        self._state = "gone"
        self._transport = None

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def silent(self) -> bool:
        """It has said nothing at all."""
        return self._state in ("unknown", "password") and not self._first and not self._wrong

    def hurry(self) -> None:
        """Another one needs its place: taken for one who only listens, or told to go where those may not come in."""
        if self._state == "unknown":
            self._chat()
        if self._state == "password":
            self._refuse("full", "Too many wait here, and you said nothing.")
        self._go()

    def _go(self) -> None:
        """Gone from the door, once the little that was written is in the system's hands."""
        self._porch.leave(self)
        if self._transport is not None:
            self._transport.close()

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return self._porch.hall.buffer

    @override
    def buffer_updated(self, nbytes: int) -> None:
        if self._state in ("ending", "gone"):
            return
        self._first += bytes(self._porch.hall.buffer[:nbytes])
        if self._transport is not None:
            self._look_at_first()

    def look(self, now: float) -> None:
        """What is due by now, in seconds."""
        waited = now - self._since
        match self._state:
            case "unknown" if waited >= QUIET:
                self._chat()
            case "http" if waited >= HTTP_SECONDS:
                self._turn_away("slow", b"")
            case "password" if waited >= PASSWORD_SECONDS:
                self._refuse("silent", f"No password came within {PASSWORD_SECONDS:.0f} s.")
            case "ending" if waited >= ENDING_SECONDS:
                self.abort()
            case _:
                pass

    # ------------------------------------------------------------ what it speaks

    def _look_at_first(self) -> None:
        if self._state == "http":
            self._http()
        elif self._state == "password":
            self._ask_password()
        elif self._state == "unknown":
            match spoken(self._first):
                case "chat":
                    self._line()
                case "http":
                    self._porch.counts.joins.add("http")
                    self._state = "http"
                    self._http()
                case "tls":
                    self._begin_tls()
                case "link":
                    self._porch.counts.joins.add("link")
                    self._refuse("not_served", "This is a hub, no peer: peers link over its relay only.")
                case None:
                    pass

    def _begin_tls(self) -> None:
        assert self._transport is not None
        if self._porch.front.tls is None or self.inner or self._porch.closing:
            self._turn_away("no_tls", _NO_TLS)
            return
        self._porch.counts.joins.add("tls")
        self._state = "tls"
        first, self._first = self._first, b""
        self._porch.secure(self, self._transport, first)

    def _http(self) -> None:
        request = read_request(self._first)
        if request is None:
            return
        assert self._transport is not None
        if isinstance(request, Request) and request.upgrade and not self.framed and not self._porch.closing:
            self._porch.counts.joins.add("websocket")
            self._state = "gone"
            first, self._first = self._first, b""
            self._porch.frame(self, self._transport, first)
            return
        head = isinstance(request, Request) and request.head
        page = self._porch.page(request, local=self.local) if isinstance(request, Request) else request
        self._porch.counts.pages.add(str(page.status))
        self._transport.write(answer(page, head=head))
        self._end()

    def _line(self) -> None:
        """Where there is a rendezvous, the first line tells who is wanted."""
        if self._porch.introductions is None:
            self._chat()
            return
        line, end, _ = self._first.lstrip().partition(b"\n")
        if not end and len(self._first) < MAX_LINE_BYTES:
            return
        front = self._porch.front
        if front.chat and not opens_rendezvous(line):
            self._chat()
        elif self._porch.closing or (front.tls_only and not self.secure):
            self._chat()  # which says so
        else:
            self._introduce(self._porch.introductions)

    def _introduce(self, introductions: Introductions) -> None:
        """It is the rendezvous' from now on."""
        transport, porch = self._transport, self._porch
        assert transport is not None
        porch.leave(self)
        porch.counts.joins.add("rendezvous")
        self._state = "gone"
        self._transport = None
        host, port, *_ = transport.get_extra_info("peername") or ("", 0)
        seen = Seen(host, port, self.address, tunnel=self.local)
        first, self._first = self._first, b""
        introductions.seat(transport, porch.hall.buffer, seen, first)

    def _chat(self) -> None:
        if self._porch.closing:
            self._refuse("closing", self._porch.closing)
        elif self._porch.front.tls_only and not self.secure:
            self._refuse("tls_only", "This hub is used with TLS only.")
        elif not self._porch.front.chat:
            self._refuse("not_served", "There is no chat here, only a rendezvous and relay for rooms by code.")
        elif self._porch.front.password:
            self._state = "password"
            self._ask_password()
        else:
            self._seat(self._first)

    def _seat(self, first: bytes) -> None:
        """It is a guest from now on."""
        transport, porch = self._transport, self._porch
        assert transport is not None
        porch.leave(self)
        porch.counts.joins.add("chat")
        self._state = "gone"
        self._transport = None
        connection = (_InnerConnection if self.inner else Connection)(porch.hall, first)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        if porch.front.motd and connection.guest is not None and connection.guest.open:
            notice = Notice(porch.front.motd, porch.hall.now().wall_ms // 1000, code="motd")
            connection.write(encode_answers((notice,)))

    # ------------------------------------------------------------ the hub's password

    def _ask_password(self) -> None:
        """Every line up to the right password is refused; what follows it belongs to the chat."""
        assert self._transport is not None
        while True:
            self._first = self._first.lstrip()  # all blank lines at once: there may be 65,536
            line, end, rest = self._first.partition(b"\n")
            if not end:
                break
            self._first = rest
            try:
                said = msgspec.json.decode(line, type=_Password).password
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                text = 'This hub has a password; first say {"type":"password","password":"…"}.'
                self._wrong_line(Error(text, "locked"))
                if self._state != "password":
                    return
                continue
            right = self._porch.front.password.encode()
            if hmac.compare_digest(said.encode("utf-8", "surrogatepass"), right):
                first, self._first = self._first, b""
                self._seat(first)
                return
            self._porch.counts.wrong_passwords += 1
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(WRONG_WAIT, self._answer_wrong)
            return
        if len(self._first) >= MAX_LINE_BYTES:
            self._refuse("line_too_long", "A line is longer than 64 KiB.")

    def _answer_wrong(self) -> None:
        if self._state != "password" or self._transport is None or self._transport.is_closing():
            return
        self._wrong_line(Error("That is not the password of this hub.", "wrong_password"))
        if self._state == "password":
            self._transport.resume_reading()
            self._ask_password()

    def _wrong_line(self, error: Error) -> None:
        assert self._transport is not None
        self._wrong += 1
        if self._wrong >= MAX_WRONG:
            self._turn_away(error.code, encode_answers((error,)))
        else:
            self._transport.write(encode_answers((error,)))

    # ------------------------------------------------------------ the end

    def _refuse(self, code: str, text: str) -> None:
        line: AnyAnswer = Error(text, code)
        self._turn_away(code, encode_answers((line,)))

    def _turn_away(self, code: str, raw: bytes) -> None:
        assert self._transport is not None
        self._porch.counts.turned_away.add(code)
        if raw:
            self._transport.write(raw)
        self._end()

    def _end(self) -> None:
        """Write nothing more. The other side closes first, if it does so soon: our closing while it still sends would
        make its system throw away what it has not read yet.
        """
        assert self._transport is not None
        self._first = b""
        self._state = "ending"
        self._since = self._porch.hall.now().mono
        if self._transport.can_write_eof():
            self._transport.write_eof()
            self._transport.resume_reading()
        else:
            self._transport.close()
