"""What a token says that it can do, and what is made of it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pkcs11
import pytest
from pkcs11 import Mechanism, MechanismFlag

from pkcs11_bridge.capabilities import MechanismDetails, TokenCapabilities, read_capabilities
from pkcs11_bridge.errors import MechanismUnsupported
from pkcs11_bridge.mechanisms import KeyAlgorithm, SignatureAlgorithm

ANY_EC = MechanismDetails(signs=True, in_hardware=False, min_bits=112, max_bits=521)


def token_with(infos: dict[Mechanism | int, tuple[int, int, int]]) -> pkcs11.Token:
    """A token that lists mechanisms as the binding gives them: smallest, largest key, flags."""

    def info(mechanism: Mechanism) -> SimpleNamespace:
        smallest, largest, flags = infos[mechanism]
        return SimpleNamespace(
            min_key_length=smallest, max_key_length=largest, flags=MechanismFlag(flags)
        )

    slot = SimpleNamespace(get_mechanisms=lambda: set(infos), get_mechanism_info=info)
    return cast("pkcs11.Token", SimpleNamespace(slot=slot))


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ({}, KeyAlgorithm.EC_P256),
        ({Mechanism.ECDSA: ANY_EC}, KeyAlgorithm.ED25519),
        ({Mechanism.ECDSA: ANY_EC}, KeyAlgorithm.RSA_2048),
        ({Mechanism.ECDSA: replace(ANY_EC, signs=False)}, KeyAlgorithm.EC_P256),
        ({Mechanism.ECDSA: replace(ANY_EC, max_bits=384)}, KeyAlgorithm.EC_P521),
        ({Mechanism.ECDSA: replace(ANY_EC, min_bits=384)}, KeyAlgorithm.EC_P256),
    ],
)
def test_a_kind_that_the_token_cannot_sign_with(
    details: dict[Mechanism, MechanismDetails], kind: KeyAlgorithm
) -> None:
    with pytest.raises(MechanismUnsupported, match=rf"{kind}.*{kind.bits} bits"):
        TokenCapabilities(details).require(kind)


@pytest.mark.parametrize("kind", [KeyAlgorithm.EC_P256, KeyAlgorithm.EC_P521])
def test_a_kind_within_the_limits(kind: KeyAlgorithm) -> None:
    (found,) = TokenCapabilities({Mechanism.ECDSA: ANY_EC}).require(kind)
    assert found.mechanism is Mechanism.ECDSA


def test_limits_that_a_token_does_not_tell_refuse_nothing() -> None:
    silent = replace(ANY_EC, min_bits=0, max_bits=0)
    assert TokenCapabilities({Mechanism.ECDSA: silent}).require(KeyAlgorithm.EC_P521)


def test_an_rsa_key_without_pss_keeps_its_other_half() -> None:
    capabilities = TokenCapabilities({Mechanism.RSA_PKCS: replace(ANY_EC, max_bits=4096)})
    assert capabilities.require(KeyAlgorithm.RSA_3072) == {
        SignatureAlgorithm.RS256,
        SignatureAlgorithm.RS384,
        SignatureAlgorithm.RS512,
    }


def test_the_token_is_asked_only_for_what_is_used_and_offered() -> None:
    signing = int(MechanismFlag.SIGN)
    token = token_with(
        {
            Mechanism.RSA_PKCS: (1024, 3072, signing | int(MechanismFlag.HW)),
            Mechanism.ECDSA: (192, 256, signing),
            Mechanism.EDDSA: (0, 0, int(MechanismFlag.VERIFY)),
            0x80000001: (1, 1, signing),  # a vendor's own
        }
    )
    assert read_capabilities(token).details == {
        Mechanism.RSA_PKCS: MechanismDetails(
            signs=True, in_hardware=True, min_bits=1024, max_bits=3072
        ),
        Mechanism.ECDSA: MechanismDetails(
            signs=True, in_hardware=False, min_bits=192, max_bits=256
        ),
        Mechanism.EDDSA: MechanismDetails(signs=False, in_hardware=False, min_bits=0, max_bits=0),
    }


def test_the_table_has_a_row_for_each_algorithm() -> None:
    hardware = replace(ANY_EC, in_hardware=True, max_bits=3072)
    table = TokenCapabilities({Mechanism.RSA_PKCS: hardware, Mechanism.ECDSA: ANY_EC}).table()
    rows = {row.algorithm: row for row in table}
    assert list(rows) == list(SignatureAlgorithm)
    assert rows[SignatureAlgorithm.RS256].keys == (KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_3072)
    assert rows[SignatureAlgorithm.RS256].in_hardware
    assert rows[SignatureAlgorithm.ES384].keys == (KeyAlgorithm.EC_P384,)
    assert rows[SignatureAlgorithm.ES384].mechanism == "CKM_ECDSA"
    assert not rows[SignatureAlgorithm.ES384].in_hardware
    for missing in (SignatureAlgorithm.PS256, SignatureAlgorithm.ED25519):
        assert rows[missing].keys == ()
