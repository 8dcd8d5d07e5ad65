"""The cluster's own certificate authorities and the certificates they sign (ECDSA P-256)."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass, field
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

End = Literal["server", "client"]
PURPOSES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
AUTHORITY_DAYS = 3650
# A certificate is renewed by the first deploy within this many days of its end.
RENEW_DAYS = 60
# Hosts whose clocks are a little behind must not find a new certificate "not yet valid".
BACKDATE = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """A private key and its certificate, both PEM. The key is kept out of repr."""

    key: bytes = field(repr=False)
    certificate: bytes


@dataclass(frozen=True)
class Wanted:
    """What a certificate should say: subject, every name and address it is valid for, lifetime in days, and for which ends
    of a connection it is good.

    One that clients show has names too: etcd takes a peer without any from anywhere, and one with names from these only.
    """

    common_name: str
    names: tuple[str, ...]
    days: int
    ends: frozenset[End] = frozenset(("server", "client"))


def is_bundle(text: str) -> bool:
    """Whether a text has certificates, all of which can be read."""
    try:
        return bool(x509.load_pem_x509_certificates(text.encode()))
    except ValueError:
        return False


def fingerprints(text: bytes) -> tuple[bytes, ...]:
    """Of the certificates in a text, in their order; of none where it has none that can be read."""
    try:
        return tuple(one.fingerprint(hashes.SHA256()) for one in x509.load_pem_x509_certificates(text))
    except ValueError:
        return ()


def why_no_authority(pair: Pair) -> str | None:
    """Why nothing can be signed with a key and the first of the certificates, in words, or None when it can."""
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
        certificate = x509.load_pem_x509_certificate(pair.certificate)
    except (ValueError, TypeError):  # a passphrase is wanted
        return "should be a key without a passphrase and its certificate, both PEM"
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return "should be a key of an elliptic curve, such as prime256v1"
    if key.public_key() != certificate.public_key():
        return "the first certificate should be the key's"
    if not _may_sign(certificate):
        return "the first certificate should be an authority's (CA:TRUE)"
    if not _bundle(pair.certificate):
        return "what follows the first certificate should be whole certificates of authorities (CA:TRUE), and nothing else"
    return None


def _may_sign(certificate: x509.Certificate) -> bool:
    return bool(getattr(_extension(certificate, x509.BasicConstraints), "ca", False))


def _bundle(text: bytes) -> bool:
    """Whether a text is authorities' certificates as every program reads them: a server that finds half of one in the file of
    whom it trusts does not start, and everybody on its host may read that file."""
    marks = [line.strip() for line in text.splitlines() if b"-----" in line]
    try:
        found = x509.load_pem_x509_certificates(text)
    except ValueError:
        return False
    whole = [b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"] * len(found)
    return marks == whole and all(_may_sign(one) for one in found)


def make_authority(name: str) -> Pair:
    """A new self-signed authority, valid for ten years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, subject, key.public_key(), AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pair(key, certificate)


def make_certificate(wanted: Wanted, authority: Pair) -> Pair:
    """A new key and certificate signed by `authority`."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.load_pem_x509_certificate(authority.certificate)
    issuer_key = serialization.load_pem_private_key(authority.key, password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted.common_name)])
    purposes = [PURPOSES[end] for end in sorted(wanted.ends)]
    builder = (
        _builder(subject, issuer.subject, key.public_key(), wanted.days)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(digital_signature=True, key_agreement=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(n) for n in wanted.names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    certificate = builder.sign(issuer_key, hashes.SHA256())
    return _pair(key, certificate)


def why_renew(pair: Pair, wanted: Wanted, authority: Pair, now: dt.datetime | None = None) -> str | None:
    """Why the certificate must be made anew, in words, or None when it is right as it is."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError):
        return "it can't be read"
    if key.public_key() != certificate.public_key():
        return "it is not its key's"
    now = now or dt.datetime.now(dt.UTC)
    left = certificate.not_valid_after_utc - now
    if left < dt.timedelta(days=RENEW_DAYS):
        return f"it ends in {left.days} days"
    if _names(certificate) != set(wanted.names):
        return "its names have changed"
    if set(_extension(certificate, x509.ExtendedKeyUsage)) != {PURPOSES[end] for end in wanted.ends}:
        return "what it is good for has changed"
    try:
        certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))
    except (ValueError, TypeError, InvalidSignature):
        return "it was signed by another authority"
    return None


def _names(certificate: x509.Certificate) -> set[str]:
    return {str(name.value) for name in _extension(certificate, x509.SubjectAlternativeName)}


def _extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
    """The extension's value, or an empty tuple where there is none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return ()


def days_left(certificate: bytes, now: dt.datetime | None = None) -> int:
    """Whole days until a PEM certificate ends; negative when it has ended."""
    end = x509.load_pem_x509_certificate(certificate).not_valid_after_utc
    return (end - (now or dt.datetime.now(dt.UTC))).days


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _key_usage(**uses: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{use: uses.get(use, False) for use in every})


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pair(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> Pair:
    return Pair(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
        certificate.public_bytes(serialization.Encoding.PEM),
    )
