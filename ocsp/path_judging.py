"""One complete path judged by RFC 5280 section 6.1: pyhanko-certvalidator, kept on a short lead.

A question is bytes and a verdict is text, so that both can cross to another process and back. The
library gets the certificates of this one path, no network, no clock, and no say about revocation:
that decision is ours and follows. Its exceptions end here.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from asn1crypto import x509 as asn1_x509
from pyhanko_certvalidator.authority import CertTrustAnchor
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    DisallowedAlgorithmError,
    ExpiredError,
    NotYetValidError,
    PathValidationError,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    CertRevTrustPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.registry import CertificateRegistry, SimpleTrustManager
from pyhanko_certvalidator.validate import async_validate_path

from ocsp.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotTrusted,
    CertificateNotYetValid,
    CertificatePolicyMissing,
    PathMember,
    PathUndecided,
    SignatureAlgorithmRefused,
)
from ocsp.known_issuers import ANY_POLICY

MAX_TEXT = 300
"""Characters of a verdict's text."""


@dataclass(frozen=True, slots=True)
class PolicyInputs:
    """The inputs (c), (e), (f) and (g) of RFC 5280 section 6.1.1.

    Attributes:
        initial: dotted OIDs of the user-initial-policy-set; anyPolicy is spelt out.
        explicit: initial-explicit-policy: the path must be valid for one of them.
        inhibit_mapping: initial-policy-mapping-inhibit.
        inhibit_any: initial-any-policy-inhibit.
    """

    initial: frozenset[str]
    explicit: bool = True
    inhibit_mapping: bool = False
    inhibit_any: bool = False


@dataclass(frozen=True, slots=True)
class PathQuestion:
    """One complete candidate path.

    Attributes:
        certificates: DER, the certificate first and the root last; at least two.
        policies: the policy inputs.
        at: the time for which it is judged.
    """

    certificates: tuple[bytes, ...]
    policies: PolicyInputs
    at: datetime


class Finding(StrEnum):
    """What was found out about a path."""

    VALID = "valid"
    MALFORMED = "malformed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    ALGORITHM_REFUSED = "algorithm refused"
    POLICY_MISSING = "policy missing"
    NOT_TRUSTED = "not trusted"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class PathVerdict:
    """The judge's answer.

    Attributes:
        finding: what was found.
        text: why, for a log.
        member: whose validity failed, for EXPIRED and NOT_YET_VALID.
        instant: the end or the start of that validity.
    """

    finding: Finding
    text: str = ""
    member: PathMember = PathMember.AUTHORITY
    instant: datetime | None = None

    def require_valid(self) -> None:
        """Return if the path is valid.

        Raises:
            CertificateRefused: by its subclasses.
            PathUndecided: it could not be found out.
        """
        match self.finding:
            case Finding.VALID:
                return
            case Finding.EXPIRED if self.instant:
                raise CertificateExpired(self.member, self.instant)
            case Finding.NOT_YET_VALID if self.instant:
                raise CertificateNotYetValid(self.member, self.instant)
            case Finding.MALFORMED:
                raise CertificateMalformed(self.text)
            case Finding.ALGORITHM_REFUSED:
                raise SignatureAlgorithmRefused(self.text)
            case Finding.POLICY_MISSING:
                raise CertificatePolicyMissing(self.text)
            case Finding.NOT_TRUSTED:
                raise CertificateNotTrusted(self.text)
            case _:
                raise PathUndecided(self.text)


PathJudge = Callable[[PathQuestion, float], PathVerdict]
"""Judges one path; the second argument is how many seconds it may take."""


def judge_here(question: PathQuestion, seconds: float) -> PathVerdict:  # noqa: ARG001 -- nobody can end a computation of one's own process
    """A `PathJudge` in this process: for tools and tests; a service asks a `JudgeProcess`."""
    return judge_path(question)


def judge_path(question: PathQuestion) -> PathVerdict:
    """Judge one path; whatever the certificates, it returns a verdict or does not return."""
    try:
        for member in _loaded(question):
            # RFC 5280 section 4.1.1.2; the library looks at the outer one only.
            inner, outer = member["tbs_certificate"]["signature"], member["signature_algorithm"]
            if inner.dump() != outer.dump():
                return PathVerdict(Finding.MALFORMED, "inner and outer signature algorithms differ")
        return asyncio.run(_judge(question))
    except Exception as e:  # noqa: BLE001 -- the library raises TypeError and more on odd extensions
        return PathVerdict(Finding.UNDECIDED, f"the path engine failed: {type(e).__name__}")


def _loaded(question: PathQuestion) -> list[asn1_x509.Certificate]:
    """Read anew each time: a look at some unique identifiers changes how `asn1crypto` encodes them.

    The signed bytes of a second look would be others.
    """
    return [asn1_x509.Certificate.load(der) for der in question.certificates]


async def _judge(question: PathQuestion) -> PathVerdict:
    try:
        await _validate(question, question.policies)
    except ExpiredError as e:
        return PathVerdict(Finding.EXPIRED, e.failure_msg, _member(e), e.expired_dt)
    except NotYetValidError as e:
        return PathVerdict(Finding.NOT_YET_VALID, e.failure_msg, _member(e), e.valid_from)
    except DisallowedAlgorithmError as e:
        return PathVerdict(Finding.ALGORITHM_REFUSED, e.failure_msg[:MAX_TEXT])
    except PathValidationError as e:
        if question.policies.explicit and await _lacks_policy_alone(question):
            return PathVerdict(Finding.POLICY_MISSING, "no required policy is valid for the path")
        return PathVerdict(Finding.NOT_TRUSTED, e.failure_msg[:MAX_TEXT])
    return PathVerdict(Finding.VALID)


async def _validate(question: PathQuestion, policies: PolicyInputs) -> None:
    members = _loaded(question)
    # Without the flag, validity, path length and name constraints of the root itself would be
    # ignored.
    anchor = CertTrustAnchor(members[-1], derive_default_quals_from_cert=True)
    path = ValidationPath(anchor, interm=members[-2:0:-1], leaf=members[0])
    context = ValidationContext(
        trust_manager=SimpleTrustManager.build(trust_roots=[anchor]),
        certificate_registry=CertificateRegistry.build(certs=(), cert_fetcher=None),
        moment=question.at,
        allow_fetching=False,
        revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
        time_tolerance=timedelta(0),
    )
    parameters = PKIXValidationParams(
        # The library names anyPolicy in words and every other policy by its dotted OID.
        user_initial_policy_set=frozenset(
            "any_policy" if oid == ANY_POLICY else oid for oid in policies.initial
        ),
        initial_explicit_policy=policies.explicit,
        initial_policy_mapping_inhibit=policies.inhibit_mapping,
        initial_any_policy_inhibit=policies.inhibit_any,
    )
    await async_validate_path(context, path, parameters=parameters)


async def _lacks_policy_alone(question: PathQuestion) -> bool:
    # The library tells a missing policy from a bad signature by its text alone: ask again
    # without the policies. The answer only names the refusal.
    try:
        await _validate(question, PolicyInputs(frozenset({ANY_POLICY}), explicit=False))
    except PathValidationError:
        return False
    return True


def _member(error: PathValidationError) -> PathMember:
    return PathMember.USER if error.is_ee_cert else PathMember.AUTHORITY
