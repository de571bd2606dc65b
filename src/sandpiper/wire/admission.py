"""What a joiner and a member say to each other before and after the handshake, and members about codes. Pure.

Page: docs/protocol/admission.md. What comes before the handshake is readable by everybody and holds no secret; the
frames travel over the finished link only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from sandpiper.errors import LinkError, RemoteProtocolError, TrustError
from sandpiper.wire.frames import AnyFrame, BadFrame, Frame, RawRecord, decode_frame
from sandpiper.wire.ids import Key32
from sandpiper.wire.limits import (
    MAX_AFTER,
    MAX_BATCH_BYTES,
    MAX_BATCH_RECORDS,
    MAX_FRAME_BYTES,
    MAX_NICK_CHARS,
    MAX_VOUCH_RECORDS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION = 1
MAX_NAMEPLATE_DIGITS = 9  # a thousand million rooms at once on one rendezvous: more than a process holds
PAKE_BYTES = 33  # SPAKE2 over Ed25519: which side, and a point
SALT_BYTES = 16  # of a room's password (RFC 9106, section 3.1)
LOCK_BYTES = 32  # what Argon2id makes of it: as many bits as the keys have
CODE_ID_BYTES = 8  # random: two of one room are never alike
MAX_REFUSAL = 32  # letters of a reason on the wire
MAX_GUESSES = 3  # wrong guesses at one code, all members together; then it burns
MAX_CODE_SECONDS = 7 * 24 * 3600  # a code that lives longer is a password
MAX_RELAY_CHARS = 300  # host:port; a name has at most 253
MAX_HISTORY_CHARS = 8  # `none`, `all`, `100`, `7d`
MAX_ADMISSION_RECORDS = 8192  # genesis and roster: eight control records for each of 1,000 members
MAX_ADMISSION_BYTES = 8 * 1024 * 1024  # and a kilobyte for each of these: they are far smaller

_NAMEPLATE = re.compile(rf"[1-9][0-9]{{0,{MAX_NAMEPLATE_DIGITS - 1}}}")
_REFUSAL = re.compile(rb"[a-z_]{1,%d}" % MAX_REFUSAL)
_RELAY = re.compile(r"[!-~]*")

GO_ON, REFUSED = 0, 1  # first byte of what a member says before the link is made


def is_nameplate(digits: str) -> bool:
    """Whether this can be the number of a code: 1 to 9 digits, the first of them not 0."""
    return _NAMEPLATE.fullmatch(digits) is not None


# ---------------------------------------------------------------- why somebody is not let in

_WRONG = 4  # exit codes, see errors.py
_FAILED = 1
_NETWORK = 3

_REASONS: dict[str, tuple[str, str, int]] = {
    "wrong_code": (
        "The code is wrong (or the room's password), or somebody between the two sides changed what they said.",
        "Ask for the code again and compare every word.",
        _WRONG,
    ),
    "no_such_code": (
        "Nobody who answered knows a code with this number.",
        "Check the number, or ask for a new code.",
        _WRONG,
    ),
    "code_expired": ("This code has expired.", "Ask a member for a new one: /invite makes it.", _WRONG),
    "code_burnt": (
        f"This code is burnt: somebody guessed wrong {MAX_GUESSES} times.",
        "Ask a member for a new one: /invite makes it.",
        _WRONG,
    ),
    "code_withdrawn": ("This code was withdrawn.", "Ask a member for a new one: /invite makes it.", _WRONG),
    "password_needed": ("This room has a password as well.", "Join again and give it when asked.", _WRONG),
    "no_password": (
        "A password was given, and who answered says that the room has none.",
        "Ask a member whether that is so; then join without one.",
        _WRONG,
    ),
    "too_many_tries": (
        f"{MAX_GUESSES} tries with this code have led to nobody who could prove to know it; somebody on the way may "
        "be guessing its words.",
        "Ask for a new code.",
        _WRONG,
    ),
    "busy": ("Somebody else is using this code at this moment.", "Try again in some seconds.", _NETWORK),
    "version": (
        "The two sides speak different versions of the admission protocol.",
        "Update the older of the two.",
        _NETWORK,
    ),
    "room_full": (
        "The room is full.",
        "An owner or admin must remove somebody first, or allow more members.",
        _FAILED,
    ),
    "banned": ("This key is banned from the room.", "An owner or admin of the room can lift that.", _FAILED),
    "failed": (
        "The member that answered could not let you in.",
        "Try again, or ask another member for a code.",
        _FAILED,
    ),
}
REFUSALS = frozenset(_REASONS)
"""Every reason for which somebody is not let in: the codes of `NotAdmitted`."""


class NotAdmitted(TrustError):
    """A join that ended in no. `code` is one of `REFUSALS`; the text is ours, whatever the other side said."""

    code = "not_admitted"

    def __init__(self, code: str) -> None:
        """`code` as it came; one that we do not know is `failed`."""
        known = code if code in REFUSALS else "failed"
        sentence, hint, self.exit_code = _REASONS[known]
        super().__init__(sentence, hint=hint, code=known)


class Unproven(LinkError):
    """Whoever answered was shown that we know the code, and broke off without showing the same: a lost link, or a
    stranger who had one guess at the words.
    """

    code = "unproven"


# ---------------------------------------------------------------- before the link is made


def encode_opening(nameplate: str) -> bytes:
    """The joiner's first words: version and nameplate."""
    return bytes((VERSION,)) + nameplate.encode("ascii")


