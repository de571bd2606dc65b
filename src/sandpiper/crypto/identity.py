"""A peer's identity: its Ed25519 key pair (RFC 8032)."""

from __future__ import annotations

from nacl.bindings import crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError
from nacl.exceptions import ValueError as NaClValueError
from typing_extensions import override

from sandpiper.errors import TrustError
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES, SIGNATURE_BYTES


class Identity:
    """An Ed25519 key pair. Its `repr` shows the public half only."""

    __slots__ = ("_secret", "key")

    def __init__(self, seed: bytes) -> None:
        """From 32 secret random bytes."""
        if len(seed) != KEY_BYTES:
            raise ValueError(f"an identity's seed has {KEY_BYTES} bytes")
        public, self._secret = crypto_sign_seed_keypair(seed)
        self.key = PeerKey(public)

    @override
    def __repr__(self) -> str:
        return f"Identity({self.key.hex()})"

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for the profile's own file or keyring only."""
        return self._secret[:KEY_BYTES]

    def sign(self, message: bytes) -> bytes:
        """A 64-byte signature over `message`; callers put a domain in front of it."""
        return crypto_sign(message, self._secret)[:SIGNATURE_BYTES]


def verify(key: PeerKey, signature: bytes, message: bytes) -> None:
    """Check `signature` of `key` over `message`. Releases the GIL while it works.

    Raises:
        TrustError: it does not hold.
    """
    if len(signature) != SIGNATURE_BYTES:
        raise TrustError("A signature has the wrong length.", code="bad_signature")
    try:
        crypto_sign_open(signature + message, key)
    except (BadSignatureError, NaClValueError, ValueError) as exc:
        raise TrustError("A signature does not hold.", code="bad_signature") from exc
