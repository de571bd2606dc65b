"""Who is at the other end: Noise XX whose payloads carry Ed25519 identities. Layout: docs/protocol/link.md.

The responder proves itself in message 2, the initiator in message 3, each with a signature over the handshake hash
of that moment, which covers all keys exchanged so far: no signature can be carried over to another handshake.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from sandpiper.crypto.identity import Identity, verify
from sandpiper.crypto.noise import CipherState, Handshake, HandshakeFailed
from sandpiper.errors import TrustError
from sandpiper.wire.ids import Key32, PeerKey, Signature64

PREAMBLE = b"SANDPIPER/1\n"
MODE_XX = 0  # first byte of the first handshake message: which pattern it is
MODE_XXPSK0 = 1

_DOMAINS = {True: b"sandpiper link 1 initiator\x00", False: b"sandpiper link 1 responder\x00"}


class _Proof(Struct, frozen=True, array_like=True):
    key: Key32
    signature: Signature64
    network: Annotated[bytes, Meta(max_length=32)] = b""  # kept for admission (rooms by code)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Proof)


class LinkHandshake:
    """The three handshake messages of a native link, for either side; the net layer only carries them.

    `secret` is 64 random bytes, fresh for every handshake: both X25519 keys come from it. With `psk` it is XXpsk0:
    nobody gets past message 1 who has another one. `context` is what the two said before; they must have heard the
    same.
    """

    def __init__(
        self, identity: Identity, *, initiator: bool, secret: bytes, psk: bytes | None = None, context: bytes = b""
    ) -> None:
        self._identity = identity
        self._initiator = initiator
        self._mode = MODE_XX if psk is None else MODE_XXPSK0
        self._noise = Handshake(
            initiator=initiator,
            static=secret[:32],
            ephemeral=secret[32:64],
            prologue=PREAMBLE + bytes((self._mode,)) + context,
            psk=psk,
        )
        self._peer: PeerKey | None = None

    @property
    def peer(self) -> PeerKey:
        """The proven identity of the other side, once finished."""
        if self._peer is None or not self._noise.finished:
            raise HandshakeFailed("The other side has not proven who it is.")
        return self._peer

    def first(self) -> bytes:
        """Initiator's message 1."""
        return bytes((self._mode,)) + self._noise.write()

    def answer(self, first: bytes) -> bytes:
        """Responder's message 2, from message 1.

        Raises:
            HandshakeFailed: not a message of our pattern.
        """
        if not first or first[0] != self._mode:
            raise HandshakeFailed("The other side wants a kind of handshake that is not expected here.", code="mode")
        self._noise.read(first[1:])
        return self._noise.write(self._prove)

    def finish(self, second: bytes) -> bytes:
        """Initiator's message 3, from message 2; the responder's identity is proven now.

        Raises:
            HandshakeFailed: altered, or the proof does not hold.
        """
        self._check(*self._noise.read(second))
        return self._noise.write(self._prove)

    def accept(self, third: bytes) -> None:
        """Responder takes message 3; the initiator's identity is proven now.

        Raises:
            HandshakeFailed: altered, or the proof does not hold.
        """
        self._check(*self._noise.read(third))

    def ciphers(self) -> tuple[CipherState, CipherState]:
        """Ciphers for (sending, receiving)."""
        return self._noise.split()

    def _prove(self, handshake_hash: bytes) -> bytes:
        signature = self._identity.sign(_DOMAINS[self._initiator] + handshake_hash)
        return _encoder.encode(_Proof(self._identity.key, signature))

    def _check(self, payload: bytes, handshake_hash: bytes) -> None:
        try:
            proof = _decoder.decode(payload)
            verify(PeerKey(proof.key), proof.signature, _DOMAINS[not self._initiator] + handshake_hash)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TrustError) as exc:
            raise HandshakeFailed("The other side could not prove its identity.", code="bad_proof") from exc
        self._peer = PeerKey(proof.key)
