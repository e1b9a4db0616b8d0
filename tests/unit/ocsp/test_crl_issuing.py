"""Lists: who may not sign them, what a delta list must say, and what others read in them."""

import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.crl_issuing import (
    Changed,
    CrlIssuer,
    CrlTimes,
    Listed,
    Removed,
    changes_since,
    complete_crl,
    delta_crl,
    entries_of,
)
from ocsp.responder.statuses import IssuedRevoked, IssuedSuspended, RevocationReason
from tests.support.certificates import (
    NOW,
    CertificateSpec,
    Issued,
    development_like_pki,
    issue,
    key_usage,
    lists_spec,
    private_key,
)

PKI = development_like_pki()
CA = PKI.citizen_ca
TIMES = CrlTimes(1_000, NOW, NOW + timedelta(days=1))
DELTA_URL = "http://crl.example/citizen.delta.crl"
BEFORE = NOW - timedelta(days=2)
REVOKED = IssuedRevoked(BEFORE, RevocationReason.KEY_COMPROMISE)
HELD = IssuedSuspended(BEFORE)


def crl_spec(**changes: Any) -> CertificateSpec:
    return replace(lists_spec(CA, PKI.national_ca), **changes)


def issuer(issued: Issued | None = None, **changes: Any) -> CrlIssuer:
    made = issued or issue(crl_spec())
    fields = {"authority": CA.certificate, "certificate": made.certificate, "key": made.key}
    return CrlIssuer(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": PKI.national_ca.certificate.subject},
        {"key_usage": key_usage("digital_signature")},
        {"key_usage": None},
    ],
)
def test_a_certificate_that_is_not_for_the_lists_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ResponderMisconfigured):
        issuer(issue(crl_spec(**changes)))


def test_a_key_of_another_certificate_is_refused() -> None:
    with pytest.raises(ResponderMisconfigured, match="key"):
        issuer(key=private_key("another"))


def test_an_issuer_signs_while_its_certificate_is_valid() -> None:
    made = issuer()
    end = made.certificate.not_valid_after_utc
    assert not made.can_sign(end)
    assert made.can_sign(end - timedelta(seconds=1))
    assert not made.can_sign(made.certificate.not_valid_before_utc - timedelta(seconds=1))


def test_a_complete_list_says_what_was_put_in() -> None:
    listed: dict[int, Listed] = {
        7: REVOKED,
        8: HELD,
        9: IssuedRevoked(BEFORE, RevocationReason.UNSPECIFIED),
    }
    made = issuer()
    der = complete_crl(made, listed, TIMES, delta_url=DELTA_URL)
    crl = x509.load_der_x509_crl(der)
    assert crl.is_signature_valid(made.certificate.public_key())  # type: ignore[arg-type]
    assert crl.issuer == CA.certificate.subject
    assert (crl.last_update_utc, crl.next_update_utc) == (NOW, NOW + timedelta(days=1))
    number = crl.extensions.get_extension_for_class(x509.CRLNumber)
    assert (number.value.crl_number, number.critical) == (1_000, False)
    authority = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    subject = made.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert authority.key_identifier == subject.digest
    (point,) = crl.extensions.get_extension_for_class(x509.FreshestCRL).value
    assert point.full_name == [x509.UniformResourceIdentifier(DELTA_URL)]
    assert entries_of(der) == listed
    entry = crl.get_revoked_certificate_by_serial_number(9)
    assert entry is not None
    assert len(entry.extensions) == 0


def test_a_delta_list_names_its_base_critically() -> None:
    changed: dict[int, Changed] = {7: REVOKED, 8: Removed(BEFORE)}
    der = delta_crl(issuer(), changed, TIMES, base_number=900)
    indicator = x509.load_der_x509_crl(der).extensions.get_extension_for_class(
        x509.DeltaCRLIndicator
    )
    assert (indicator.value.crl_number, indicator.critical) == (900, True)
    assert entries_of(der) == changed


HELD_AGAIN = IssuedSuspended(NOW)
SUPERSEDED = IssuedRevoked(NOW, RevocationReason.SUPERSEDED)
CHANGES: dict[str, tuple[dict[int, Any], dict[int, Any], dict[int, Any], dict[int, Changed]]] = {
    "nothing": ({7: REVOKED}, {}, {7: REVOKED}, {}),
    "new": ({}, {}, {7: REVOKED, 8: HELD}, {7: REVOKED, 8: HELD}),
    "held, then revoked": ({7: HELD}, {}, {7: SUPERSEDED}, {7: SUPERSEDED}),
    "released": ({7: HELD}, {}, {}, {7: Removed(BEFORE)}),
    "held again": (
        {7: HELD},
        {7: Removed(BEFORE)},
        {7: IssuedSuspended(NOW)},
        {7: IssuedSuspended(NOW)},
    ),
    "held and released since": ({}, {7: HELD}, {}, {7: Removed(BEFORE)}),
    "released long since": ({}, {7: Removed(BEFORE)}, {}, {7: Removed(BEFORE)}),
}


@pytest.mark.parametrize(("base", "last", "present", "told"), CHANGES.values(), ids=CHANGES)
def test_a_delta_list_tells_what_changed_since_its_base(
    base: dict[int, Any], last: dict[int, Any], present: dict[int, Any], told: dict[int, Changed]
) -> None:
    assert changes_since(base, last, present) == told


def pem_of(crl_der: bytes) -> bytes:
    return x509.load_der_x509_crl(crl_der).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("deltas", [True, False], ids=["with the first delta", "no deltas"])
@pytest.mark.parametrize("is_revoked", [True, False])
def test_openssl_believes_a_list_by_a_key_of_its_own(
    tmp_path: Path, is_revoked: bool, deltas: bool
) -> None:
    made = issue(crl_spec())
    serial = PKI.leaf.certificate.serial_number
    listed = {serial: REVOKED} if is_revoked else {}
    lists = complete_crl(issuer(made), listed, TIMES, delta_url=DELTA_URL if deltas else None)
    # As the first is: it changes nothing, and bears the complete list's number.
    empty = delta_crl(issuer(made), {}, TIMES, base_number=TIMES.number)
    (tmp_path / "root.pem").write_bytes(PKI.root.certificate.public_bytes(Encoding.PEM))
    certificates = (PKI.national_ca, CA, made)
    (tmp_path / "chain.pem").write_bytes(
        b"".join(issued.certificate.public_bytes(Encoding.PEM) for issued in certificates)
    )
    (tmp_path / "crl.pem").write_bytes(pem_of(lists) + (pem_of(empty) if deltas else b""))
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(PKI.leaf.certificate.public_bytes(Encoding.PEM))
    command = ["openssl", "verify", "-attime", str(int(NOW.timestamp())), "-crl_check"]
    command += ["-extended_crl", "-CAfile", str(tmp_path / "root.pem")]
    command += ["-untrusted", str(tmp_path / "chain.pem")]
    command += ["-CRLfile", str(tmp_path / "crl.pem"), *(["-use_deltas"] if deltas else [])]
    command.append(str(leaf))
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ("certificate revoked" in done.stdout + done.stderr) is is_revoked
    assert (done.returncode == 0) is not is_revoked