def decode_opening(raw: bytes) -> str:
    """The nameplate that a joiner names.

    Raises:
        NotAdmitted: it speaks another version (`version`).
        RemoteProtocolError: it is no opening.
    """
    if raw and raw[0] != VERSION:
        raise NotAdmitted("version")
    nameplate = raw[1:].decode("latin-1")
    if not is_nameplate(nameplate):
        raise RemoteProtocolError("A joiner named no nameplate.", code="handshake")
    return nameplate


def encode_answer(message: bytes, salt: bytes) -> bytes:
    """The member's first words: its SPAKE2 message, and the salt of the room's password if there is one."""
    return bytes((GO_ON,)) + message + salt


def decode_answer(raw: bytes) -> tuple[bytes, bytes]:
    """A member's SPAKE2 message, and the salt (empty: no password).

    Raises:
        NotAdmitted: it refuses.
        RemoteProtocolError: it is no answer.
    """
    rest = unwrap(raw)
    if len(rest) not in (PAKE_BYTES, PAKE_BYTES + SALT_BYTES):
        raise RemoteProtocolError("A member's answer has a wrong length.", code="handshake")
    return rest[:PAKE_BYTES], rest[PAKE_BYTES:]


def wrap(message: bytes) -> bytes:
    """What a member says when it goes on."""
    return bytes((GO_ON,)) + message


def encode_refusal(code: str) -> bytes:
    """What a member says when it does not."""
    return bytes((REFUSED,)) + code.encode("ascii")


def unwrap(raw: bytes) -> bytes:
    """What a member says, if it goes on.

    Raises:
        NotAdmitted: it refuses.
        RemoteProtocolError: it is neither.
    """
    if raw[:1] == bytes((GO_ON,)):
        return raw[1:]
    if raw[:1] == bytes((REFUSED,)) and _REFUSAL.fullmatch(raw, 1):
        raise NotAdmitted(raw[1:].decode("ascii"))
    raise RemoteProtocolError("A member's answer cannot be read.", code="handshake")


# ---------------------------------------------------------------- frames of the joiner's link

Secret32 = Key32
History = Annotated[str, Meta(max_length=MAX_HISTORY_CHARS, pattern=r"^(none|all|[1-9][0-9]*d?)\Z")]
CodeId = Annotated[bytes, Meta(min_length=CODE_ID_BYTES, max_length=CODE_ID_BYTES)]
Nameplate = Annotated[str, Meta(pattern=rf"^[1-9][0-9]{{0,{MAX_NAMEPLATE_DIGITS - 1}}}\Z")]
Word = Annotated[str, Meta(pattern=r"^[a-z]{3,7}\Z")]
Salt = Annotated[bytes, Meta(max_length=SALT_BYTES)]
Lock = Annotated[bytes, Meta(max_length=LOCK_BYTES)]


class _Hidden(Frame, frozen=True, array_like=True):
    """A frame whose `repr` shows no field."""

    @override
    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    @override
    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


class Asks(Frame, frozen=True, array_like=True):
    """Joiner: let me in, and call me this."""

    kind: ClassVar[int] = 40
    nick: Annotated[str, Meta(max_length=MAX_NICK_CHARS * 4)]


class Admitted(_Hidden, frozen=True, array_like=True):
    """Member: you are in. `room` is the id of the room's genesis, `secret` what only members know, `history` how much
    of what was said before is for newcomers, `lock` the room's password (stretched; empty: none), so that the newcomer
    can let in others, `relay` where its members meet (empty: where each of them likes).
    """

    kind: ClassVar[int] = 41
    room: Key32
    secret: Secret32
    history: History
    lock: Lock = b""
    relay: Annotated[str, Meta(max_length=MAX_RELAY_CHARS)] = ""

    def __post_init__(self) -> None:
        _check_lock(self.lock)
        _check_relay(self.relay)


class Roster(Frame, frozen=True, array_like=True):
    """Member: the records that say who is in the room, from its genesis on. `more`: another frame of them follows."""

    kind: ClassVar[int] = 42
    records: Annotated[tuple[RawRecord, ...], Meta(max_length=MAX_BATCH_RECORDS)]
    more: bool = False


class Declined(Frame, frozen=True, array_like=True):
    """Member: not you, for this reason (one of `REFUSALS`)."""

    kind: ClassVar[int] = 43
    code: Annotated[str, Meta(max_length=MAX_REFUSAL)]


class Settled(Frame, frozen=True, array_like=True):
    """Joiner: I have all of it. What follows on the link is what follows on every link; the member may say so much
    before this comes.
    """

    kind: ClassVar[int] = 44


# ---------------------------------------------------------------- frames among members


class Guesses(Struct, frozen=True, array_like=True):
    """How many wrong guesses one member has counted."""

    member: Key32
    wrong: Annotated[int, Meta(ge=0, le=MAX_GUESSES)]


