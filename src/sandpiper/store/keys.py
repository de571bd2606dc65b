"""A profile's secret key at rest: under a passphrase, in the system's keyring, or in a 0600 file.

The file `identity` always exists and says which of the three it is, so that a key is never looked for in the wrong
place and never replaced by a weaker copy. See docs/profiles.md.
"""

from __future__ import annotations

import hmac
import os
import re
import shlex
import stat
import sys
import unicodedata
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from sandpiper.config import write_whole
from sandpiper.crypto.identity import Identity
from sandpiper.errors import ConfigError, StoreError, TrustError
from sandpiper.wire.ids import Key32

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from keyring.backend import KeyringBackend

VERSION = 1
SERVICE = "sandpiper"  # under which entries stand in the keyring
STORE_SECONDS = 3.0  # a keyring that works answers at once; a start is not worth more
FETCH_SECONDS = 20.0  # a person may have to type the keyring's password into its dialog
_MAX_FILE_BYTES = 16 * 1024  # ours has some 400
_T = TypeVar("_T")


class _Head(Struct, frozen=True):
    magic: Literal["sandpiper-identity"]
    version: int


class _KeyFile(Struct, frozen=True, kw_only=True, tag_field="kept", forbid_unknown_fields=True):
    """What all three kinds say: the public key, by which a swapped or damaged secret is seen."""

    magic: Literal["sandpiper-identity"] = "sandpiper-identity"
    version: int = VERSION
    key: Key32

    @override
    def __repr__(self) -> str:  # the fields of some kinds are secret
        return f"<{type(self).__name__} of {self.key.hex()}>"


class _Plain(_KeyFile, frozen=True, tag="file"):
    seed: Key32


class _InKeyring(_KeyFile, frozen=True, tag="keyring"):
    entry: Annotated[str, Meta(min_length=1, max_length=512)]


class _Sealed(_KeyFile, frozen=True, kw_only=True, tag="passphrase"):
    # Argon2id as RFC 9106, section 4, recommends second; OWASP asks for 19 MiB and 2 passes at least. It takes about
    # a third of a second. Each file has its own numbers, so these can grow; a hostile file's cannot take the machine.
    memory_kib: Annotated[int, Meta(ge=1024, le=1024 * 1024)] = 64 * 1024
    passes: Annotated[int, Meta(ge=1, le=64)] = 3
    lanes: Annotated[int, Meta(ge=1, le=16)] = 4
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    nonce: Annotated[bytes, Meta(min_length=12, max_length=12)]
    sealed: Annotated[bytes, Meta(min_length=48, max_length=48)]  # the seed and the tag of AES-256-GCM

    def bound(self) -> bytes:
        """What the seal covers beside the seed, so that no field can be exchanged."""
        return msgspec.json.encode(
            [self.magic, self.version, self.key.hex(), self.salt.hex(), self.memory_kib, self.passes, self.lanes]
        )


class KeyringFailed(Exception):
    """The keyring gave no answer. Its text names the kind of failure only: a backend's own may quote secrets."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Inside the `with`, an OSError becomes a StoreError (raised) that names the file and what to check."""
    try:
        yield
    except OSError as exc:
        raise StoreError(
            f"Cannot use {exc.filename or path}: {exc.strerror or type(exc).__name__}.",
            hint="Check its owner, its mode and the free space, or choose another place with SANDPIPER_HOME.",
            code="disk",
        ) from exc


