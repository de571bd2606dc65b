"""From a short code to a strong key: SPAKE2 with role-bound ids. Page: docs/protocol/admission.md.

Two sides that know the same words agree on a key; whoever is between them learns nothing that words could be tried
against, and has one guess for each exchange. The key is the PSK of the Noise handshake that follows, which confirms it.
"""

from __future__ import annotations

import unicodedata

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from typing_extensions import override

from sandpiper.crypto.noise import HandshakeFailed
from sandpiper.wire.admission import LOCK_BYTES, PAKE_BYTES, SALT_BYTES

ENTROPY_BYTES = 64  # of each side: a scalar of 253 bits without a bias (the library's own choice)
_FIELD = 2**255 - 19

_JOINER = b"sandpiper admission 1 joiner\x00"
_MEMBER = b"sandpiper admission 1 member\x00"
_WORDS = b"sandpiper code 1\x00"

# Argon2id as RFC 9106, section 4, recommends second. Part of the protocol: both sides must come to the same.
MEMORY_KIB, PASSES, LANES = 64 * 1024, 3, 4


class Secret:
    """What both sides must know: the words, and the lock made of the room's password. Its `repr` shows nothing."""

    __slots__ = ("_bytes",)

    def __init__(self, words: tuple[str, str], lock: bytes = b"") -> None:
        """`lock` is what `stretch` gave, or empty for a room without a password."""
        if lock and len(lock) != LOCK_BYTES:
            raise ValueError(f"a lock has {LOCK_BYTES} bytes")
        self._bytes = _WORDS + "-".join(words).encode() + b"\x00" + lock

    @override
    def __repr__(self) -> str:
        return "<Secret>"

    def reveal(self) -> bytes:
        """The bytes that SPAKE2 takes for its password."""
        return self._bytes


def stretch(password: str, salt: bytes) -> bytes:
    """A room's password as 32 bytes that are dear to guess. Takes a third of a second and 64 MiB: for a thread.

    Raises:
        ValueError: `salt` has not 16 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes")
    kdf = Argon2id(salt=salt, length=LOCK_BYTES, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive(unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass"))


def load() -> None:
    """Have ready what the first exchange of a process would take some 40 ms for; on a thread, as exchanges are."""
    import spake2  # noqa: F401  (it computes its points when it is imported)


class Pake:
    """One side of one exchange; some 10 ms of computing at its beginning and at its end.

    `joiner` is true for whoever wants to come in. `entropy` is 64 random bytes, fresh for every exchange.
    """

    __slots__ = ("_spake", "message")

    def __init__(self, secret: Secret, nameplate: str, *, joiner: bool, entropy: bytes) -> None:
        if len(entropy) != ENTROPY_BYTES:
            raise ValueError(f"an exchange takes {ENTROPY_BYTES} random bytes")
        # Only here, where somebody joins: see `load`.
        import spake2

        side = spake2.SPAKE2_A if joiner else spake2.SPAKE2_B
        plate = nameplate.encode("ascii")
        self._spake = side(secret.reveal(), _JOINER + plate, _MEMBER + plate, entropy_f=lambda _count: entropy)
        self.message: bytes = self._spake.start()
        """To be sent to the other side: 33 bytes, which tell nothing about the words."""

    def key(self, message: bytes) -> bytes:
        """The 32-byte key, from the other side's message: the same on both sides if they know the same. Once only.

        Raises:
            HandshakeFailed: it is no message of the other side. (Wrong words are none of its reasons: they show when
                the key is used.)
        """
        # The library takes numbers past the field, and what follows a point, too: each point has one spelling here.
        if len(message) != PAKE_BYTES or int.from_bytes(message[1:], "little") % (1 << 255) >= _FIELD:
            raise HandshakeFailed("A message of the key exchange is malformed.")
        from spake2 import SPAKEError
        from spake2.ed25519_basic import NotOnCurve

        try:
            key: bytes = self._spake.finish(message)
        except (SPAKEError, NotOnCurve, ValueError) as exc:
            # Also our own message, sent back to us. `from None`: the library's text may say too much.
            raise HandshakeFailed(f"A message of the key exchange does not hold ({type(exc).__name__}).") from None
        return key
