"""Noise XX and XXpsk0 over X25519, AES-256-GCM and SHA-256 (The Noise Protocol Framework, revision 34).

Only these two patterns, because only these two are spoken; tested with the published vectors and against an
independent implementation. What the handshake carries is `sandpiper.crypto.handshake`'s business.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sandpiper.errors import LocalProtocolError, RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

DH_BYTES = 32
MAC_BYTES = 16
MAX_MESSAGE = 65535  # Noise, section 3
_MAX_NONCE = 2**64 - 1  # reserved by Noise, section 5.1

_TOKENS = (("e",), ("e", "ee", "s", "es"), ("s", "se"))  # XX; XXpsk0 puts "psk" in front of the first


class HandshakeFailed(RemoteProtocolError):
    """The bytes are not a handshake with us: noise, tampering, another version, or another key."""

    code = "handshake"


class CipherState:
    """One direction's key and counter (Noise, section 5.1). Its `repr` shows no key."""

    __slots__ = ("_aead", "_nonce")

    def __init__(self, key: bytes) -> None:
        self._aead = AESGCM(key)
        self._nonce = 0

    def _next_nonce(self) -> bytes:
        if self._nonce >= _MAX_NONCE:
            raise LocalProtocolError("a link's message counter ran out")
        nonce = b"\x00\x00\x00\x00" + self._nonce.to_bytes(8, "big")
        self._nonce += 1
        return nonce

    def encrypt(self, plaintext: bytes, ad: bytes = b"") -> bytes:
        """Ciphertext and 16-byte tag; the counter goes up."""
        return self._aead.encrypt(self._next_nonce(), plaintext, ad)

    def decrypt(self, ciphertext: bytes | memoryview, ad: bytes = b"") -> bytes:
        """The plaintext; the counter goes up only when it is genuine.

        Raises:
            RemoteProtocolError: altered, replayed, out of order or cut.
        """
        nonce = self._next_nonce()
        try:
            return self._aead.decrypt(nonce, ciphertext, ad)
        except (InvalidTag, ValueError) as exc:
            self._nonce -= 1
            raise RemoteProtocolError("A message on the link was altered on its way.", code="tampered") from exc


def _hkdf(chaining_key: bytes, material: bytes, outputs: int) -> list[bytes]:
    """HKDF as Noise, section 4.3 has it: two or three outputs of 32 bytes."""
    temp = hmac.digest(chaining_key, material, "sha256")
    out = [hmac.digest(temp, b"\x01", "sha256")]
    while len(out) < outputs:
        out.append(hmac.digest(temp, out[-1] + bytes((len(out) + 1,)), "sha256"))
    return out