def save_key(
    path: Path, identity: Identity, *, entry: str, passphrase: str, keyring: bool, rng: Callable[[int], bytes]
) -> tuple[str, ...]:
    """Write `identity` to `path`: sealed when there is a passphrase, else in the keyring if allowed, else plain.

    A key that is in the keyring stays there unless it is sealed; then its entry goes once the new file is safe.
    Blocks for about a third of a second to seal, or up to `STORE_SECONDS` for a keyring that hangs.

    Returns:
        What its owner should know, for example that the keyring failed and the key is in the file.

    Raises:
        StoreError: the disk refused; what was there before is as it was.
        ConfigError: there is a key file at `path` that cannot be read; it is not overwritten.
    """
    old = _read(path) if os.path.lexists(path) else None
    file: _KeyFile = _Plain(key=identity.key, seed=identity.seed)
    notes: list[str] = []
    if passphrase:
        file = _seal(identity, passphrase, rng)
    elif isinstance(old, _InKeyring):
        return ()
    elif keyring:

        def put(ring: KeyringBackend) -> None:
            ring.set_password(SERVICE, entry, identity.seed.hex())
            if ring.get_password(SERVICE, entry) != identity.seed.hex():
                raise KeyringFailed("it does not return what it was given")

        try:
            _with_keyring(put, STORE_SECONDS)
            file = _InKeyring(key=identity.key, entry=entry)
        except KeyringFailed as exc:
            # A late answer may still put a copy there. That is no weaker than the file, and nobody looks for it.
            notes.append(f"The key is in {path}, readable by you alone; the system's keyring cannot be used: {exc}.")
    with disk_errors(path):
        write_whole(path, msgspec.json.encode(file) + b"\n")
    if isinstance(old, _InKeyring):
        try:
            _with_keyring(lambda ring: ring.delete_password(SERVICE, old.entry), STORE_SECONDS)
        except KeyringFailed as exc:
            notes.append(f"A copy of the key stays in the keyring, as {old.entry!r} of {SERVICE!r}: {exc}.")
    return tuple(notes)


def load_key(path: Path, name: str, *, keyring: bool, ask: Callable[[], str]) -> Identity:
    """The identity kept at `path`. `ask` is called when it is under a passphrase, and returns "" when there is none.

    Never writes and never falls back. `name` is the profile's, for the texts. `keyring`: whether it may be asked.

    Raises:
        ConfigError: the file is damaged, from a newer version or readable by others, or the keyring does not answer.
        TrustError: no passphrase or a wrong one (exit code 4), or the keyring holds another key.
        StoreError: the disk refused.
    """
    file = _read(path)
    if isinstance(file, _Plain):
        seed = file.seed
    else:
        seed = _unseal(file, name, ask()) if isinstance(file, _Sealed) else _fetch(file, name, keyring)
    identity = Identity(seed)
    if not hmac.compare_digest(identity.key, file.key):
        if isinstance(file, _InKeyring):
            raise TrustError(
                f"The keyring holds another key than the profile {name!r} was made with.",
                hint=f"Restore the entry {file.entry!r} of {SERVICE!r}, or choose another profile with --profile.",
                code="key_changed",
            )
        raise _damaged(path)
    return identity


def _read(path: Path) -> _Plain | _Sealed | _InKeyring:
    with disk_errors(path):
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        with open(os.open(path, flags), "rb") as file:
            about = os.fstat(file.fileno())
            ours = stat.S_ISREG(about.st_mode) and about.st_size <= _MAX_FILE_BYTES
            content = file.read(_MAX_FILE_BYTES) if ours else b""
    if os.name == "posix" and ours and about.st_mode & 0o077:
        raise ConfigError(
            f"Others can read or change the key file {path} ({stat.S_IMODE(about.st_mode):04o}): not used.",
            hint=f"If nobody did, close it: chmod 600 {shlex.quote(str(path))}",
            code="key_file_open",
        )
    try:
        head = msgspec.json.decode(content, type=_Head)
        if head.version == VERSION:
            return msgspec.json.decode(content, type=_Plain | _Sealed | _InKeyring)
    except msgspec.DecodeError:
        raise _damaged(path) from None  # the cause may quote the content
    raise ConfigError(
        f"The key file {path} is of version {head.version}; this Sandpiper knows version {VERSION}.",
        hint="Update Sandpiper, or choose another profile with --profile.",
        code="key_file_newer",
    )


