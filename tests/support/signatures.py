"""Proof that real modules signed: what each token did, told at the end of the run."""

import os
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pkcs11_bridge.encoding import HashName, raw_to_der
from pkcs11_bridge.keyring import PublicKey, SignatureAlgorithm
from pkcs11_bridge.sign_counts import sign_counts

HASHES: dict[HashName, hashes.HashAlgorithm] = {
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True)
class SignatureReport:
    """How many signatures one token made."""

    module: Path
    process_id: int
    token: str
    signatures: int


_cards: list[SignatureReport] = []


def counts_by_label() -> dict[str, int]:
    """This process's signatures by token label."""
    return {token.label: count for token, count in sign_counts().items()}


def report_card(module: Path, process_id: int, token: str, signatures: int) -> None:
    """Note what a virtual card counted in a process of its own."""
    _cards.append(SignatureReport(module, process_id, token, signatures))


def reports() -> list[SignatureReport]:
    """Every token's figures: those of this process, and the virtual cards' own."""
    own = [
        SignatureReport(token.module, os.getpid(), f"token {token.label}", count)
        for token, count in sign_counts().items()
    ]
    return own + _cards


def verify_signature(
    public_key: PublicKey, algorithm: SignatureAlgorithm, signature: bytes, message: bytes
) -> None:
    """Verify with another library than the token's; raises InvalidSignature."""
    if algorithm.hash_name is None:
        assert not isinstance(public_key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
        public_key.verify(signature, message)
        return
    hash_ = HASHES[algorithm.hash_name]
    if isinstance(public_key, rsa.RSAPublicKey):
        v15 = padding.PKCS1v15()
        pss = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
        public_key.verify(signature, message, v15 if algorithm.startswith("RS") else pss, hash_)
    else:
        assert isinstance(public_key, ec.EllipticCurvePublicKey)
        assert len(signature) == 2 * ((public_key.key_size + 7) // 8)
        public_key.verify(raw_to_der(signature), message, ec.ECDSA(hash_))
