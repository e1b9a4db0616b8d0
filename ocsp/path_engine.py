"""Finds one valid path from a fixed root to a certificate, at a bounded cost.

Candidates come from `path_building` in a counted number of steps; each is judged by itself
(`path_judging`), within what is left of the time budget, and no more than MAX_PATHS of them.
"""

import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from ocsp.certificate import ReadCertificate, read_certificate
from ocsp.errors import (
    CertificateNotTrusted,
    CertificateRefused,
    ConfigurationInvalid,
    PathUndecided,
)
from ocsp.known_issuers import KnownIssuer, known_issuer
from ocsp.path_building import Path, PathBuilder, StepBudget
from ocsp.path_guards import check_path
from ocsp.path_judging import PathJudge, PathQuestion, PolicyInputs, judge_here

LOGIN_PURPOSES = frozenset({ExtendedKeyUsageOID.CLIENT_AUTH})
"""What a user's certificate is used for here."""

MAX_PATHS = 8
"""Candidate paths judged for one certificate; a fixed store with cross-certificates has 2 or 3."""


class PathEngine:
    """Finds one valid path from a fixed root to a certificate."""

    def __init__(
        self,
        *,
        roots: tuple[bytes, ...],
        intermediates: tuple[bytes, ...],
        max_depth: int,
        budget: timedelta,
        judge: PathJudge = judge_here,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._builder = PathBuilder(
            roots=[read_certificate(der) for der in roots],
            intermediates=[read_certificate(der) for der in intermediates],
        )
        self._max_depth = max_depth
        self._budget_seconds = budget.total_seconds()
        self._judge = judge
        self._stopwatch = stopwatch
        self._lock = threading.Lock()
        # By issuer name; at most one entry per path through the fixed store.
        self._known: dict[bytes, tuple[KnownIssuer, ...]] = {}

    def find_path(
        self,
        read: ReadCertificate,
        *,
        policies: frozenset[str],
        at: datetime,
        anchors: frozenset[bytes],
        offered: Iterable[ReadCertificate] = (),
    ) -> Path:
        """The first valid path, the certificate first and the root last.

        Args:
            read: not a CA, valid at `at`, its critical extensions processed (`check_leaf`).
            policies: dotted OIDs, one of which must be valid for the path.
            at: the time of the decision.
            anchors: DER of the roots at which it may end; empty: any root of the store.
            offered: intermediates from anybody, as candidates.

        Raises:
            CertificateRefused: the path of the last candidate fails; by its subclass.
            PathUndecided: the engine broke, or its budget was spent.
            ConfigurationInvalid: no policies are given.
        """
        if not policies:
            raise ConfigurationInvalid("a path needs a policy to be checked against")
        for known in self._known.get(read.issuer_name, ()):
            if _ends_at(known.authorities, anchors) and known.issued(read, policies, at):
                return (read, *known.authorities)
        path = self.find_in_full(
            read,
            PolicyInputs(policies),
            at,
            purposes=LOGIN_PURPOSES,
            anchors=anchors,
            offered=offered,
        )
        known_now = known_issuer(path[1:])
        if known_now is not None:
            self._remember(read.issuer_name, known_now)
        return path

    def _remember(self, issuer_name: bytes, known: KnownIssuer) -> None:
        with self._lock:
            before = self._known.get(issuer_name, ())
            if known not in before and len(before) < MAX_PATHS:
                self._known[issuer_name] = (*before, known)

    def find_in_full(
        self,
        read: ReadCertificate,
        policies: PolicyInputs,
        at: datetime,
        *,
        purposes: frozenset[x509.ObjectIdentifier],
        anchors: frozenset[bytes] = frozenset(),
        offered: Iterable[ReadCertificate] = (),
    ) -> Path:
        """As `find_path`, for any certificate and all policy inputs; nothing is remembered.

        Args:
            read: any certificate but a root.
            policies: the policy inputs of RFC 5280 section 6.1.1.
            at: the time of the decision.
            purposes: as `path_guards.check_path`.
            anchors: as `find_path`.
            offered: as `find_path`.
        """
        started = self._stopwatch()
        refusal: CertificateRefused = CertificateNotTrusted("no path leads to a root")
        candidates = self._builder.paths(
            read, offered=offered, max_depth=self._max_depth, at=at, steps=StepBudget()
        )
        tried = 0
        for path in candidates:
            if not _ends_at(path, anchors):
                refusal = CertificateNotTrusted("the path ends at a root that is not the issuer's")
                continue
            left = self._budget_seconds - (self._stopwatch() - started)
            if tried >= MAX_PATHS or left <= 0:
                raise PathUndecided("too many candidate paths")
            tried += 1
            question = PathQuestion(tuple(member.der for member in path), policies, at)
            try:
                check_path(path, purposes=purposes)
                self._judge(question, left).require_valid()
            except CertificateRefused as e:
                refusal = e
            else:
                return path
        raise refusal


def _ends_at(path: Path, anchors: frozenset[bytes]) -> bool:
    # A CA below several roots has a path to each: the first that is found may be another's.
    return not anchors or path[-1].der in anchors
