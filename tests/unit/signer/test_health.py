"""Health: a real signature over one fixed text, verified, at most every 30 seconds."""

from datetime import datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signer.errors import OwnSignatureInvalid, PayloadRefused, PermitAlreadySpent
from signer.health import OWNER, HealthCheck
from signer.payload import (
    CHECKPOINT_PURPOSES,
    Payload,
    Purpose,
    audit_checkpoint_payload,
    checkpoint_payload,
    health_payload,
    login_challenge_payload,
    ocsp_response_payload,
)
from signer.permit import SigningPermit, spend_permit
from tests.support.certificates import NOW
from tests.support.software_signer import SoftwareBackend
from tests.unit.signer.test_permit import Stopwatch

HALF_A_MINUTE = 30.0


class Patient:
    """A key in memory, and its check."""

    def __init__(self, purpose: Purpose = Purpose.AUDIT) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self.backend = SoftwareBackend({purpose: key})
        self.stopwatch = Stopwatch()
        self.failures: list[Exception] = []
        self.check = HealthCheck(purpose, self.answering_backend, stopwatch=self.stopwatch)

    def answering_backend(self, _at: datetime) -> SoftwareBackend:
        if self.failures:
            raise self.failures[0]
        return self.backend


def test_a_key_that_signs_is_well() -> None:
    patient = Patient()
    health = patient.check.run(NOW)
    assert (health.purpose, health.checked_at, health.is_well) == (Purpose.AUDIT, NOW, True)
    [(payload, owner, _)] = patient.backend.signed
    assert (payload, owner) == (health_payload(Purpose.AUDIT), OWNER)


def test_whoever_asks_often_gets_the_last_result() -> None:
    patient = Patient()
    first = patient.check.run(NOW)
    patient.stopwatch.seconds += HALF_A_MINUTE - 0.01
    assert patient.check.run(NOW + timedelta(days=1)) is first
    assert len(patient.backend.signed) == 1
    patient.stopwatch.seconds += 0.01
    assert patient.check.run(NOW + timedelta(days=1)).checked_at == NOW + timedelta(days=1)
    assert len(patient.backend.signed) == 2


def test_a_failed_check_is_not_repeated_sooner() -> None:
    patient = Patient()
    patient.failures.append(TimeoutError("secret"))
    health = patient.check.run(NOW)
    assert (health.is_well, health.failure) == (False, "TimeoutError")
    patient.failures.clear()
    assert patient.check.run(NOW) is health
    patient.stopwatch.seconds += HALF_A_MINUTE
    assert patient.check.run(NOW).is_well


def test_a_signature_that_does_not_verify_is_no_health() -> None:
    patient = Patient()

    def sign(*_: object, **__: object) -> None:
        raise OwnSignatureInvalid("by AUDIT")

    patient.backend.sign = sign  # type: ignore[method-assign, assignment]
    assert patient.check.run(NOW).failure == "OwnSignatureInvalid"


def test_its_permit_is_good_once_and_for_this_text_alone() -> None:
    permits: list[tuple[SigningPermit, Payload]] = []
    patient = Patient()
    inner = patient.backend.sign

    def sign(permit: SigningPermit, payload: Payload, **more: object) -> object:
        permits.append((permit, payload))
        return inner(permit, payload, at=NOW)

    patient.backend.sign = sign  # type: ignore[method-assign, assignment]
    assert patient.check.run(NOW).is_well
    [(permit, payload)] = permits
    with pytest.raises(PermitAlreadySpent):
        spend_permit(permit, payload, at=NOW)


@pytest.mark.parametrize("purpose", Purpose)
def test_the_text_is_nothing_that_any_key_signs_otherwise(purpose: Purpose) -> None:
    text = health_payload(purpose).message
    assert text == b"tamga/health/1\x00" + purpose.value.encode()
    with pytest.raises(PayloadRefused):
        login_challenge_payload(text)
    origin = text.decode()
    for log_purpose in CHECKPOINT_PURPOSES:
        with pytest.raises(PayloadRefused):
            checkpoint_payload(log_purpose, origin, text)
    with pytest.raises(PayloadRefused):
        audit_checkpoint_payload(Purpose.AUDIT, f"audit.{origin}", text)
    with pytest.raises(PayloadRefused):
        ocsp_response_payload(Purpose.OCSP_CITIZEN_CA, text)


def test_every_key_has_a_text_of_its_own() -> None:
    assert len({health_payload(purpose).message for purpose in Purpose}) == len(Purpose)


def test_an_ed25519_key_is_checked_as_well() -> None:
    patient = Patient(Purpose.RECEIPT_LOG_ED25519)
    patient.backend.keys[Purpose.RECEIPT_LOG_ED25519] = ed25519.Ed25519PrivateKey.generate()
    assert patient.check.run(NOW).is_well
