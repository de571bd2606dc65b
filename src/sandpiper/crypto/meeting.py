"""Signals between members of a remembered room, sealed so that a rendezvous reads none of them. Pure."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandpiper.crypto.identity import verify
from sandpiper.errors import TrustError
from sandpiper.wire.limits import SIGNATURE_BYTES
from sandpiper.wire.meeting import BadSignal

if TYPE_CHECKING:
    from sandpiper.crypto.identity import Identity
    from sandpiper.wire.ids import PeerKey

_SIGNED = b"sandpiper room signal 1\x00"

NONCE_BYTES = 12  # random: a key seals some thousand signals, far from where two nonces would meet


class Seal:
    """Seals and opens the signals of one room. Whoever has been a member can do it, and nobody else."""

    def __init__(self, secret: bytes) -> None:
        """`secret` is what the members of the room share."""
        self._cipher = AESGCM(hmac.digest(secret, b"sandpiper meeting signal 1\x00", "sha256"))

    def seal(self, plain: bytes, tag: bytes, sender: str, to: str, nonce: bytes) -> bytes:
        """For `to` alone, from `sender`, under `tag`: their names at the rendezvous. `nonce` is 12 random bytes."""
        return nonce + self._cipher.encrypt(nonce, plain, _bound(tag, sender, to))

    def open(self, sealed: bytes, tag: bytes, sender: str, to: str) -> bytes:
        """What was sealed for us.

        Raises:
            BadSignal: it was not, or not so.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        if len(nonce) == NONCE_BYTES:
            try:
                return self._cipher.decrypt(nonce, rest, _bound(tag, sender, to))
            except InvalidTag:
                pass
        raise BadSignal("A signal is not of a member of this room.")


def sign_signal(identity: Identity, signal: bytes, tag: bytes, sender: str, to: str) -> bytes:
    """A signal with our signature in front, to be sealed: whoever was removed can still seal, and so say anything in
    another's name. The names are drawn anew by the rendezvous each time, so nothing old means anything.
    """
    return identity.sign(_SIGNED + _bound(tag, sender, to) + b"\x00" + signal) + signal


def check_signal(key: PeerKey, signed: bytes, tag: bytes, sender: str, to: str) -> None:
    """See that `key` has said this.

    Raises:
        BadSignal: it has not.
    """
    message = _SIGNED + _bound(tag, sender, to) + b"\x00" + signed[SIGNATURE_BYTES:]
    try:
        verify(key, signed[:SIGNATURE_BYTES], message)
    except TrustError as exc:
        raise BadSignal("A signal is not of the member that it names.") from exc


def _bound(tag: bytes, sender: str, to: str) -> bytes:
    return b"\x00".join((tag, sender.encode(), to.encode()))
