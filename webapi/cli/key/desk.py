"""Where keys are made, looked at, certified and retired, on the tokens of the settings."""

from dataclasses import replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge.agent.origins import OriginPins, origins_document
from pkcs11_bridge.errors import KeyUnsupported, UriInvalid
from pkcs11_bridge.key_attributes import (
    KeyAttributes,
    TokenIdentity,
    identify_token,
    list_keys,
    read_key,
    require_local,
)
from pkcs11_bridge.key_life import retire_key, store_certificate
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.errors import NoKeyForPurpose
from signer.hsm_backend import may_serve
from signer.payload import CERTIFIED_PURPOSES, CRL_PURPOSES, Purpose
from webapi import clock
from webapi.cli.key.certification import (
    check_certificate,
    put_in_place,
    request_certificate,
)
from webapi.cli.key.errors import CertificateUnfit, KeyChoiceOpen
from webapi.cli.key.facts import UNLISTED, CertificateFacts, KeyFacts
from webapi.settings_tokens import Zone
from webapi.storage.permits import SqlPermitLedger
from webapi.token_keys import ZONE_OF
from webapi.trust_settings import read_certificate_file
from webapi.wiring import REALM_OF, Wiring


def usual_algorithm(purpose: Purpose) -> KeyAlgorithm:
    """What a key for a purpose is where nobody asks for another kind."""
    if purpose is Purpose.RECEIPT_LOG_ED25519:
        return KeyAlgorithm.ED25519
    return KeyAlgorithm.EC_P256


MAX_PINNED = 2
"""The agents' file has a current key and a next one."""


