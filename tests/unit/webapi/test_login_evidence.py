"""A stored login judged again by an auditor who has the database's row and the root, no more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.x509 import ocsp
from flask.testing import FlaskClient
from sqlalchemy import select

from tests.support.certificates import NOW
from tests.support.login import ORIGIN
from tests.support.web import Site, draw, login_body, send
from webapi.storage.evidence import SqlEvidenceStore, login_evidence


@dataclass(frozen=True)
class SignedIn:
    """A login that was accepted: the challenge that it answered, and the row that is left of it."""

    nonce: str
    row: dict[str, Any]  # columns of several types


@pytest.fixture
def signed_in(site: Site, client: FlaskClient) -> SignedIn:
    challenge = draw(client)
    response = send(client, "/auth/login", login_body(challenge, site.pki.leaf))
    assert response.status_code == 200, response.text
    with site.engine.begin() as connection:
        row = connection.execute(select(login_evidence)).mappings().one()
    return SignedIn(challenge["nonce"], dict(row))


def judge_possession(row: dict[str, Any]) -> None:
    """RFC 7518 section 3.4 over H(origin) || H(nonce), as the Web eID format has it."""
    assert row["algorithm"] == "ES256"
    leaf = x509.load_pem_x509_certificates(row["certificates_pem"].encode())[0]
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(half, "big") for half in (row["signature"][:32], row["signature"][32:]))
    message = sha256(row["origin"].encode()).digest() + sha256(row["nonce"].encode()).digest()
    key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))


def judge_status(row: dict[str, Any]) -> None:
    """RFC 6960 section 3.2: by a delegate of the issuer, about this certificate, good then."""
    leaf, issuer, *_ = x509.load_pem_x509_certificates(row["certificates_pem"].encode())
    answer = ocsp.load_der_ocsp_response(row["ocsp_response"])
    delegate = answer.certificates[0]
    delegate.verify_directly_issued_by(issuer)
    key = delegate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))
    assert answer.serial_number == leaf.serial_number
    assert answer.certificate_status is ocsp.OCSPCertStatus.GOOD
    assert answer.this_update_utc == datetime.fromtimestamp(row["this_update"], UTC)
    assert row["ocsp_nonce_matched"]
    assert answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("signature", lambda value: value[:-1] + bytes([value[-1] ^ 1])),
        ("origin", lambda value: value + ":8443"),
        ("nonce", lambda value: value[::-1]),
    ],
)
def test_a_changed_row_is_found_out(
    signed_in: SignedIn, column: str, change: Callable[[Any], Any]
) -> None:
    row = signed_in.row | {column: change(signed_in.row[column])}
    with pytest.raises(InvalidSignature):
        judge_possession(row)


def test_the_decision_can_be_judged_again_from_the_row_alone(signed_in: SignedIn) -> None:
    judge_possession(signed_in.row)
    judge_status(signed_in.row)
    assert (signed_in.row["origin"], signed_in.row["nonce"]) == (ORIGIN, signed_in.nonce)


def test_the_path_in_the_row_leads_to_the_root(site: Site, signed_in: SignedIn) -> None:
    path = x509.load_pem_x509_certificates(signed_in.row["certificates_pem"].encode())
    assert path[-1] == site.pki.root.certificate
    for certificate, issuer in pairwise(path):
        certificate.verify_directly_issued_by(issuer)


def test_the_store_gives_the_record_back(site: Site, signed_in: SignedIn) -> None:
    store = SqlEvidenceStore(site.engine)
    evidence = store.find(signed_in.row["evidence_id"])
    assert evidence is not None
    for name in ("signature", "origin", "nonce", "ocsp_response", "ocsp_nonce_matched"):
        assert getattr(evidence, name) == signed_in.row[name]
    pki = site.pki
    assert evidence.certificates == tuple(
        item.der for item in (pki.leaf, pki.citizen_ca, pki.national_ca, pki.root)
    )
    assert evidence.decided_at == NOW
    assert store.find("0" * 32) is None
