"""Certificates for a stack on this machine: an authority of its own, and what it signs."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.cli.local_stack.ports import HOST

AUTHORITY_DAYS = 3650
LEAF_DAYS = 90
SKEW = timedelta(minutes=5)  # of clocks, between whoever signs and whoever checks


def make_authority(folder: Path) -> None:
    """A new authority: ``ca.crt`` to trust, ``ca.key`` for nobody else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("Chipsieve local stack")
    certificate = (
        _builder(name, name, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_secret(folder / "ca.key", _private(key))
    (folder / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))


def issue(folder: Path, common_name: str) -> None:
    """A certificate for this machine's loopback names, signed by the folder's authority.

    ``NAME.crt`` and ``NAME.key``, and both in one file, ``NAME.pem``, as Kafka reads them. Each takes the place of the
    one before in one step, so that a server which reads it meanwhile has a whole one.
    """
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signing = load_pem_private_key((folder / "ca.key").read_bytes(), password=None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)  # noqa: S101 - `make_authority` makes no other
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(HOST))]
    certificate = (
        _builder(_name(common_name), authority.subject, key.public_key(), LEAF_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
        .sign(signing, hashes.SHA256())
    )
    public, private = certificate.public_bytes(Encoding.PEM), _private(key)
    write_secret(folder / f"{common_name}.key", private)
    write_secret(folder / f"{common_name}.crt", public)
    write_secret(folder / f"{common_name}.pem", private + public)


def write_secret(path: Path, content: bytes) -> None:
    """A file that its owner alone may read, in place of what was there."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