class KeyDesk:
    """The keys of one service.

    Args:
        wiring: opens the tokens.
        at: now, aware UTC: which key is current depends on it.
    """

    def __init__(self, wiring: Wiring, at: datetime) -> None:
        self._wiring = wiring
        self._at = at

    def every(self) -> list[KeyFacts]:
        """All keys on the tokens of the settings, and declared ones that are on none."""
        listed = []
        for zone in self._wiring.settings.tokens:
            on_token = list_keys(self._wiring.keys.token(zone))
            listed += [self._facts(zone, self._purpose_of(zone, key.uri), key) for key in on_token]
            listed += self._missing(zone, on_token)
        return listed

    def one(self, purpose: Purpose, key: str | None) -> KeyFacts:
        """One key of a purpose.

        Args:
            purpose: whose.
            key: its URI; None for the only one that is declared.

        Raises:
            KeyChoiceOpen: several are.
            webapi.token_keys.KeyDeclaredTwice: the settings name it for something else as well.
            UriInvalid: the key is another purpose's.
            pkcs11_bridge.errors.TokenError, ZoneNotConfigured: it cannot be had.
        """
        found = read_key(self._sessions(purpose), self._chosen(purpose, key))
        if self._purpose_of(ZONE_OF[purpose], found.uri) is not purpose:
            raise UriInvalid(f"{found.uri} is not a key for {purpose}")
        return self._facts(ZONE_OF[purpose], purpose, found)

    def token(self, purpose: Purpose) -> TokenIdentity:
        """The token that a purpose's keys are on."""
        return identify_token(self._sessions(purpose))

    def create(self, purpose: Purpose, label: str, algorithm: KeyAlgorithm) -> KeyFacts:
        """Make a key in the token.

        Raises:
            signer.errors.NoKeyForPurpose: the purpose is not served by keys of this kind.
            UriInvalid: the label is not the purpose, nor the purpose, a hyphen and more.
            pkcs11_bridge.errors.KeyExists: a key is called so already.
            pkcs11_bridge.errors.KeyNotLocal: the token does not say that it made it.
            pkcs11_bridge.errors.TokenError, ZoneNotConfigured: the token cannot.
        """
        if purpose_of_label(label) is not purpose:
            raise UriInvalid(f"a key for {purpose} is called {purpose}, or {purpose}-…")
        if not may_serve(algorithm, purpose):
            raise NoKeyForPurpose(f"no key for {purpose} is of the kind {algorithm}")
        sessions = self._sessions(purpose)
        made = generate_key(sessions, label, algorithm)
        attributes = read_key(sessions, made.uri)
        require_local(attributes)
        return self._facts(ZONE_OF[purpose], purpose, attributes)

    def request(
        self, purpose: Purpose, key: str | None, subject: x509.Name
    ) -> x509.CertificateSigningRequest:
        """A request for a certificate, by a key that is not in service.

        Raises:
            signer.errors.KeyLifeError: the key is in service, or retired.
            CertificateUnfit: its certificate's file holds something that cannot be read.
            As `one` and `request_certificate`.
        """
        facts = self.one(purpose, key)
        certificate = facts.certificate
        if certificate is not None and certificate.is_unreadable:
            raise CertificateUnfit(
                f"{certificate.path} cannot be read: whether the key is in service is not known"
            )
        self._wiring.keys.rotation(purpose).require_before_service(
            self._declared(purpose, facts.uri),
            self._at,
            is_certified=certificate is not None and certificate.is_of_key,
        )
        return request_certificate(
            self._wiring.keys.backend_named(purpose, facts.uri),
            SqlPermitLedger(self._wiring.engine(REALM_OF[purpose])),
            purpose=purpose,
            subject=subject,
            clock=clock.now,
        )

    def import_certificate(
        self, purpose: Purpose, key: str | None, certificate: x509.Certificate, *, onto_token: bool
    ) -> KeyFacts:
        """Check a certificate and put it where the service reads it.

        Raises:
            CertificateUnfit, KeyChoiceOpen: the service could not use it there.
            As `one` and `store_certificate`.
        """
        facts = self.one(purpose, key)
        listener = self._wiring.settings.ocsp_listener
        if purpose not in CERTIFIED_PURPOSES or listener is None:
            raise CertificateUnfit(f"no setting asks for a certificate of a key for {purpose}")
        if facts.certificate is None:
            raise KeyChoiceOpen(f"say in [[keys.{purpose}]] with `certificate` where it belongs")
        public_key = None if facts.attributes is None else facts.attributes.public_key
        issuer = read_certificate_file(listener.ca_certificate)
        check_certificate(purpose, certificate, public_key, issuer=issuer, at=self._at)
        put_in_place(facts.certificate.path, certificate)
        if onto_token:
            uri = Pkcs11Uri.parse(facts.uri)
            store_certificate(self._sessions(purpose), uri, certificate)
        return self.one(purpose, facts.uri)

    def pinned_origins(self) -> str:
        """The agents' file: the site's origin, with the login-challenge keys that may sign now.

        Raises:
            KeyChoiceOpen: three keys are accepted; the file holds two.
            As `one`.
        """
        purpose = Purpose.LOGIN_CHALLENGE
        terms = self._wiring.keys.rotation(purpose).accepted(self._at)
        keys = [self._challenge_key(term.key) for term in terms]
        if len(keys) > MAX_PINNED:
            raise KeyChoiceOpen("agents pin two keys: end a retired one before you declare a next")
        following = keys[1] if len(keys) == MAX_PINNED else None
        return origins_document({self._service: OriginPins(keys[0], following)})

    def _challenge_key(self, uri: str) -> ec.EllipticCurvePublicKey:
        attributes = self.one(Purpose.LOGIN_CHALLENGE, uri).attributes
        public_key = None if attributes is None else attributes.public_key
        if not isinstance(public_key, ec.EllipticCurvePublicKey):
            raise KeyUnsupported(f"{uri} is not on P-256")
        return public_key

    def retire(self, purpose: Purpose, key: str) -> KeyFacts:
        """Mark a key as retired on its token, or on all of the zone's tokens, for good.

        Raises:
            signer.errors.KeyInService: the settings let it sign.
            pkcs11_bridge.errors.MarkRefused: the token cannot be marked.
            As `one`; also where one of several tokens cannot be asked, or lacks the key.
        """
        facts = self.one(purpose, key)
        rotation = self._wiring.keys.rotation(purpose)
        rotation.require_out_of_service(self._declared(purpose, facts.uri), self._at)
        key_uri = replace(Pkcs11Uri.parse(facts.uri), token=None)
        # On one token of a cluster it would go on signing. The first token, which tells what the
        # key's mark is, comes last.
        for sessions in reversed(self._wiring.keys.tokens(ZONE_OF[purpose])):
            retire_key(sessions, key_uri)
        return self.one(purpose, facts.uri)

    def _sessions(self, purpose: Purpose) -> TokenSessions:
        return self._wiring.keys.token(ZONE_OF[purpose])

    def _chosen(self, purpose: Purpose, key: str | None) -> Pkcs11Uri:
        if key is not None:
            return Pkcs11Uri.parse(key)
        terms = self._wiring.keys.rotation(purpose).terms
        if len(terms) > 1:
            raise KeyChoiceOpen(f"{purpose} has {len(terms)} keys: name one with --key")
        return Pkcs11Uri.parse(terms[0].key)

    def _declared(self, purpose: Purpose, uri: str) -> str:
        """How the settings name a key; its own URI where they do not."""
        declared = self._wiring.keys.declared(ZONE_OF[purpose], Pkcs11Uri.parse(uri))
        return uri if declared is None else declared[1]

    def _facts(self, zone: Zone, purpose: Purpose | None, key: KeyAttributes) -> KeyFacts:
        uri = str(key.uri)
        state, certificate = UNLISTED, None
        if purpose is not None:
            rotation = self._wiring.keys.rotation(purpose)
            declared = self._declared(purpose, uri)
            if any(term.key == declared for term in rotation.terms):
                state = str(rotation.state(declared, self._at))
            path = self._wiring.keys.certificate_file(purpose, declared)
            if path is not None and state != UNLISTED:
                certificate = CertificateFacts.read(path, key.public_key)
        return KeyFacts(purpose, zone, self._service, state, uri, key, certificate)

    def _is_wanted(self, purpose: Purpose) -> bool:
        """Whether the service is to sign for it: lists are published where they have a key."""
        listener = self._wiring.settings.ocsp_listener
        return (
            purpose not in CRL_PURPOSES
            or purpose in self._wiring.settings.keys
            or (listener is not None and listener.crl_certificate is not None)
        )

    def _purpose_of(self, zone: Zone, uri: Pkcs11Uri) -> Purpose | None:
        """Whose key it is: by the settings, else by its label."""
        declared = self._wiring.keys.declared(zone, uri)
        if declared is not None:
            return declared[0]
        labelled = purpose_of_label(uri.object or "")
        return labelled if labelled is not None and ZONE_OF[labelled] == zone else None

    @property
    def _service(self) -> str:
        return self._wiring.settings.service.origin

    def _missing(self, zone: Zone, on_token: tuple[KeyAttributes, ...]) -> list[KeyFacts]:
        missing = []
        wanted = [purpose for purpose, its_zone in ZONE_OF.items() if its_zone == zone]
        for purpose in filter(self._is_wanted, wanted):
            rotation = self._wiring.keys.rotation(purpose)
            for term in rotation.terms:
                if not any(Pkcs11Uri.parse(term.key).selects(key.uri) for key in on_token):
                    state = str(rotation.state(term.key, self._at))
                    missing.append(
                        KeyFacts(purpose, zone, self._service, state, term.key, None, None)
                    )
        return missing


def purpose_of_label(label: str) -> Purpose | None:
    """Whose key is called so: the longest purpose that it is, or that stands before a hyphen."""
    fitting = [
        purpose for purpose in Purpose if label == purpose or label.startswith(f"{purpose}-")
    ]
    return max(fitting, key=len, default=None)
