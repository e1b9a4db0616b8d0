"""Candidate paths from a certificate to a root, each found in a counted number of steps.

Building is a search: with cross-certificates, and with names and keys that many certificates share,
it has more branches than anybody can follow (RFC 4158 section 2.4). So it counts: whatever
certificates arrive, the search ends after MAX_STEPS looks at a possible issuer.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from ocsp.certificate import PublicKey, ReadCertificate
from ocsp.errors import PathUndecided
from ocsp.names import ComparableName, comparable

MAX_STEPS = 256
"""Looks at a possible issuer for one certificate; a store with cross-certificates needs a dozen."""

Path = tuple[ReadCertificate, ...]
"""The certificate first, the root last."""


class StepBudget:
    """The looks at a possible issuer that one decision may take."""

    def __init__(self, limit: int = MAX_STEPS) -> None:
        self.limit = limit
        self.taken = 0

    def take(self) -> None:
        """Count one look; raises PathUndecided if there are none left."""
        if self.taken >= self.limit:
            raise PathUndecided(f"too many path-building steps: {self.limit} led to no valid path")
        self.taken += 1


@dataclass(frozen=True, slots=True)
class _Search:
    """What stays the same while one certificate's paths are looked for."""

    offered: dict[ComparableName, tuple[ReadCertificate, ...]]
    at: datetime
    steps: StepBudget


class PathBuilder:
    """Knows the fixed certificates by subject."""

    def __init__(
        self, *, roots: Iterable[ReadCertificate], intermediates: Iterable[ReadCertificate]
    ) -> None:
        self._roots = _by_subject(roots)
        self._intermediates = _by_subject(intermediates)

    def paths(
        self,
        read: ReadCertificate,
        *,
        offered: Iterable[ReadCertificate],
        max_depth: int,
        at: datetime,
        steps: StepBudget,
    ) -> Iterator[Path]:
        """Paths in which each name and signature leads to the next; judged they are not.

        Those that probably hold come first: valid now, key identifiers equal, ours before offered.

        Args:
            read: where paths begin.
            offered: more intermediates, by anybody; a path still ends at a root of ours.
            max_depth: CA certificates in a path, the root included.
            at: the time of the decision; it only orders.
            steps: counted down.

        Raises:
            PathUndecided: the steps are used up.
        """
        search = _Search(_by_subject(offered), at, steps)
        yield from self._extend((read,), search, max_depth)

    def _extend(self, path: Path, search: _Search, max_depth: int) -> Iterator[Path]:
        if len(path) > max_depth:
            return
        lower = path[-1]
        name = comparable(lower.certificate.issuer)
        for root in self._ranked(self._roots.get(name, ()), lower, search.at):
            if _leads_to(path, root, search.steps):
                yield (*path, root)
        ours = self._ranked(self._intermediates.get(name, ()), lower, search.at)
        theirs = self._ranked(search.offered.get(name, ()), lower, search.at)
        for issuer in (*ours, *theirs):
            if _leads_to(path, issuer, search.steps):
                yield from self._extend((*path, issuer), search, max_depth)

    @staticmethod
    def _ranked(
        found: tuple[ReadCertificate, ...], lower: ReadCertificate, at: datetime
    ) -> list[ReadCertificate]:
        wanted = _authority_key_identifier(lower)

        def rank(issuer: ReadCertificate) -> tuple[bool, bool]:
            own = issuer.certificate
            valid = own.not_valid_before_utc <= at <= own.not_valid_after_utc
            return not valid, wanted is not None and wanted != _subject_key_identifier(issuer)

        return sorted(found, key=rank)


def _by_subject(
    certificates: Iterable[ReadCertificate],
) -> dict[ComparableName, tuple[ReadCertificate, ...]]:
    found: defaultdict[ComparableName, list[ReadCertificate]] = defaultdict(list)
    for read in certificates:
        found[comparable(read.certificate.subject)].append(read)
    return {name: tuple(members) for name, members in found.items()}


def _leads_to(path: Path, issuer: ReadCertificate, steps: StepBudget) -> bool:
    steps.take()
    # No subject with the same key twice (RFC 4158 section 2.4.2): that is a loop.
    if any(issuer.authority == member.authority for member in path):
        return False
    return may_have_signed(issuer.public_key, path[-1].certificate)


def may_have_signed(key: PublicKey, certificate: x509.Certificate) -> bool:
    """Whether the certificate's signature is this key's; True as well if nobody here can tell.

    It only keeps hopeless candidates away from the judge, who verifies for himself and names what
    is wrong with an algorithm.
    """
    try:
        algorithm = certificate.signature_hash_algorithm
        # None for what `cryptography` gives no parameters: SHA-1, or an unknown algorithm.
        scheme = certificate.signature_algorithm_parameters
        signed, signature = certificate.tbs_certificate_bytes, certificate.signature
        if algorithm is None:
            return True
        if isinstance(key, rsa.RSAPublicKey):
            if isinstance(scheme, ec.ECDSA):
                return False
            key.verify(signature, signed, scheme or padding.PKCS1v15(), algorithm)
        else:
            if scheme is not None and not isinstance(scheme, ec.ECDSA):
                return False
            key.verify(signature, signed, scheme or ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    except (UnsupportedAlgorithm, ValueError, TypeError):
        return True
    return True


def _authority_key_identifier(read: ReadCertificate) -> bytes | None:
    found = read.extension(x509.AuthorityKeyIdentifier)
    return None if found is None else found.key_identifier


def _subject_key_identifier(read: ReadCertificate) -> bytes | None:
    found = read.extension(x509.SubjectKeyIdentifier)
    return None if found is None else found.digest
