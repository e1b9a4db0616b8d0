"""A certificate's status by CRLs, step by step: RFC 5280 section 6.3.3.

Pure: a valid path, lists, rules and a time go in; what the lists say comes out, or a refusal that
names the check. Fetching is others' business: step (a) is what is in the set.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509

from ocsp.certificate import ReadCertificate
from ocsp.crl.errors import (
    CrlAlgorithmRefused,
    CrlFromFuture,
    CrlMissing,
    CrlReasonsIncomplete,
    CrlSignatureInvalid,
    CrlSignerNotAuthorised,
    CrlStale,
)
from ocsp.crl.reading import CrlEntry, ReadCrl
from ocsp.crl.scope import (
    ALL_REASONS,
    completes,
    distribution_points,
    interim_reasons,
)
from ocsp.errors import CertificateRefused, CrlRefused, PathUndecided
from ocsp.names import comparable
from ocsp.path_building import Path
from ocsp.signature_algorithms import algorithm_identifier, scheme_of

MAX_CRLS = 32
"""Lists looked at for one certificate."""

MAX_SIGNERS = 8
"""Certificates tried as a CRL's signer, and signers of signers' CRLs in a row."""

PathFinder = Callable[[ReadCertificate, datetime], Path]
"""The valid path of a CRL signer; raises CertificateRefused or PathUndecided."""


@dataclass(frozen=True, slots=True)
class CrlFreshness:
    """How old a list may be.

    Attributes:
        skew: how far its issuer's clock may differ from ours.
        max_age: oldest acceptable thisUpdate, whatever nextUpdate says.
        hashes: hash names allowed in its signature.
    """

    skew: timedelta
    max_age: timedelta
    hashes: frozenset[str] = frozenset({"sha256", "sha384", "sha512"})


@dataclass(frozen=True, slots=True)
class CrlSet:
    """The lists at hand, and who may have signed them.

    Attributes:
        crls: complete and delta CRLs, read.
        signers: certificates of CRL signers other than the CAs of the path itself.
        find_path: validates a signer's path.
        freshness: how old the lists may be.
        checks_signers: a signer that is not on the path must be unlisted itself. False only where
            no lists of the CAs above are configured; one that is listed is refused then, too.
    """

    crls: tuple[ReadCrl, ...]
    signers: tuple[ReadCertificate, ...]
    find_path: PathFinder = field(repr=False)
    freshness: CrlFreshness
    checks_signers: bool


@dataclass(frozen=True, slots=True)
class CrlFinding:
    """What the lists say about one certificate.

    Attributes:
        entry: the entry that revokes or suspends it; None: not revoked for any reason.
        used: the lists that said so, in the order of use.
        signer_name: subject of the certificate that signed the last of them, RFC 4514.
    """

    entry: CrlEntry | None
    used: tuple[ReadCrl, ...]
    signer_name: str


@dataclass(frozen=True, slots=True)
class _Usable:
    """A complete CRL, with the delta that brings it up to date if there is one."""

    base: ReadCrl
    delta: ReadCrl | None
    signer: ReadCertificate

    def entry(self, certificate: x509.Certificate) -> CrlEntry | None:
        # (i), (j). The delta's word first, then the complete list's.
        changed = None if self.delta is None else self.delta.entry(certificate)
        found = changed or self.base.entry(certificate)
        # (k).
        if found is not None and found.reason is x509.ReasonFlags.remove_from_crl:
            return None
        return found

    @property
    def lists(self) -> tuple[ReadCrl, ...]:
        return (self.base,) if self.delta is None else (self.base, self.delta)


def judge_by_crls(
    path: Path, crls: CrlSet, at: datetime, *, assumed: frozenset[str] = frozenset()
) -> CrlFinding:
    """What the lists say about the first certificate of a valid path.

    Args:
        path: the certificate first, the root last; the CAs' own status is the caller's to check.
        crls: the lists at hand.
        at: the time of the check, in UTC.
        assumed: SHA-256 of certificates whose status is being decided further up; a list that
            lists its own signer cannot be judged otherwise.

    Raises:
        CrlRefused: by the subclass that names why the lists say nothing.
    """
    read = path[0]
    refusal: CrlRefused = CrlMissing("no CRL for the certificate's issuer and distribution points")
    covered: frozenset[x509.ReasonFlags] = frozenset()
    spoken: defaultdict[bytes, frozenset[x509.ReasonFlags]] = defaultdict(frozenset)
    used: tuple[_Usable, ...] = ()
    # (a). Complete lists, the newest first.
    complete = sorted(
        (crl for crl in crls.crls[:MAX_CRLS] if not crl.is_delta),
        key=lambda crl: crl.this_update,
        reverse=True,
    )
    for base, interim in _in_scope(read, complete):
        try:
            usable = _make_usable(base, path, crls, at, assumed)
        except CrlRefused as e:
            refusal = e
            continue
        # (e). Only if it adds any reason to what the same key said. A CA with a new key may list by
        # each key what that key issued: all must have spoken, and one that revokes is enough.
        _, key = usable.signer.authority
        if interim <= spoken[key]:
            continue
        used = (*used, usable)
        if usable.entry(read.certificate) is not None:
            break
        # (l).
        spoken[key] |= interim
        covered |= interim
    entry = used[-1].entry(read.certificate) if used else None
    if entry is not None or covered == ALL_REASONS:
        return CrlFinding(
            entry,
            tuple(crl for usable in used for crl in usable.lists),
            used[-1].signer.certificate.subject.rfc4514_string(),
        )
    if covered:
        missing = ", ".join(sorted(str(reason.value) for reason in ALL_REASONS - covered))
        refusal = CrlReasonsIncomplete(f"no CRL for the reasons {missing}")
    raise refusal


def _in_scope(
    read: ReadCertificate, complete: list[ReadCrl]
) -> list[tuple[ReadCrl, frozenset[x509.ReasonFlags]]]:
    """The lists that speak about the certificate, and for which reasons: steps (b) and (d)."""
    points = distribution_points(read)
    reasons = ((base, [interim_reasons(base, read, p) for p in points]) for base in complete)
    found = ((base, frozenset[x509.ReasonFlags]().union(*each)) for base, each in reasons)
    return [(base, interim) for base, interim in found if interim]


def _make_usable(
    base: ReadCrl, path: Path, crls: CrlSet, at: datetime, assumed: frozenset[str]
) -> _Usable:
    # (f), (g). Signed by somebody who may.
    signer = _signer_of(base, path, crls, at, assumed)
    # (c), (h). The newest delta for it that the same key signed and that is current.
    deltas = [crl for crl in crls.crls[:MAX_CRLS] if completes(crl, base)]
    for delta in sorted(deltas, key=lambda crl: crl.this_update, reverse=True):
        try:
            check_freshness(delta, crls.freshness, at)
            if not _is_signed_by(delta, signer, crls.freshness):
                continue
        except CrlRefused:
            continue
        # A current delta makes up for a complete list whose time is over (step (a)(1)(i)).
        return _Usable(base, delta, signer)
    check_freshness(base, crls.freshness, at)
    return _Usable(base, None, signer)


def check_freshness(crl: ReadCrl, freshness: CrlFreshness, at: datetime) -> None:
    """Refuse a list that is not current.

    Raises:
        CrlFromFuture, CrlStale: with the instants.
    """
    latest, earliest = at + freshness.skew, at - freshness.skew
    if crl.this_update > latest:
        raise CrlFromFuture(f"thisUpdate {crl.this_update} is after {at}")
    if crl.next_update < earliest:
        raise CrlStale(f"nextUpdate {crl.next_update} has passed at {at}")
    if at - crl.this_update > freshness.max_age:
        raise CrlStale(f"thisUpdate {crl.this_update} is older than {freshness.max_age} at {at}")


def _signer_of(
    crl: ReadCrl, path: Path, crls: CrlSet, at: datetime, assumed: frozenset[str]
) -> ReadCertificate:
    on_path = {member.der for member in path[1:]}
    # By their bytes: the CAs of the path are among the store's as well.
    candidates = {m.der: m for m in (*path[1:], *crls.signers) if _is_subject(m, crl)}
    if not candidates:
        raise CrlSignerNotAuthorised("no certificate of the CRL's issuer at hand")
    refusal: CrlRefused = CrlSignatureInvalid("not signed by a certificate of the CRL's issuer")
    for candidate in list(candidates.values())[:MAX_SIGNERS]:
        if not _is_signed_by(crl, candidate, crls.freshness):
            continue
        try:
            _check_crl_sign(candidate)
            if candidate.der not in on_path:
                _check_signer_path(candidate, path, crls, at, assumed)
        except CrlSignerNotAuthorised as e:
            refusal = e
        else:
            return candidate
    raise refusal


def _is_subject(candidate: ReadCertificate, crl: ReadCrl) -> bool:
    return comparable(candidate.certificate.subject) == crl.issuer


def _is_signed_by(crl: ReadCrl, signer: ReadCertificate, freshness: CrlFreshness) -> bool:
    """The list's signature is the signer's.

    Raises:
        CrlAlgorithmRefused: its algorithm is not allowed.
    """
    oid = crl.crl.signature_algorithm_oid
    scheme = scheme_of(oid, lambda: algorithm_identifier(crl.der), freshness.hashes)
    if scheme is None:
        raise CrlAlgorithmRefused(f"signature algorithm {oid.dotted_string}")
    if not isinstance(signer.public_key, scheme.key_type):
        return False
    try:
        return crl.crl.is_signature_valid(signer.public_key)
    except (ValueError, TypeError):
        # What the library has against it.
        return False


def _check_crl_sign(signer: ReadCertificate) -> None:
    """Step (f): if the key usage extension is present, it has cRLSign."""
    usage = signer.extension(x509.KeyUsage)
    if usage is not None and not usage.crl_sign:
        raise CrlSignerNotAuthorised("the KeyUsage of the CRL's signer lacks cRLSign")


def _check_signer_path(
    signer: ReadCertificate, path: Path, crls: CrlSet, at: datetime, assumed: frozenset[str]
) -> None:
    """Step (f): a valid path to the same trust anchor, nobody on it revoked."""
    known = assumed | {member.sha256 for member in path}
    if len(assumed) > MAX_SIGNERS:
        raise CrlSignerNotAuthorised("too many signers whose status hangs on each other's CRLs")
    try:
        found = crls.find_path(signer, at)
    except (CertificateRefused, PathUndecided) as e:
        raise CrlSignerNotAuthorised(f"the CRL's signer has no valid path: {e}") from e
    if found[-1].authority != path[-1].authority:
        raise CrlSignerNotAuthorised("the CRL's signer is below another root")
    for index, member in enumerate(found[:-1]):
        if member.sha256 in known:
            continue
        try:
            own = judge_by_crls(found[index:], crls, at, assumed=known | {member.sha256})
        except CrlRefused as e:
            if not crls.checks_signers:
                continue
            raise CrlSignerNotAuthorised(f"the signer's own status is not known: {e}") from e
        if own.entry is not None:
            raise CrlSignerNotAuthorised("the CRL's signer is revoked")
