"""Passwords of rooms, hashed: slow on purpose, so for a thread."""

from __future__ import annotations

import hmac
import os

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# OWASP's least for Argon2id (19 MiB, 2 passes, 1 lane): a hub hashes for strangers, so its memory and time are theirs
# to spend. About 30 ms.
MEMORY_KIB, PASSES, LANES = 19 * 1024, 2, 1
SALT_BYTES, HASH_BYTES = 16, 32


def _hash(password: str, salt: bytes) -> bytes:
    kdf = Argon2id(salt=salt, length=HASH_BYTES, iterations=PASSES, lanes=LANES, memory_cost=MEMORY_KIB)
    return kdf.derive(password.encode("utf-8", "surrogatepass"))


def make_lock(password: str) -> bytes:
    """Salt and hash of a new password."""
    salt = os.urandom(SALT_BYTES)
    return salt + _hash(password, salt)


def fits(password: str, lock: bytes) -> bool:
    """Whether `lock` was made of this password."""
    return hmac.compare_digest(lock[SALT_BYTES:], _hash(password, lock[:SALT_BYTES]))
