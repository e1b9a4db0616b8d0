"""The NIST path validation suite (PKITS): its cases, and the product's verdict on each."""

import json
import ssl
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.certificate import ReadCertificate, read_certificate
from ocsp.crl.judging import CrlFreshness, CrlSet, judge_by_crls
from ocsp.crl.reading import ReadCrl, read_crl
from ocsp.errors import CertificatePolicyMissing, TrustError
from ocsp.known_issuers import ANY_POLICY
from ocsp.names import comparable
from ocsp.path_building import Path as CertificatePath
from ocsp.path_engine import PathEngine
from ocsp.path_judging import PolicyInputs

PKITS = Path(__file__).parents[3] / "shared" / "vectors" / "pkits"
needs_pkits = pytest.mark.skipif(
    not PKITS.exists(), reason="the NIST test vectors are not beside this checkout"
)

FRESHNESS = CrlFreshness(skew=timedelta(0), max_age=timedelta(days=3650))


@dataclass(frozen=True)
class PkitsCase:
    """One sub-case; certificates and lists by name.

    `constrained` is the user-constrained-policy-set that a valid path has (RFC 5280 section 6.1.6).
    """

    number: str
    certificates: tuple[str, ...]
    crls: tuple[str, ...]
    policies: PolicyInputs
    constrained: frozenset[str]
    at: datetime
    should_validate: bool


@cache
def cases() -> tuple[PkitsCase, ...]:
    if not PKITS.exists():
        return ()
    suite = json.loads((PKITS / "cases.json").read_bytes())
    at = datetime.fromisoformat(suite["time"]).astimezone(UTC)
    return tuple(_case(case, suite["oids"], at) for case in suite["cases"])


def _case(case: dict[str, Any], oids: Mapping[str, str], at: datetime) -> PkitsCase:
    return PkitsCase(
        number=case["number"],
        certificates=tuple(case["certs"]),
        crls=tuple(case["crls"]),
        policies=PolicyInputs(
            frozenset(oids[name] for name in case["initial_policy_set"]),
            explicit=case["initial_explicit_policy"],
            inhibit_mapping=case["initial_policy_mapping_inhibit"],
            inhibit_any=case["initial_inhibit_any_policy"],
        ),
        constrained=frozenset(oids[name] for name in case["user_constrained_policy_set"]),
        at=at,
        should_validate=case["should_validate"],
    )


def certificate_der(name: str) -> bytes:
    return (PKITS / "certs" / f"{name}.crt").read_bytes()


@cache
def _read(name: str) -> ReadCertificate:
    return read_certificate(certificate_der(name))


@cache
def _read_crl(name: str) -> ReadCrl:
    return read_crl((PKITS / "crls" / f"{name}.crl").read_bytes())


@cache
def _by_subject() -> Mapping[Any, tuple[ReadCertificate, ...]]:
    """Every certificate of the suite that is readable here."""
    found: dict[Any, tuple[ReadCertificate, ...]] = {}
    for file in sorted((PKITS / "certs").glob("*.crt")):
        try:
            read = _read(file.stem)
        except TrustError:
            continue
        name = comparable(read.certificate.subject)
        found[name] = (*found.get(name, ()), read)
    return found


def validate(case: PkitsCase) -> CertificatePath:
    """The case's path with the status of all its members; raises TrustError."""
    read = _read(case.certificates[-1])
    crls = tuple(_read_crl(name) for name in case.crls)
    issuers = _issuers_of(crls)
    engine = _engine(case, issuers)

    def find_signers_path(signer: ReadCertificate, at: datetime) -> CertificatePath:
        anything = PolicyInputs(frozenset({ANY_POLICY}), explicit=False)
        return engine.find_in_full(signer, anything, at, purposes=frozenset())

    path = engine.find_in_full(read, case.policies, case.at, purposes=frozenset())
    at_hand = CrlSet(
        crls, tuple(issuers.values()), find_signers_path, FRESHNESS, checks_signers=True
    )
    for index in range(len(path) - 1):
        finding = judge_by_crls(path[index:], at_hand, case.at)
        if finding.entry is not None:
            raise MemberRevoked(path[index].certificate.subject.rfc4514_string())
    return path


