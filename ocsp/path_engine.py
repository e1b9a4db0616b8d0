"""RFC 5280 section 6.1 by pyhanko-certvalidator, kept on a short lead.

The library builds and validates; this file gives it fixed certificates, no network, no clock, no
revocation (our own OCSP decision follows later), and a bound on what one decision may cost. Its
exceptions end here.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from asn1crypto import x509 as asn1_x509
from pyhanko_certvalidator.authority import CertTrustAnchor
from pyhanko_certvalidator.context import ValidationContext
from pyhanko_certvalidator.errors import (
    DisallowedAlgorithmError,
    ExpiredError,
    NotYetValidError,
    PathBuildingError,
    PathValidationError,
)
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.policy_decl import (
    NO_REVOCATION,
    CertRevTrustPolicy,
    PKIXValidationParams,
)
from pyhanko_certvalidator.registry import CertificateRegistry, PathBuilder, SimpleTrustManager
from pyhanko_certvalidator.validate import async_validate_path

from ocsp.certificate import ReadCertificate, read_certificate
from ocsp.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotTrusted,
    CertificateNotYetValid,
    CertificatePolicyMissing,
    CertificateRefused,
    ConfigurationInvalid,
    PathMember,
    PathUndecided,
    SignatureAlgorithmRefused,
)
from ocsp.known_issuers import KnownIssuer, known_issuer

MAX_PATHS = 8
"""Candidate paths tried for one certificate; a fixed store with cross-certificates has 2 or 3."""


class PathEngine:
    """Finds one valid path from a fixed root to a certificate.

    The lock keeps the library's lazily parsed objects from being parsed by two threads at once;
    the work is pure Python, so that waiting costs no throughput.
    """

    def __init__(
        self,
        *,
        roots: tuple[bytes, ...],
        intermediates: tuple[bytes, ...],
        max_depth: int,
        budget: timedelta,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._trust_manager = SimpleTrustManager.build(
            trust_roots=[
                # Without the flag, validity, path length and name constraints of the root itself
                # would be ignored.
                CertTrustAnchor(
                    asn1_x509.Certificate.load(der), derive_default_quals_from_cert=True
                )
                for der in roots
            ]
        )
        self._registry = CertificateRegistry.build(
            certs=[asn1_x509.Certificate.load(der) for der in intermediates], cert_fetcher=None
        )
        self._max_depth = max_depth
        self._budget_seconds = budget.total_seconds()
        self._stopwatch = stopwatch
        self._lock = threading.Lock()
        # By issuer name; at most one entry per path through the fixed store.
        self._known: dict[bytes, tuple[KnownIssuer, ...]] = {}

    def find_path(
        self, read: ReadCertificate, *, policies: frozenset[str], at: datetime
    ) -> tuple[ReadCertificate, ...]:
        """The first valid path, the certificate first and the root last.

        Args:
            read: not a CA, valid at `at`, its critical extensions processed (`check_leaf`).
            policies: dotted OIDs, one of which must be valid for the path.
            at: the time of the decision.

        Raises:
            CertificateRefused: the path of the last candidate fails; by its subclass.
            PathUndecided: the engine broke, or its budget was spent.
            ConfigurationInvalid: no policies are given.
        """
        if not policies:
            raise ConfigurationInvalid("a path needs a policy to be checked against")
        issuer_name = read.certificate.issuer.public_bytes()
        for known in self._known.get(issuer_name, ()):
            if known.issued(read, policies, at):
                return (read, *known.authorities)
        authorities = tuple(
            read_certificate(der) for der in self._find_in_full(read.der, policies, at)[1:]
        )
        known_now = known_issuer(authorities)
        if known_now is not None:
            self._remember(issuer_name, known_now)
        return (read, *authorities)

    def _remember(self, issuer_name: bytes, known: KnownIssuer) -> None:
        with self._lock:
            before = self._known.get(issuer_name, ())
            if known not in before and len(before) < MAX_PATHS:
                self._known[issuer_name] = (*before, known)

    def _find_in_full(
        self, der: bytes, policies: frozenset[str], at: datetime
    ) -> tuple[bytes, ...]:
        with self._lock:
            try:
                return asyncio.run(self._find_path(der, policies, at))
            except PathBuildingError as e:
                raise CertificateNotTrusted("no path leads to a root") from e
            except (CertificateRefused, PathUndecided):
                raise
            except Exception as e:  # the library raises TypeError and more on odd extensions
                raise PathUndecided(f"the path engine failed: {type(e).__name__}") from e

    async def _find_path(
        self, der: bytes, policies: frozenset[str], at: datetime
    ) -> tuple[bytes, ...]:
        started = self._stopwatch()
        builder = PathBuilder(self._trust_manager, self._registry)
        candidates = builder.async_build_paths_lazy(asn1_x509.Certificate.load(der))
        refusal: CertificateRefused = CertificateNotTrusted("no path leads to a root")
        tried = 0
        try:
            async for path in candidates:
                tried += 1
                if tried > MAX_PATHS or self._stopwatch() - started > self._budget_seconds:
                    raise PathUndecided("too many candidate paths")
                try:
                    return await self._judge(path, policies, at)
                except CertificateRefused as e:
                    refusal = e
        finally:
            await candidates.cancel()
        raise refusal

    async def _judge(
        self, path: ValidationPath, policies: frozenset[str], at: datetime
    ) -> tuple[bytes, ...]:
        members = list(path.iter_certs(include_root=True))
        if not 2 <= len(members) <= self._max_depth + 1:
            raise CertificateNotTrusted("the path is empty or too long")
        for member in members:
            # RFC 5280 section 4.1.1.2; the library looks at the outer one only.
            inner, outer = member["tbs_certificate"]["signature"], member["signature_algorithm"]
            if inner.dump() != outer.dump():
                raise CertificateMalformed("inner and outer signature algorithms differ")
        try:
            await self._validate(path, policies, at)
        except ExpiredError as e:
            raise CertificateExpired(_member(e), e.expired_dt) from e
        except NotYetValidError as e:
            raise CertificateNotYetValid(_member(e), e.valid_from) from e
        except DisallowedAlgorithmError as e:
            raise SignatureAlgorithmRefused(e.failure_msg) from e
        except PathValidationError as e:
            if await self._lacks_policy_alone(path, at):
                raise CertificatePolicyMissing("no required policy is valid for the path") from e
            raise CertificateNotTrusted(e.failure_msg) from e
        return tuple(member.dump() for member in reversed(members))

    async def _validate(self, path: ValidationPath, policies: frozenset[str], at: datetime) -> None:
        context = ValidationContext(
            trust_manager=self._trust_manager,
            certificate_registry=self._registry,
            moment=at,
            allow_fetching=False,
            revinfo_policy=CertRevTrustPolicy(NO_REVOCATION),
            time_tolerance=timedelta(0),
        )
        # The library names anyPolicy in words and every other policy by its dotted OID.
        parameters = PKIXValidationParams(
            user_initial_policy_set=policies or frozenset({"any_policy"}),
            initial_explicit_policy=bool(policies),
        )
        await async_validate_path(context, path, parameters=parameters)

    async def _lacks_policy_alone(self, path: ValidationPath, at: datetime) -> bool:
        # The library tells a missing policy from a bad signature by its text alone: ask again
        # without the policies. The answer only names the refusal.
        try:
            await self._validate(path, frozenset(), at)
        except PathValidationError:
            return False
        return True


def _member(error: PathValidationError) -> PathMember:
    return PathMember.USER if error.is_ee_cert else PathMember.AUTHORITY
