"""TLS for the hub's port: a certificate of its owner's, or one made here once and known by its fingerprint."""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
import stat
from typing import TYPE_CHECKING

from sandpiper.config import write_whole
from sandpiper.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

# A certificate that is known by its fingerprint is trusted for that, not for its dates: it outlives the machine.
SELF_SIGNED_DAYS = 3650
BACKDATED_DAYS = 1  # the clock of whoever connects may be slow
MAX_PEM_BYTES = 256 * 1024  # a chain has a few KiB

_HINT = "Give both files in PEM form: the certificate with its chain, and its key without a passphrase."


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """A context that serves this certificate (with its chain) by TLS 1.2 or newer. Both may be one file.

    Raises:
        ConfigError: a file cannot be read, or they are not what they must be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION

    def no_passphrase() -> str:
        raise ConfigError(f"The key {key} is under a passphrase, and nobody is there to type it.", hint=_HINT)

    for path in (certificate, key):
        _read(path)  # for a sentence that names the file
    try:
        context.load_cert_chain(certificate, key, password=no_passphrase)
    except (ssl.SSLError, OSError) as exc:
        why = getattr(exc, "reason", None) or exc.strerror or type(exc).__name__
        raise ConfigError(
            f"The certificate {certificate} and the key {key} cannot be used: {str(why).replace('_', ' ').lower()}.",
            hint=_HINT,
            code="bad_certificate",
        ) from exc
    return context


def fingerprint(certificate: Path) -> str:
    """SHA-256 of the (first) certificate in a PEM file, as `openssl x509 -fingerprint -sha256` prints it.

    Raises:
        ConfigError: the file cannot be read or holds no certificate.
    """
    text = _read(certificate).decode("ascii", "replace")
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        first = text[text.index(begin) : text.index(end) + len(end)]
        der = ssl.PEM_cert_to_DER_cert(first + "\n")
    except ValueError:
        raise ConfigError(f"There is no certificate in {certificate}.", hint=_HINT, code="bad_certificate") from None
    return hashlib.sha256(der).digest().hex(":").upper()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_PEM_BYTES)
    except OSError as exc:
        raise ConfigError(f"Cannot read {path}: {exc.strerror}.", hint=_HINT, code="bad_certificate") from exc


def self_signed(path: Path, name: str) -> Path:
    """The certificate and its key that are kept in `path` (mode 0600), made now if there are none. Takes milliseconds.

    Raises:
        ConfigError: it cannot be made there, or others can read the key that is there.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        pass
    except OSError as exc:
        raise ConfigError(f"Cannot use {path}: {exc.strerror}.", code="bad_certificate") from exc
    else:
        if os.name == "posix" and mode & 0o077:
            raise ConfigError(
                f"Others can read or change the key in {path} ({stat.S_IMODE(mode):04o}): not used.",
                hint=f"If nobody did: chmod 600 {path}. Else remove it: another one is made, with another fingerprint.",
                code="key_file_open",
            )
        return path
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, _made(name))
    except OSError as exc:
        raise ConfigError(f"Cannot write {path}: {exc.strerror}.", code="bad_certificate") from exc
    return path


def _made(name: str) -> bytes:
    """Key and certificate in PEM form."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())  # what every TLS library of the last ten years has
    called = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name[:64] or "sandpiper")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=BACKDATED_DAYS))
        .not_valid_after(now + datetime.timedelta(days=SELF_SIGNED_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    kept = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return kept + certificate.public_bytes(serialization.Encoding.PEM)
