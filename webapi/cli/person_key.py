"""With what a person signs a statement: a card, or a key in a file of theirs."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from pkcs11_bridge.agent.card_signature import (
    REAL_CARDS,
    Card,
    CardAccess,
    card_for_one_use,
    require_try,
    tries_told,
)
from pkcs11_bridge.encoding import der_to_raw
from pkcs11_bridge.mechanisms import algorithm_of
from pkcs11_bridge.objects import TokenCertificate
from pkcs11_bridge.pin import Pin, PinpadEntry

Prepare = Callable[[x509.Certificate], tuple[str, bytes]]
"""Takes the signer's certificate; returns the header and the bytes to sign, or refuses."""


class PersonKey(Protocol):
    """A person's means of signing."""

    def sign(self, prepare: Prepare) -> tuple[str, bytes]:
        """The header, and a signature with SHA-256: ECDSA as r || s, or RSA PKCS#1 v1.5."""
        ...


@dataclass(frozen=True, slots=True)
class KeyFileOfPerson:
    """A private key in a file.

    Attributes:
        path: PKCS#8, PEM.
        certificate: its certificate.
        ask: asks for the passphrase.
    """

    path: Path
    certificate: x509.Certificate
    ask: Callable[[], str]

    def sign(self, prepare: Prepare) -> tuple[str, bytes]:
        """Sign; raises click.ClickException where the file holds no key of the certificate."""
        protected, message = prepare(self.certificate)
        try:
            passphrase = self.ask().encode()
            key = load_pem_private_key(self.path.read_bytes(), passphrase)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            # Without a passphrase a copy of the file signs for the person: it is refused.
            raise click.ClickException(
                f"{self.path} is no key that this passphrase opens"
            ) from error
        if key.public_key() != self.certificate.public_key():
            raise click.ClickException(f"{self.path} is not the key of the certificate")
        if isinstance(key, rsa.RSAPrivateKey):
            return protected, key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return protected, der_to_raw(key.sign(message, ec.ECDSA(hashes.SHA256())), 32)
        raise click.ClickException(f"{self.path} is neither an RSA nor an EC key")


@dataclass(frozen=True, slots=True)
class CardOfPerson:
    """A card in a reader of this computer; its signing certificate is used.

    Attributes:
        module: the card's PKCS#11 module.
        reader_name: which reader; None where one holds a card.
        ask: asks for the PIN; not called where it is typed on the reader.
        spends_final_try: asks whether a wrong PIN may lock the card.
        cards: the way to the card.
    """

    module: Path
    reader_name: str | None
    ask: Callable[[], str]
    spends_final_try: Callable[[], bool]
    cards: CardAccess = REAL_CARDS

    def sign(self, prepare: Prepare) -> tuple[str, bytes]:
        """Sign, in the order of `pkcs11_bridge.agent.card_signature`.

        Raises:
            click.ClickException: the card has no signing certificate, or several; one PIN try is
                left and nobody says that it may be spent.
            pkcs11_bridge.errors.TokenError: reader, card or PIN.
        """
        readers = self.cards.readers
        reader = readers.wait_for_card(0, self.reader_name, lambda _: None)
        with card_for_one_use(self.cards, self.module, reader) as card:
            told_by_card = readers.pin_tries_left(reader.name)
            stored, certificate = _signing_certificate(card)
            protected, message = prepare(certificate)
            key = certificate.public_key()
            if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
                raise click.ClickException("the card's signing key is neither RSA nor EC")
            tries = require_try(card, stored.slot_id, told_by_card)
            if tries == 1 and not self.spends_final_try():
                raise click.ClickException("one PIN try is left; a wrong PIN would lock the card")
            pin = PinpadEntry() if card.has_pin_pad(stored.slot_id) else Pin(self.ask())
            digest = hashlib.sha256(message).digest()
            with tries_told(readers, reader.name):
                card.login(stored.slot_id, pin)
                return protected, card.sign_digest(stored, algorithm_of(key), digest, "sha256")


def _signing_certificate(card: Card) -> tuple[TokenCertificate, x509.Certificate]:
    """The one certificate for signatures that bind a person (nonRepudiation, RFC 5280)."""
    fitting = []
    for stored in card.certificates():
        try:
            certificate = x509.load_der_x509_certificate(stored.unverified_der)
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        except (ValueError, x509.ExtensionNotFound):
            continue
        if usage.content_commitment:
            fitting.append((stored, certificate))
    if len(fitting) != 1:
        raise click.ClickException(f"the card holds {len(fitting)} signing certificates, not one")
    return fitting[0]
