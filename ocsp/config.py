"""Whom we trust and by which rules: frozen values, checked when they are made.

An `IssuerProfile` holds everything that differs between issuing CAs; a `TrustStore` the roots,
the fixed intermediates and the profiles. Certificates never come from a client.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, StrEnum
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import hashes

from ocsp.certificate import ReadCertificate, check_key_strength, read_certificate
from ocsp.crl.rules import AuthorityStatusUnpublished, CrlRules, StatusOrder
from ocsp.errors import ConfigurationInvalid, TrustError
from ocsp.known_issuers import ANY_POLICY
from ocsp.names import comparable
from ocsp.path_engine import PathEngine
from ocsp.path_judging import PathJudge, judge_here
from ocsp.persons import DisplayName, PersonAttribute, PersonRegister, require_oid

MAX_STORE = 64
"""Roots and intermediates, at most: path building is unbounded in the number of look-alikes."""

MAX_ATTEMPTS = 5
"""Questions to one responder in one decision."""

CA_MIN_RSA_BITS = 2048
CA_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


class NonceMode(StrEnum):
    """What an issuer's responder does with nonces (RFC 9654)."""

    REQUIRE = "require"
    """An answer without our nonce is refused."""

    PREFER = "prefer"
    """Sent; if it is missing in the answer, the answer's times decide; a wrong one is refused."""

    OFF = "off"
    """Not sent: for responders that refuse or break on it."""


class CertIdHash(Enum):
    """The hash of the CertID (RFC 6960 section 4.1.1)."""

    SHA256 = "sha256"
    """The rule (RFC 9919)."""

    SHA1 = "sha1"
    """For responders that know nothing else; no security rests on it."""

    @property
    def algorithm(self) -> hashes.SHA1 | hashes.SHA256:
        """For `cryptography`."""
        return hashes.SHA256() if self is CertIdHash.SHA256 else hashes.SHA1()  # noqa: S303 -- names a certificate; it protects nothing


class CacheUse(StrEnum):
    """When an answer that was verified before may serve another login (ADR 0021)."""

    OFF = "off"
    """Never: every login asks. A refusal alone is remembered, and holds in an outage."""

    OUTAGE = "outage"
    """When nobody gives an acceptable answer."""

    FIRST = "first"
    """Before anybody is asked. Contradicts a nonce that is required, and lists that come first."""


class RequestMethod(StrEnum):
    """How an issuer's responders are asked (RFC 6960 appendix A.1)."""

    AUTO = "auto"
    """GET where the whole URL is short enough, else POST."""

    POST = "post"
    """POST always: for responders that know nothing else."""


