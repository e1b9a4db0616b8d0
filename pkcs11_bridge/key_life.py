"""What happens to a key on its token beside signing: its certificate put there, its retirement.

Nothing here removes a key.
"""

import pkcs11
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from pkcs11 import Attribute, CertificateType, ObjectClass
from pkcs11.exceptions import PKCS11Error

from pkcs11_bridge import mechanisms, objects
from pkcs11_bridge.errors import CertificateOfAnotherKey, MarkRefused
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri


def store_certificate(
    sessions: TokenSessions, uri: Pkcs11Uri, certificate: x509.Certificate
) -> None:
    """Put a certificate beside its key, under the key's own label and id.

    The same certificate twice is stored once; others of the same key stay.

    Raises:
        CertificateOfAnotherKey: its key is not this one.
        KeyNotFound, KeyAmbiguous, TokenReadOnly, TokenError: as named.
    """
    der = certificate.public_bytes(serialization.Encoding.DER)
    with sessions.writing_session() as session:
        key = objects.find_private_key(session, uri)
        half = mechanisms.public_key_of(objects.find_public_half(session, key))
        if half != certificate.public_key():
            raise CertificateOfAnotherKey("the certificate is not of this key")
        if any(stored.unverified_der == der for stored in objects.certificates(session)):
            return
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.CERTIFICATE,
                Attribute.CERTIFICATE_TYPE: CertificateType.X_509,
                Attribute.TOKEN: True,
                Attribute.LABEL: key[Attribute.LABEL],
                Attribute.ID: key[Attribute.ID],
                Attribute.SUBJECT: certificate.subject.public_bytes(),
                Attribute.VALUE: der,
            }
        )


def retire_key(sessions: TokenSessions, uri: Pkcs11Uri) -> None:
    """Mark a key as retired on its token: CKA_SIGN becomes false, and the token refuses to sign.

    The key stays, so that a wrong decision can be undone by the token's own tool.

    Raises:
        MarkRefused: the token does not let its attributes be changed.
        KeyNotFound, KeyAmbiguous, TokenReadOnly, TokenError: as named.
    """
    with sessions.writing_session() as session:
        key = objects.find_private_key(session, uri)
        try:
            key[Attribute.SIGN] = False
        except PKCS11Error as e:
            raise MarkRefused("the token does not let CKA_SIGN of this key be changed") from e
        if _may_sign(key):
            raise MarkRefused("the token took the mark and forgot it")


def _may_sign(key: pkcs11.Object) -> bool:
    return key[Attribute.SIGN] is not False
