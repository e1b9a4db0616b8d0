"""Signing keys on a token: found exactly once, refused when extractable, made so that they stay."""

import secrets
from typing import Protocol, cast

import pkcs11
from pkcs11 import Attribute, MechanismFlag

from pkcs11_bridge import mechanisms, objects
from pkcs11_bridge.capabilities import TokenCapabilities, mechanism_name, read_capabilities
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.errors import KeyExists, KeyNotFound, MechanismUnsupported, UriInvalid
from pkcs11_bridge.login import PooledSession
from pkcs11_bridge.mechanisms import KeyAlgorithm, PublicKey, SignatureAlgorithm, SigningCall
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.sign_counts import count_signature
from pkcs11_bridge.uri import Pkcs11Uri

__all__ = [
    "HashName",
    "KeyAlgorithm",
    "PublicKey",
    "SignatureAlgorithm",
    "SigningKey",
    "TokenKey",
    "generate_key",
    "open_key",
]

_ID_BYTES = 16


class SigningKey(Protocol):
    """A key that signs: `TokenKey`, or `pkcs11_bridge.cluster.KeyCluster`."""

    @property
    def public_key(self) -> PublicKey:
        """Its public half."""

    @property
    def algorithm(self) -> KeyAlgorithm:
        """Its kind."""

    def sign_digest(self, digest: bytes, hash_name: HashName) -> bytes:
        """As ``TokenKey.sign_digest``."""

    def sign_message(self, message: bytes) -> bytes:
        """As ``TokenKey.sign_message``."""


class TokenKey:
    """A private key that cannot leave its token, made by ``open_key`` or ``generate_key``.

    Signs whatever it is given: who may have what signed is decided above this package.
    Safe for threads, through the pool of its sessions.
    """

    def __init__(
        self,
        sessions: TokenSessions,
        uri: Pkcs11Uri,
        public_key: PublicKey,
        capabilities: TokenCapabilities,
    ) -> None:
        self._sessions = sessions
        self.uri = uri
        """Token label, key label and id: exactly this key."""
        self.public_key = public_key
        self.algorithm = mechanisms.algorithm_of(public_key)
        self.signature_algorithms = capabilities.require(self.algorithm)
        """What this key signs with on its token: at least one."""
        self._mechanisms = {algorithm.mechanism for algorithm in self.signature_algorithms}

    def sign(self, algorithm: SignatureAlgorithm, message: bytes) -> bytes:
        """Sign a message, hashed here where the algorithm hashes.

        Returns:
            ECDSA: raw r || s, each as long as the curve's field (64, 96 or 132 bytes). RSA: as
            long as the modulus. Ed25519: 64 bytes.

        Raises:
            MechanismUnsupported: the key, or its token, does not sign with this algorithm.
            KeyNotFound, TokenError: as ``sign_digest``.
        """
        to_be_signed = algorithm.to_be_signed(message)
        return self._sign(mechanisms.signing_call(self.algorithm, algorithm, to_be_signed))

    def sign_digest(self, digest: bytes, hash_name: HashName) -> bytes:
        """Sign a digest: ECDSA, or RSASSA-PKCS1-v1_5.

        Returns:
            As ``sign``.

        Raises:
            ValueError: the digest's length is not that of its hash.
            MechanismUnsupported: an Ed25519 key, or a curve with another hash than its own.
            KeyNotFound: the key is gone, or another one has taken its place.
            TokenError: as ``TokenSessions.open`` and ``perform``.
        """
        return self._sign(mechanisms.digest_signing(self.algorithm, digest, hash_name))

    def sign_message(self, message: bytes) -> bytes:
        """Sign a message with an Ed25519 key: 64 bytes (RFC 8032).

        Raises:
            MechanismUnsupported: the key is of another kind.
            KeyNotFound, TokenError: as ``sign_digest``.
        """
        return self._sign(mechanisms.message_signing(self.algorithm, message))

    def _sign(self, call: SigningCall) -> bytes:
        if call.mechanism not in self._mechanisms:
            name = mechanism_name(call.mechanism)
            raise MechanismUnsupported(f"the token offers no {name} for this key")
        signature = self._sessions.perform(lambda pooled: self._sign_in(pooled, call))
        count_signature(self._sessions.config.module, self._sessions.label)
        return signature

    def _sign_in(self, pooled: PooledSession, call: SigningCall) -> bytes:
        key = pooled.keys.get(self.uri)
        if key is None:
            key, public_key = _load(pooled.raw, self.uri)
            if public_key != self.public_key:
                raise KeyNotFound("another key has taken this key's place")
            pooled.keys[self.uri] = key
        return mechanisms.sign_once(key, call)


def open_key(sessions: TokenSessions, uri: Pkcs11Uri) -> TokenKey:
    """The one private key that the URI selects on the sessions' token, with its public half.

    Raises:
        UriInvalid: no label and no id, another object type, or another token's URI.
        KeyNotFound, KeyAmbiguous: no key or no public half, or several.
        ExtractableKey: the key can leave the token, once could, or does not say.
        KeyUnsupported: a type, curve or size that is not used.
        MechanismUnsupported: the token has no mechanism to sign with such a key.
        TokenError: as ``TokenSessions.open`` and ``perform``.
    """
    token = sessions.config.uri
    if uri.token not in (None, token.token) or (
        uri.serial is not None and token.serial is not None and uri.serial != token.serial
    ):
        raise UriInvalid(f"{uri} is not on the token {token}")
    return sessions.perform(lambda pooled: _token_key(sessions, pooled, uri))


def generate_key(sessions: TokenSessions, label: str, algorithm: KeyAlgorithm) -> TokenKey:
    """Make a key pair in the token: sensitive, not extractable, for signatures alone.

    Raises:
        UriInvalid: the label is empty.
        KeyExists: a key of this label is there already; it is never replaced.
        TokenReadOnly, MechanismUnsupported: the token cannot.
        TokenError: as ``TokenSessions.open``.
    """
    if not label:
        raise UriInvalid("a key has a label")
    plan = mechanisms.generation(algorithm)
    key_id = secrets.token_bytes(_ID_BYTES)
    with sessions.writing_session() as session:
        if objects.label_is_taken(session, label):
            raise KeyExists(f"a key labelled {label} exists already")
        read_capabilities(session.token).require(algorithm)
        session.generate_keypair(
            plan.key_type,
            plan.bits,
            id=key_id,
            label=label,
            store=True,
            capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
            mechanism=plan.mechanism,
            public_template=dict(plan.public_template),
            private_template={
                Attribute.PRIVATE: True,
                Attribute.SENSITIVE: True,
                Attribute.EXTRACTABLE: False,
            },
        )
    return open_key(sessions, Pkcs11Uri(token=sessions.label, object=label, id=key_id))


def _token_key(sessions: TokenSessions, pooled: PooledSession, uri: Pkcs11Uri) -> TokenKey:
    key, public_key = _load(pooled.raw, uri)
    exact = Pkcs11Uri(
        token=sessions.label,
        object=cast("str", key[Attribute.LABEL]),
        id=bytes(key[Attribute.ID]),
        type="private",
    )
    pooled.keys[exact] = key
    return TokenKey(sessions, exact, public_key, read_capabilities(pooled.raw.token))


def _load(session: pkcs11.Session, uri: Pkcs11Uri) -> tuple[pkcs11.Object, PublicKey]:
    key = objects.find_private_key(session, uri)
    objects.require_unextractable(key)
    return key, mechanisms.public_key_of(objects.find_public_half(session, key))
