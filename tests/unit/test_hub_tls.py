"""The hub's certificates: made once, kept private, known by a fingerprint."""

import os
import ssl
from pathlib import Path

import pytest

from sandpiper.errors import ConfigError
from sandpiper.hub.tls import fingerprint, self_signed, server_context


def handshake(server: ssl.SSLContext, trusted: Path) -> ssl.SSLObject:
    """A real handshake in memory, with somebody who trusts `trusted` only."""
    client = ssl.create_default_context(cafile=str(trusted))
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(down, up, server_hostname="localhost")
    theirs = server.wrap_bio(up, down, server_side=True)
    waiting = [ours, theirs]
    for _ in range(10):
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
        if not waiting:
            return ours
    raise AssertionError("no end of the handshake")


def test_a_self_signed_certificate_serves_and_is_verified_by_whoever_has_it(tmp_path: Path):
    kept = self_signed(tmp_path / "hub" / "tls.pem", "our hub")
    ours = handshake(server_context(kept, kept), kept)
    assert ours.version() == "TLSv1.3"
    other = self_signed(tmp_path / "other.pem", "our hub")
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(server_context(other, other), kept)


def test_it_is_made_once_and_private(tmp_path: Path):
    kept = self_signed(tmp_path / "hub" / "tls.pem", "hub")
    first = kept.read_bytes()
    assert self_signed(kept, "hub").read_bytes() == first
    if os.name == "posix":
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.parent.stat().st_mode & 0o777 == 0o700
        kept.chmod(0o640)
        with pytest.raises(ConfigError, match="Others can read"):
            self_signed(kept, "hub")


def test_the_fingerprint_is_that_of_the_certificate_that_is_shown(tmp_path: Path):
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    kept = self_signed(tmp_path / "tls.pem", "hub")
    certificate = x509.load_pem_x509_certificate(kept.read_bytes())
    assert fingerprint(kept) == certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def test_old_tls_is_not_spoken(tmp_path: Path):
    kept = self_signed(tmp_path / "tls.pem", "hub")
    assert server_context(kept, kept).minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_do_not_fit_are_named(tmp_path: Path):
    one, other = (self_signed(tmp_path / f"{n}.pem", "hub") for n in range(2))
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"0\.pem.*1\.pem cannot be used: key values mismatch"):
        server_context(one, other)
    with pytest.raises(ConfigError, match=r"text\.pem.*cannot be used"):
        server_context(text, text)
    with pytest.raises(ConfigError, match=r"Cannot read .*none\.pem: No such file"):
        server_context(tmp_path / "none.pem", one)
    with pytest.raises(ConfigError, match="no certificate in"):
        fingerprint(text)


def test_a_key_under_a_passphrase_is_named_and_nobody_is_asked(tmp_path: Path):
    from cryptography.hazmat.primitives import serialization

    kept = self_signed(tmp_path / "tls.pem", "hub")
    key = serialization.load_pem_private_key(kept.read_bytes(), None)
    sealed = tmp_path / "sealed.pem"
    sealed.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"swan"),
        )
    )
    with pytest.raises(ConfigError, match="under a passphrase"):
        server_context(kept, sealed)