Counts = Annotated[tuple[Guesses, ...], Meta(max_length=8)]


class CodeOpen(_Hidden, frozen=True, array_like=True):
    """Whoever joins with this code may be let in. `left` is how long it still lives, in ms: clocks differ. `relay` is
    where its nameplate was given out (empty: nowhere, it is for one network), `wrong` what is known of wrong guesses.
    `after` are the newest control records that its issuer knew: a removal neither among nor behind them ends it.
    """

    kind: ClassVar[int] = 45
    room: Key32
    id: CodeId
    nameplate: Nameplate
    words: tuple[Word, Word]
    left: Annotated[int, Meta(ge=0, le=MAX_CODE_SECONDS * 1000)]
    salt: Salt = b""
    lock: Lock = b""
    relay: Annotated[str, Meta(max_length=MAX_RELAY_CHARS)] = ""
    wrong: Counts = ()
    after: Annotated[tuple[Key32, ...], Meta(max_length=MAX_AFTER)] = ()

    def __post_init__(self) -> None:
        _check_lock(self.lock)
        if bool(self.salt) != bool(self.lock) or len(self.salt) not in (0, SALT_BYTES):
            raise ValueError("a salt of another length, or without its lock")
        _check_relay(self.relay)


class CodeGuessed(Frame, frozen=True, array_like=True):
    """Somebody guessed wrong at this code: all that the sender knows of it."""

    kind: ClassVar[int] = 46
    room: Key32
    id: CodeId
    wrong: Counts


class CodeClosed(Frame, frozen=True, array_like=True):
    """This code lets nobody in any more. `reason` is `code_burnt`, `code_withdrawn` or `code_expired`."""

    kind: ClassVar[int] = 47
    room: Key32
    id: CodeId
    reason: Annotated[str, Meta(max_length=MAX_REFUSAL)]


class Vouch(Frame, frozen=True, array_like=True):
    """To a member who does not know yet that the sender is one: the control records that let it in, causes first."""

    kind: ClassVar[int] = 48
    room: Key32
    records: Annotated[tuple[RawRecord, ...], Meta(max_length=MAX_VOUCH_RECORDS)]


def _check_relay(relay: str) -> None:
    if not _RELAY.fullmatch(relay):
        raise ValueError("a relay that is no address")


def _check_lock(lock: bytes) -> None:
    if len(lock) not in (0, LOCK_BYTES):
        raise ValueError("a lock of another length")


JoinFrame = Asks | Admitted | Roster | Declined | Settled
CodeFrame = CodeOpen | CodeGuessed | CodeClosed
AdmissionFrame = JoinFrame | CodeFrame | Vouch
LinkFrame = AnyFrame | CodeFrame | Vouch | Settled
"""What a link of two peers carries; those about codes among members only. `Settled` is the end of an admission."""

_KINDS: tuple[type[Frame], ...] = (
    Asks, Admitted, Roster, Declined, Settled, CodeOpen, CodeGuessed, CodeClosed, Vouch,
)  # fmt: skip
_ON_LINKS = frozenset((CodeOpen.kind, CodeGuessed.kind, CodeClosed.kind, Vouch.kind, Settled.kind))
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[int, msgspec.msgpack.Decoder[AdmissionFrame]] = {k.kind: msgspec.msgpack.Decoder(k) for k in _KINDS}


def encode_admission(frame: AdmissionFrame) -> bytes:
    """Kind byte and body, as frames of the link are."""
    return bytes((frame.kind,)) + _encoder.encode(frame)


def decode_admission(raw: bytes | memoryview) -> AdmissionFrame:
    """The typed frame in `raw`.

    Raises:
        BadFrame: another kind, too long, or not what its kind says. The text quotes nothing of it.
    """
    if not 0 < len(raw) <= MAX_FRAME_BYTES:
        raise BadFrame(f"A frame of {len(raw)} bytes is outside the limits.")
    decoder = _decoders.get(raw[0])
    if decoder is None:
        raise BadFrame(f"A frame of kind {raw[0]} has no place in an admission.")
    try:
        return decoder.decode(memoryview(raw)[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # `from None`: what the decoder says may quote a field, and fields here are secrets.
        raise BadFrame(f"A frame of kind {raw[0]} could not be read.") from None


def decode_link(raw: bytes | memoryview) -> LinkFrame:
    """The typed frame in `raw`, of a link that is past its admission.

    Raises:
        BadFrame: too long, or not what its kind byte says.
    """
    if raw and raw[0] in _ON_LINKS:
        frame = decode_admission(raw)
        assert isinstance(frame, CodeFrame | Vouch | Settled)
        return frame
    return decode_frame(raw)


def rosters(records: Iterable[bytes]) -> Iterator[Roster]:
    """Records in as few frames as hold them; at least one frame, and the last of them says that it is."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        if batch and (len(batch) == MAX_BATCH_RECORDS or size + len(record) > MAX_BATCH_BYTES):
            yield Roster(tuple(batch), more=True)
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    yield Roster(tuple(batch))