def _issuers_of(crls: Iterable[ReadCrl]) -> dict[bytes, ReadCertificate]:
    """Issuers of lists, those that are not on the path too: separate CRL keys, indirect CRLs."""
    return {c.der: c for crl in crls for c in _by_subject().get(crl.issuer, ())}


def _engine(case: PkitsCase, others: Mapping[bytes, ReadCertificate]) -> PathEngine:
    root, *intermediates = (_read(name) for name in case.certificates[:-1])
    candidates = {**{c.der: c for c in intermediates}, **others}
    candidates.pop(root.der, None)
    return PathEngine(
        roots=(root.der,),
        intermediates=tuple(candidates),
        max_depth=8,
        budget=timedelta(seconds=60),
    )


def constrained_policies(case: PkitsCase) -> frozenset[str]:
    """Those of the user's policies for each of which alone the case's path is valid.

    So they are found out as a login does: by requiring them.
    """
    engine, read = _engine(case, {}), _read(case.certificates[-1])

    def is_valid_for(oid: str) -> bool:
        alone = replace(case.policies, initial=frozenset({oid}), explicit=True)
        try:
            engine.find_in_full(read, alone, case.at, purposes=frozenset())
        except CertificatePolicyMissing:
            return False
        return True

    return frozenset(oid for oid in users_policies(case) if is_valid_for(oid))


def users_policies(case: PkitsCase) -> frozenset[str]:
    """The user-initial-policy-set, with the suite's policies in the place of anyPolicy."""
    initial = case.policies.initial
    return suites_policies() if ANY_POLICY in initial else initial


@cache
def suites_policies() -> frozenset[str]:
    """All that a certificate of the suite may name."""
    oids: dict[str, str] = json.loads((PKITS / "cases.json").read_bytes())["oids"]
    return frozenset(oids.values()) - {ANY_POLICY}


def openssl_accepts(case: PkitsCase, directory: Path) -> bool:
    """What `openssl verify` says about the case, with the same inputs."""
    root, *intermediates, target = case.certificates
    crls = [(PKITS / "crls" / f"{name}.crl").read_bytes() for name in case.crls]
    loaded = [x509.load_der_x509_crl(der) for der in crls]
    issuers = {comparable(crl.issuer) for crl in loaded}
    more = [c.der for name in issuers for c in _by_subject().get(name, ())]
    untrusted = [*(certificate_der(name) for name in intermediates), *more]
    files = {
        "CAfile": [ssl.DER_cert_to_PEM_cert(certificate_der(root))],
        "untrusted": [ssl.DER_cert_to_PEM_cert(der) for der in untrusted],
        "CRLfile": [crl.public_bytes(Encoding.PEM).decode() for crl in loaded],
        "target": [ssl.DER_cert_to_PEM_cert(certificate_der(target))],
    }
    for name, pems in files.items():
        (directory / name).write_text("".join(pems))
    policies = case.policies
    flags = {
        "-explicit_policy": policies.explicit,
        "-inhibit_map": policies.inhibit_mapping,
        "-inhibit_any": policies.inhibit_any,
    }
    command = [
        "openssl",
        "verify",
        *("-no-CApath", "-no-CAstore"),
        *("-attime", str(int(case.at.timestamp()))),
        *("-policy_check", "-crl_check_all", "-extended_crl", "-use_deltas"),
        *(part for oid in sorted(policies.initial) for part in ("-policy", oid)),
        *(flag for flag, is_set in flags.items() if is_set),
        *(part for name in ("CAfile", "CRLfile") for part in (f"-{name}", str(directory / name))),
        *(("-untrusted", str(directory / "untrusted")) if untrusted else ()),
        str(directory / "target"),
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class MemberRevoked(TrustError):
    """A member of the path is revoked."""
