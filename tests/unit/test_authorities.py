"""A certificate authority is replaced with nobody refusing anybody on the way, or the deploy is refused."""

from __future__ import annotations

import itertools
import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import cluster
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cluster.authorities import problems
from cluster.certificates import Pair, Wanted, fingerprints, make_authority, make_certificate, why_renew
from cluster.errors import ClusterError
from cluster.survey import HostSurvey, parse_survey
from cluster.vault import Vault

FORMER, NEW = make_authority("shop etcd"), make_authority("shop etcd")
BOTH = FORMER.certificate + NEW.certificate
# What etcd-ca.crt holds, and the key beside it.
STEPS = {
    "former": Pair(FORMER.key, FORMER.certificate),
    "former, new": Pair(FORMER.key, BOTH),
    "new, former": Pair(NEW.key, NEW.certificate + FORMER.certificate),
    "new": Pair(NEW.key, NEW.certificate),
}
WAY = list(itertools.pairwise(STEPS))


@dataclass(frozen=True)
class Host:
    """A host that was deployed with an authority."""

    authority: Pair

    def context(self, folder: Path, purpose: ssl.Purpose) -> ssl.SSLContext:
        pair = make_certificate(Wanted("db1", ("db1",), 730), self.authority)
        (folder / "pair.pem").write_bytes(pair.certificate + pair.key)
        made = ssl.create_default_context(purpose, cadata=self.authority.certificate.decode())
        made.load_cert_chain(folder / "pair.pem")
        made.verify_mode = ssl.CERT_REQUIRED
        return made


def connects(client: Host, server: Host, folder: Path) -> bool:
    """Whether both take each other's certificate."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.context(folder, ssl.Purpose.SERVER_AUTH).wrap_bio(to_client, to_server, server_hostname="db1"),
        server.context(folder, ssl.Purpose.CLIENT_AUTH).wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 4:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return True


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(STEPS, 2)))
def test_a_deploy_goes_on_where_hosts_before_and_after_it_know_each_other(tmp_path: Path, before: str, after: str) -> None:
    has, wanted = STEPS[before], STEPS[after]
    found = list(problems("secrets/shop", {"etcd": wanted.certificate}, {"db1": on_host(has.certificate)}))
    known = connects(Host(has), Host(wanted), tmp_path) and connects(Host(wanted), Host(has), tmp_path)
    assert (found == []) == known
    if (before, after) in WAY:
        assert known


def on_host(certificates: bytes, name: str = "etcd") -> HostSurvey:
    return HostSurvey(authorities=((name, certificates),))


def test_the_file_the_hosts_and_the_way_are_named() -> None:
    surveys = {"db2": on_host(FORMER.certificate), "db1": on_host(BOTH), "db3": on_host(b""), "db4": HostSurvey()}
    (unknown,) = problems("secrets/shop", {"etcd": STEPS["new, former"].certificate}, surveys)
    assert unknown.startswith("secrets/shop/etcd-ca.crt begins with the certificate of an authority that db2 does not trust yet:")
    (missing,) = problems("secrets/shop", {"etcd": NEW.certificate}, surveys)
    assert missing.startswith("secrets/shop/etcd-ca.crt lacks the certificate of the authority by which db1, db2 is known:")
    assert unknown.endswith("(docs/runbook.md, A new certificate authority)")
    assert list(problems("secrets/shop", {"etcd": NEW.certificate}, {"db1": on_host(FORMER.certificate, "postgres")})) == []


def test_what_a_host_says_of_its_authorities_is_read() -> None:
    read = parse_survey(["authority etcd YQ==", "authority etcd YWI=", "authority postgres", "place x /a b"], 0.0)
    assert read.authorities == (("etcd", b"a"), ("etcd", b"ab"), ("postgres", b""))
    assert read.places == (("x", "/a b"),)
    assert [len(fingerprints(text)) for text in (b"", b"nonsense", FORMER.certificate, BOTH)] == [0, 0, 1, 2]


def test_only_a_new_first_certificate_has_all_others_made_anew() -> None:
    wanted = Wanted("db1", ("db1",), 730)
    pair = make_certificate(wanted, STEPS["former"])
    assert [why_renew(pair, wanted, one) is None for one in STEPS.values()] == [True, True, False, False]
    assert why_renew(Pair(pair.key, b"nonsense"), wanted, FORMER) == "it can't be read"
    assert why_renew(Pair(FORMER.key, pair.certificate), wanted, FORMER) == "it is not its key's"


BEGIN, *MIDDLE, END = NEW.certificate.splitlines(keepends=True)
# What somebody may have put beside the first certificate: the half of one, on the same line, a key, a host's, and what is none.
NO_AUTHORITIES = (
    b"".join([BEGIN, *MIDDLE[:4]]),
    NEW.certificate.replace(b"-----BEGIN", b"----------BEGIN"),
    NEW.key,
    make_certificate(Wanted("db1", ("db1",), 730), NEW).certificate,
    BEGIN + b"AAAA\n" + END,
)


def rsa_key() -> bytes:
    plain = serialization.NoEncryption()
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@pytest.mark.parametrize(
    ("key", "certificate", "why"),
    [
        (FORMER.key, b"nonsense", "should be a key without a passphrase and its certificate"),
        (b"nonsense", FORMER.certificate, "should be a key without a passphrase and its certificate"),
        (rsa_key(), FORMER.certificate, "should be a key of an elliptic curve"),
        (NEW.key, BOTH, "the first certificate should be the key's"),
        (*vars(make_certificate(Wanted("db1", ("db1",), 730), NEW)).values(), "should be an authority's (CA:TRUE)"),
        *((FORMER.key, FORMER.certificate + beside, "should be whole certificates of authorities") for beside in NO_AUTHORITIES),
    ],
)
def test_an_authority_that_can_sign_nothing_is_refused_by_its_file(
    tmp_path: Path, key: bytes, certificate: bytes, why: str
) -> None:
    shop = cluster(secrets_directory=str(tmp_path))
    Vault(shop, {}).save()
    for kind, content in (("key", key), ("crt", certificate)):
        (tmp_path / f"shop/etcd-ca.{kind}").write_bytes(content)
    with pytest.raises(ClusterError) as raised:
        Vault(shop, {})
    assert f"{tmp_path}/shop/etcd-ca.key and .crt: " in str(raised.value)
    assert why in str(raised.value)