def _damaged(path: Path) -> ConfigError:
    return ConfigError(
        f"The key file {path} is damaged; it is left as it is.",
        hint="Restore it from a backup. To start afresh under a new key, move the profile's directory away.",
        code="key_file_damaged",
    )


def _cipher(file: _Sealed, passphrase: str) -> AESGCM:
    from cryptography.hazmat.primitives.ciphers import aead
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    secret = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    kdf = Argon2id(salt=file.salt, length=32, iterations=file.passes, lanes=file.lanes, memory_cost=file.memory_kib)
    return aead.AESGCM(kdf.derive(secret))


def _seal(identity: Identity, passphrase: str, rng: Callable[[int], bytes]) -> _Sealed:
    file = _Sealed(key=identity.key, salt=rng(16), nonce=rng(12), sealed=bytes(48))
    sealed = _cipher(file, passphrase).encrypt(file.nonce, identity.seed, file.bound())
    return msgspec.structs.replace(file, sealed=sealed)


def _unseal(file: _Sealed, name: str, passphrase: str) -> bytes:
    from cryptography.exceptions import InvalidTag

    with suppress(InvalidTag):
        if passphrase:
            return _cipher(file, passphrase).decrypt(file.nonce, file.sealed, file.bound())
    what, hint = f"The key of the profile {name!r} is under a passphrase", "put it into SANDPIPER_PASSPHRASE."
    error = (
        TrustError(f"{what} that this one is not.", hint=f"Type it again, or {hint}", code="wrong_passphrase")
        if passphrase
        else TrustError(f"{what}.", hint=f"Type it when asked, or {hint}", code="passphrase_needed")
    )
    error.exit_code = 4  # product page: wrong code or password
    raise error


def _fetch(file: _InKeyring, name: str, allowed: bool) -> bytes:
    unlock = "run: security unlock-keychain" if sys.platform == "darwin" else "by logging in to the desktop"
    try:
        if not allowed:
            raise KeyringFailed("it is not asked under SANDPIPER_HOME")
        found = _with_keyring(lambda ring: ring.get_password(SERVICE, file.entry), FETCH_SECONDS)
    except KeyringFailed as exc:
        raise ConfigError(
            f"The key of the profile {name!r} is in the system's keyring, which cannot be read: {exc}.",
            hint=f"Unlock it ({unlock}) and start again, or choose another profile with --profile.",
            code="keyring",
        ) from None
    if not re.fullmatch("[0-9a-f]{64}", found or ""):
        raise ConfigError(
            f"The keyring has no key for the profile {name!r}, though it was put there.",
            hint=f"Restore the entry {file.entry!r} of {SERVICE!r}, or move the profile's directory away.",
            code="keyring",
        )
    return bytes.fromhex(found or "")


def _with_keyring(job: Callable[[KeyringBackend], _T], seconds: float) -> _T:
    """Do `job` with the system's keyring in a thread of its own, which may hang (a dialog) without holding us up.

    Raises:
        KeyringFailed: there is none, it failed, or it took longer than `seconds`.
    """
    import queue
    import threading

    answers: queue.SimpleQueue[tuple[_T] | KeyringFailed] = queue.SimpleQueue()

    def work() -> None:
        try:
            answers.put((job(_backend()),))
        except KeyringFailed as exc:
            answers.put(exc)
        except Exception as exc:  # noqa: BLE001 - backends raise whatever their systems raise
            answers.put(KeyringFailed(type(exc).__name__))

    threading.Thread(target=work, name="sandpiper-keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise KeyringFailed(f"no answer within {seconds:g} seconds") from None
    if isinstance(answer, KeyringFailed):
        raise answer
    return answer[0]


def _backend() -> KeyringBackend:
    """The best real keyring: priority 1 is where the library's recommended ones begin; plain files lie below."""
    import keyring
    from keyring.backends.chainer import ChainerBackend

    chosen = keyring.get_keyring()
    for ring in chosen.backends if isinstance(chosen, ChainerBackend) else [chosen]:
        if ring.priority >= 1:
            return ring
    raise KeyringFailed("this system has none")
