"""What a token says that it can do, and whether a key's algorithm is among it.

Asked of the token (C_GetMechanismList, C_GetMechanismInfo: PKCS#11 2.40, section 5.5) when a key is
opened, so that a key whose signatures could only fail is refused at the start and not at its first
signature.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pkcs11
from pkcs11 import Mechanism, MechanismFlag

from pkcs11_bridge.errors import MechanismUnsupported
from pkcs11_bridge.mechanisms import KeyAlgorithm, SignatureAlgorithm, algorithms_of_kind


@dataclass(frozen=True, slots=True)
class MechanismDetails:
    """CK_MECHANISM_INFO of a mechanism.

    Attributes:
        signs: CKF_SIGN.
        in_hardware: CKF_HW, as the token says it.
        min_bits: the smallest key.
        max_bits: the largest key; 0 from a token that does not tell.
    """

    signs: bool
    in_hardware: bool
    min_bits: int
    max_bits: int

    def takes(self, key: KeyAlgorithm) -> bool:
        """Whether a key of this size signs."""
        if not self.signs:
            return False
        return self.max_bits == 0 or self.min_bits <= key.bits <= self.max_bits


@dataclass(frozen=True, slots=True)
class AlgorithmSupport:
    """A row of the table that people are shown.

    Attributes:
        algorithm: what is signed with.
        mechanism: the mechanism's name, as PKCS#11 spells it.
        keys: the kinds of key that the token signs with so; none if it cannot.
        in_hardware: as the token says it.
    """

    algorithm: SignatureAlgorithm
    mechanism: str
    keys: tuple[KeyAlgorithm, ...]
    in_hardware: bool


@dataclass(frozen=True, slots=True)
class TokenCapabilities:
    """What one token can sign with."""

    details: Mapping[Mechanism, MechanismDetails]
    """Of the mechanisms that are used here, those that the token lists."""

    def algorithms(self, key: KeyAlgorithm) -> frozenset[SignatureAlgorithm]:
        """What a key of this kind signs with on this token."""
        return frozenset(
            algorithm
            for algorithm in algorithms_of_kind(key)
            if (found := self.details.get(algorithm.mechanism)) is not None and found.takes(key)
        )

    def require(self, key: KeyAlgorithm) -> frozenset[SignatureAlgorithm]:
        """What a key of this kind signs with on this token, at least one algorithm.

        Raises:
            MechanismUnsupported: none.
        """
        found = self.algorithms(key)
        if not found:
            wanted = algorithms_of_kind(key)[0]
            raise MechanismUnsupported(
                f"the token cannot sign with a key of the kind {key}: it offers no "
                f"{mechanism_name(wanted.mechanism)} for {key.bits} bits"
            )
        return found

    def table(self) -> tuple[AlgorithmSupport, ...]:
        """Every algorithm, in the order of SignatureAlgorithm."""
        rows = []
        for algorithm in SignatureAlgorithm:
            details = self.details.get(algorithm.mechanism)
            keys = tuple(key for key in KeyAlgorithm if algorithm in self.algorithms(key))
            in_hardware = details is not None and details.in_hardware
            name = mechanism_name(algorithm.mechanism)
            rows.append(AlgorithmSupport(algorithm, name, keys, in_hardware))
        return tuple(rows)


def mechanism_name(mechanism: Mechanism) -> str:
    """The name in PKCS#11, CKM_ECDSA for instance."""
    return f"CKM_{mechanism.name}"


def read_capabilities(token: pkcs11.Token) -> TokenCapabilities:
    """Ask the token; no login is needed. Raises the binding's errors."""
    offered = token.slot.get_mechanisms()
    used = dict.fromkeys(algorithm.mechanism for algorithm in SignatureAlgorithm)
    details = {}
    for mechanism in used:
        if mechanism not in offered:
            continue
        info = token.slot.get_mechanism_info(mechanism)
        details[mechanism] = MechanismDetails(
            signs=bool(info.flags & MechanismFlag.SIGN),
            in_hardware=bool(info.flags & MechanismFlag.HW),
            min_bits=info.min_key_length or 0,
            max_bits=info.max_key_length or 0,
        )
    return TokenCapabilities(details)
