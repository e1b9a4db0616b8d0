"""What the token says of a key, as a statement for a person to sign."""

import base64
from dataclasses import asdict
from datetime import datetime
from importlib.metadata import version

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pkcs11_bridge.key_attributes import TokenIdentity
from signer.statement import draft_statement
from webapi.cli.key.facts import KeyFacts

FORMAT = "mn.tamga-key-statement/1"

MEANING = (
    "At the stated time this program read these attributes of this key from this token. The token "
    "itself signed nothing: whoever trusts this statement trusts the persons who signed it, the "
    "computer that they used, and what the token told. It does not prove that the token is the "
    "device that it calls itself, nor that the key was never outside of it. Where the device's "
    "vendor offers an attestation, keep that beside this statement."
)


def attestation(facts: KeyFacts, token: TokenIdentity, *, at: datetime) -> bytes:
    """The unsigned statement's file."""
    return draft_statement(
        {
            "format": FORMAT,
            "key": key_members(facts),
            "meaning": MEANING,
            "software": software(),
            "stated_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "token": asdict(token),
        }
    ).serialise()


def key_members(facts: KeyFacts) -> dict[str, object]:
    """A key with its public half, so that others can pin what was stated."""
    key = None if facts.attributes is None else facts.attributes.public_key
    spki = None
    if key is not None:
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki = base64.b64encode(der).decode("ascii")
    return {**facts.members(), "public_key": spki}


def software() -> str:
    """This program and its version."""
    return f"tamga {version('tamga-auth')}"