class ClientAuth(StrEnum):
    """Whether a user's certificate must say that it is for signing in."""

    IF_STATED = "if-stated"
    """An ExtendedKeyUsage, if there is one, holds clientAuth."""

    REQUIRED = "required"
    """There is one, and it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerProfile:
    """The rules for the certificates of one issuing CA, in all its generations.

    Attributes:
        name: for logs and evidence.
        certificates: DER of the CA's certificates, one per generation.
        responders: where its responders answer, in the order in which they are asked; the
            certificate's own AIA is never dialled.
        required_policies: at least one must be named by the certificate and valid for the path;
            never empty, never anyPolicy.
        disallowed_policies: each refuses a certificate that has it, by exact match.
        person: how a certificate names its holder.
        display_name: what the holder is greeted by.
        client_auth: whether a certificate must say that it is for signing in.
        anchors: DER of the roots at which paths may end; empty: any root of the store.
        certid_hash: of the CertID in requests.
        nonce: what the responder does with nonces.
        skew: how far its clock may differ from ours.
        max_age: oldest acceptable thisUpdate, whatever nextUpdate says.
        next_update_required: False only for responders that leave nextUpdate out.
        min_rsa_bits: least modulus of a user's RSA key, in bits.
        allowed_curves: of a user's EC key, by `cryptography`'s names.
        answer_hashes: hash names allowed in the signatures of answers and delegates.
        answer_max_bytes: cap of an answer's body.
        method: how the responders are asked.
        cache: when an answer verified before may serve another login.
        cache_max_age: oldest thisUpdate of an answer from the cache, if nextUpdate is not earlier.
        attempts: questions to one responder that is in trouble, the first included.
        answer_timeout: for one whole exchange with a responder.
        status_timeout: for all attempts at all responders together.
        order: whether responders or lists say a certificate's status, and which of them first.
        crl: where the lists are, and how old they may be; only where the order has lists.
        authority_status: where the lists of the CAs above are, by which the CA certificates of a
            path are good (check 21), or why there are none.
    """

    name: str
    certificates: tuple[bytes, ...]
    responders: tuple[str, ...]
    required_policies: frozenset[str]
    person: PersonAttribute | PersonRegister
    authority_status: CrlRules | AuthorityStatusUnpublished
    display_name: DisplayName = DisplayName.COMMON_NAME
    client_auth: ClientAuth = ClientAuth.IF_STATED
    anchors: frozenset[bytes] = frozenset()
    disallowed_policies: frozenset[str] = frozenset()
    certid_hash: CertIdHash = CertIdHash.SHA256
    nonce: NonceMode = NonceMode.REQUIRE
    skew: timedelta = timedelta(minutes=5)
    max_age: timedelta = timedelta(hours=24)
    next_update_required: bool = True
    min_rsa_bits: int = 2048
    allowed_curves: frozenset[str] = CA_CURVES
    answer_hashes: frozenset[str] = frozenset({"sha256", "sha384", "sha512"})
    answer_max_bytes: int = 65_536
    method: RequestMethod = RequestMethod.AUTO
    cache: CacheUse = CacheUse.OFF
    cache_max_age: timedelta = timedelta(hours=1)
    attempts: int = 2
    answer_timeout: timedelta = timedelta(seconds=5)
    status_timeout: timedelta = timedelta(seconds=15)
    order: StatusOrder = StatusOrder.OCSP
    crl: CrlRules | None = None

    def __post_init__(self) -> None:
        if not self.name or not self.certificates:
            raise ConfigurationInvalid("an issuer profile needs a name and a certificate")
        for what, value in (
            ("required_policies", self.required_policies),
            ("allowed_curves", self.allowed_curves),
            ("answer_hashes", self.answer_hashes),
        ):
            if not value:
                raise ConfigurationInvalid(
                    f"{self.name}: {what} is empty, nothing would be checked"
                )
        for oid in self.required_policies | self.disallowed_policies:
            require_oid(oid)
        if ANY_POLICY in self.required_policies:
            raise ConfigurationInvalid(f"{self.name}: anyPolicy is no policy that can be required")
        if self.required_policies & self.disallowed_policies:
            raise ConfigurationInvalid(f"{self.name}: a policy is required and refused")
        self._check_numbers()
        self._check_cache()
        self._check_responders()

    def _check_cache(self) -> None:
        if self.cache is CacheUse.FIRST and self.nonce is NonceMode.REQUIRE:
            raise ConfigurationInvalid(
                f"{self.name}: a nonce that is required is in no answer of the cache"
            )
        lists_first = self.order in {StatusOrder.CRL_THEN_OCSP, StatusOrder.CRL_ONLY}
        if self.cache is CacheUse.FIRST and lists_first:
            raise ConfigurationInvalid(f"{self.name}: either lists or kept answers come first")
        if self.cache is not CacheUse.OFF and not self.order.asks_responders:
            raise ConfigurationInvalid(f"{self.name}: without responders no answer is kept")
        if self.cache_max_age <= timedelta(0):
            raise ConfigurationInvalid(f"{self.name}: cache_max_age must be > 0")

    def _check_responders(self) -> None:
        if bool(self.responders) is not self.order.asks_responders:
            raise ConfigurationInvalid(f"{self.name}: order and responders do not fit")
        if (self.crl is not None) is not self.order.reads_lists:
            raise ConfigurationInvalid(f"{self.name}: order and lists do not fit")
        if len(set(self.responders)) < len(self.responders):
            raise ConfigurationInvalid(f"{self.name}: a responder twice")
        for responder in self.responders:
            url = urlsplit(responder)
            if url.scheme not in {"http", "https"} or not url.hostname:
                raise ConfigurationInvalid(f"{self.name}: a responder needs an http(s) URL")

    def _check_numbers(self) -> None:
        if self.skew < timedelta(0):
            raise ConfigurationInvalid(f"{self.name}: skew is negative")
        if self.max_age <= timedelta(0) or self.answer_timeout <= timedelta(0):
            raise ConfigurationInvalid(f"{self.name}: max_age and answer_timeout must be > 0")
        if self.status_timeout < self.answer_timeout or not 1 <= self.attempts <= MAX_ATTEMPTS:
            raise ConfigurationInvalid(
                f"{self.name}: status_timeout is below answer_timeout, or attempts not in "
                f"1 to {MAX_ATTEMPTS}"
            )
        if self.min_rsa_bits < CA_MIN_RSA_BITS or self.answer_max_bytes < 1:
            raise ConfigurationInvalid(
                f"{self.name}: min_rsa_bits below {CA_MIN_RSA_BITS}, or no room for an answer"
            )


@dataclass(frozen=True, slots=True)
class TrustStore:
    """Roots, fixed intermediates and issuer profiles; every certificate in it is well-formed.

    Attributes:
        roots: DER of self-signed CA certificates.
        intermediates: DER of CA certificates between the roots and the issuers.
        issuers: one profile per issuing CA; their certificates are path candidates as well.
        max_depth: CA certificates in a path, the root included (the Mongolian PKI needs 6).
        path_budget: for one path decision.
        judge: judges one path; a service gives a `JudgeProcess`, which can be ended.
    """

    roots: tuple[bytes, ...]
    intermediates: tuple[bytes, ...]
    issuers: tuple[IssuerProfile, ...]
    max_depth: int = 6
    path_budget: timedelta = timedelta(seconds=2)
    judge: PathJudge = field(default=judge_here, repr=False, compare=False)
    read_roots: tuple[ReadCertificate, ...] = field(init=False, repr=False, compare=False)
    read_intermediates: tuple[ReadCertificate, ...] = field(init=False, repr=False, compare=False)
    engine: PathEngine = field(init=False, repr=False, compare=False)
    _by_der: dict[bytes, IssuerProfile] = field(init=False, repr=False, compare=False)
    _by_authority: dict[tuple[bytes, bytes], IssuerProfile] = field(
        init=False, repr=False, compare=False
    )
    _by_name: dict[object, IssuerProfile] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.roots or not self.issuers:
            raise ConfigurationInvalid("a trust store needs a root and an issuer")
        if self.max_depth < 1 or self.path_budget <= timedelta(0):
            raise ConfigurationInvalid("max_depth and path_budget must be > 0")
        for profile in self.issuers:
            if not profile.anchors <= set(self.roots):
                raise ConfigurationInvalid(f"{profile.name}: an anchor is no root of the store")
        issuing = [der for profile in self.issuers for der in profile.certificates]
        root_set = dict.fromkeys(self.roots)
        others = [d for d in dict.fromkeys([*self.intermediates, *issuing]) if d not in root_set]
        if len(root_set) + len(others) > MAX_STORE:
            raise ConfigurationInvalid(f"more than {MAX_STORE} CA certificates")
        set_field = object.__setattr__  # the only way to derive fields of a frozen dataclass
        set_field(self, "read_roots", tuple(_read_root(der) for der in root_set))
        set_field(self, "read_intermediates", tuple(_read_authority(der) for der in others))
        set_field(
            self,
            "engine",
            PathEngine(
                roots=tuple(root_set),
                intermediates=tuple(others),
                max_depth=self.max_depth,
                budget=self.path_budget,
                judge=self.judge,
            ),
        )
        profiles = self._index(self.issuers)
        set_field(self, "_by_authority", profiles)
        set_field(self, "_by_name", self._index_names(self.issuers))
        # A CA's certificates by several superiors are all of the same CA: same subject, same key.
        members = (*self.read_roots, *self.read_intermediates)
        by_der = {m.der: profiles[m.authority] for m in members if m.authority in profiles}
        set_field(self, "_by_der", by_der)

    @staticmethod
    def _index(issuers: Iterable[IssuerProfile]) -> dict[tuple[bytes, bytes], IssuerProfile]:
        index: dict[tuple[bytes, bytes], IssuerProfile] = {}
        names: dict[bytes, str] = {}
        for profile in issuers:
            for der in profile.certificates:
                authority = _read_authority(der).authority
                if index.setdefault(authority, profile) is not profile:
                    raise ConfigurationInvalid(f"{profile.name}: its CA has two profiles")
                if names.setdefault(authority[0], profile.name) != profile.name:
                    raise ConfigurationInvalid(f"{profile.name}: its CA's name has two profiles")
        return index

    @staticmethod
    def _index_names(issuers: Iterable[IssuerProfile]) -> dict[object, IssuerProfile]:
        """By the name's bytes, as most certificates repeat them, and by what they mean."""
        index: dict[object, IssuerProfile] = {}
        for profile in issuers:
            for der in profile.certificates:
                name = _read_authority(der).certificate.subject
                index[name.public_bytes()] = profile
                if index.setdefault(comparable(name), profile) is not profile:
                    raise ConfigurationInvalid(f"{profile.name}: its CA's name has two profiles")
        return index

    def profile_of(self, issuer: ReadCertificate) -> IssuerProfile | None:
        """The profile of a CA, by subject and key; None if it is no issuer."""
        return self._by_der.get(issuer.der) or self._by_authority.get(issuer.authority)

    def profile_named(self, read: ReadCertificate) -> IssuerProfile | None:
        """The profile of the CA that a certificate claims, by the issuer name.

        Good for choosing which limits to apply early; the path alone proves the issuer.
        """
        return self._by_name.get(read.issuer_name) or self._by_name.get(
            comparable(read.certificate.issuer)
        )


def _read_authority(der: bytes) -> ReadCertificate:
    try:
        read = read_certificate(der)
        check_key_strength(read.public_key, min_rsa_bits=CA_MIN_RSA_BITS, allowed_curves=CA_CURVES)
    except TrustError as e:
        raise ConfigurationInvalid(f"a CA certificate of the store is refused: {e}") from e
    if not read.is_ca:
        name = read.certificate.subject.rfc4514_string()
        raise ConfigurationInvalid(f"{name} is in the store but not a CA certificate")
    return read


def _read_root(der: bytes) -> ReadCertificate:
    read = _read_authority(der)
    try:
        read.certificate.verify_directly_issued_by(read.certificate)
    except Exception as e:  # InvalidSignature, ValueError, TypeError alike: no root
        raise ConfigurationInvalid("a root is not self-signed") from e
    return read