class Handshake:
    """One side of a handshake of three messages: the initiator writes the first and third.

    `static` and `ephemeral` are 32 secret bytes each, `ephemeral` fresh for every handshake.
    Payloads are made with the handshake hash as it stands just before they are encrypted, so that a signature over
    it covers every key of the handshake so far.
    """

    __slots__ = ("_cipher", "_ck", "_e", "_h", "_initiator", "_psk", "_re", "_rs", "_s", "_turn")

    def __init__(
        self, *, initiator: bool, static: bytes, ephemeral: bytes, prologue: bytes = b"", psk: bytes | None = None
    ) -> None:
        name = b"Noise_XX_25519_AESGCM_SHA256" if psk is None else b"Noise_XXpsk0_25519_AESGCM_SHA256"
        self._h = name.ljust(32, b"\x00") if len(name) <= 32 else sha256(name).digest()
        self._ck = self._h
        self._initiator = initiator
        self._s = X25519PrivateKey.from_private_bytes(static)
        self._e = X25519PrivateKey.from_private_bytes(ephemeral)
        self._psk = psk
        self._re: X25519PublicKey | None = None
        self._rs: X25519PublicKey | None = None
        self._cipher: CipherState | None = None
        self._turn = 0
        self._mix_hash(prologue)

    @property
    def finished(self) -> bool:
        """All three messages went through."""
        return self._turn == len(_TOKENS)

    @property
    def handshake_hash(self) -> bytes:
        """The session's own name once finished (Noise, section 11.2)."""
        return self._h

    @property
    def remote_static(self) -> bytes:
        """The other side's static public key, once it came."""
        if self._rs is None:
            raise LocalProtocolError("the other side's static key is not known yet")
        return self._rs.public_bytes_raw()

    def write(self, make_payload: Callable[[bytes], bytes] = lambda _hash: b"") -> bytes:
        """The next message of ours."""
        tokens = self._next_tokens(ours=True)
        out = bytearray()
        for token in tokens:
            match token:
                case "e":
                    public = self._e.public_key().public_bytes_raw()
                    out += public
                    self._mix_hash(public)
                    if self._psk is not None:
                        self._mix_key(public)
                case "s":
                    out += self._encrypt_and_hash(self._s.public_key().public_bytes_raw())
                case _:
                    self._mix_token(token)
        out += self._encrypt_and_hash(make_payload(self._h))
        if len(out) > MAX_MESSAGE:
            raise LocalProtocolError("a handshake message grew over 65535 bytes")
        return bytes(out)

    def read(self, message: bytes) -> tuple[bytes, bytes]:
        """The payload of the other side's next message, and the handshake hash that stood before it.

        Raises:
            HandshakeFailed: it is too short, altered, or made with other keys.
        """
        rest = memoryview(message)
        for token in self._next_tokens(ours=False):
            match token:
                case "e":
                    if len(rest) < DH_BYTES:
                        raise HandshakeFailed("A handshake message is too short.")
                    public = bytes(rest[:DH_BYTES])
                    rest = rest[DH_BYTES:]
                    self._re = X25519PublicKey.from_public_bytes(public)
                    self._mix_hash(public)
                    if self._psk is not None:
                        self._mix_key(public)
                case "s":
                    size = DH_BYTES + (MAC_BYTES if self._cipher else 0)
                    if len(rest) < size:
                        raise HandshakeFailed("A handshake message is too short.")
                    self._rs = X25519PublicKey.from_public_bytes(self._decrypt_and_hash(bytes(rest[:size])))
                    rest = rest[size:]
                case _:
                    self._mix_token(token)
        before = self._h
        return self._decrypt_and_hash(bytes(rest)), before

    def split(self) -> tuple[CipherState, CipherState]:
        """Ciphers for (sending, receiving), once finished."""
        if not self.finished:
            raise LocalProtocolError("the handshake is not finished")
        first, second = (CipherState(key) for key in _hkdf(self._ck, b"", 2))
        return (first, second) if self._initiator else (second, first)

    def _next_tokens(self, *, ours: bool) -> tuple[str, ...]:
        if self.finished or ((self._turn % 2 == 0) == self._initiator) != ours:
            raise LocalProtocolError("a handshake message out of turn")
        tokens = _TOKENS[self._turn]
        if self._turn == 0 and self._psk is not None:
            tokens = ("psk", *tokens)
        self._turn += 1
        return tokens

    def _mix_token(self, token: str) -> None:
        if token == "psk":
            assert self._psk is not None
            self._ck, temp_h, key = _hkdf(self._ck, self._psk, 3)
            self._mix_hash(temp_h)
            self._cipher = CipherState(key)
            return
        # "es" is the initiator's ephemeral with the responder's static, whoever computes it.
        mine, theirs = (token[0], token[1]) if self._initiator else (token[1], token[0])
        private = self._e if mine == "e" else self._s
        public = self._re if theirs == "e" else self._rs
        assert public is not None
        try:
            self._mix_key(private.exchange(public))
        except ValueError as exc:  # a low-order point: all-zero result (RFC 7748, section 6.1)
            raise HandshakeFailed("A handshake carries a key that is none.") from exc

    def _mix_hash(self, value: bytes) -> None:
        self._h = sha256(self._h + value).digest()

    def _mix_key(self, material: bytes) -> None:
        self._ck, key = _hkdf(self._ck, material, 2)
        self._cipher = CipherState(key)

    def _encrypt_and_hash(self, plaintext: bytes) -> bytes:
        out = plaintext if self._cipher is None else self._cipher.encrypt(plaintext, self._h)
        self._mix_hash(out)
        return out

    def _decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        if self._cipher is None:
            plaintext = ciphertext
        else:
            try:
                plaintext = self._cipher.decrypt(ciphertext, self._h)
            except RemoteProtocolError as exc:
                raise HandshakeFailed("A handshake message was altered, or made with another key.") from exc
        self._mix_hash(ciphertext)
        return plaintext
