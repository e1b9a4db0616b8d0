"""The card application against a memory in memory."""

from dataclasses import dataclass, field

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from softhsm_config.errors import InputUnfit
from softhsm_config.virtual_card import tlv
from softhsm_config.virtual_card.apdu import Command, Response
from softhsm_config.virtual_card.chip_key import ChipKey, EcChipKey, RsaChipKey, chip_key
from softhsm_config.virtual_card.piv import PivApplication
from softhsm_config.virtual_card.slots import Slot

PIN = b"271828\xff\xff"
WRONG = b"314159\xff\xff"
DIGEST = bytes(range(32))
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass
class Memory:
    serial: int = 0x01020304
    tries_left: int = 3
    objects: dict[bytes, bytes] = field(default_factory=lambda: {b"\x5f\xc1\x05": b"certificate"})
    keys: dict[Slot, ChipKey] = field(
        default_factory=lambda: {
            Slot.AUTHENTICATION: RsaChipKey(RSA_KEY),
            Slot.SIGNATURE: EcChipKey(EC_KEY),
            Slot.CARD_AUTHENTICATION: EcChipKey(EC_KEY),
        }
    )

    def data_object(self, tag: bytes) -> bytes | None:
        return self.objects.get(tag)

    def key(self, slot: Slot) -> ChipKey | None:
        return self.keys.get(slot)

    def try_pin(self, padded_pin: bytes) -> bool:
        self.tries_left -= 1
        if padded_pin == PIN:
            self.tries_left = 3
        return padded_pin == PIN


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def piv(memory: Memory) -> PivApplication:
    return PivApplication(memory)


def run(piv: PivApplication, header: str, data: bytes = b"") -> Response:
    cla, ins, p1, p2 = bytes.fromhex(header)
    return piv.execute(Command(cla, ins, p1, p2, data, 256))


def verify(piv: PivApplication, pin: bytes = PIN) -> int:
    return run(piv, "00200080", pin).status


def authenticate(piv: PivApplication, header: str, challenge: bytes = DIGEST) -> Response:
    return run(piv, header, tlv.encode(0x7C, b"\x82\x00" + tlv.encode(0x81, challenge)))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("00A40400", "A0000003"),  # shorter than five bytes
        ("00A40400", "A000000151000000"),
        ("00A40400", "A00000030800001001"),
        ("00A40000", "A000000308"),
    ],
)
def test_other_applications_are_not_found(piv: PivApplication, header: str, name: str) -> None:
    assert run(piv, header, bytes.fromhex(name)).status == 0x6A82


@pytest.mark.parametrize(
    "name", ["A000000308", "A00000030800001000", "A000000308000010000100", "A00000030800001000FFFF"]
)
def test_select_by_the_beginning_of_the_name(piv: PivApplication, name: str) -> None:
    answer = run(piv, "00A40400", bytes.fromhex(name))
    assert answer.status == 0x9000
    assert answer.data == tlv.encode(
        0x61,
        tlv.encode(0x4F, bytes.fromhex("000010000100"))
        + tlv.encode(0x79, tlv.encode(0x4F, bytes.fromhex("A000000308"))),
    )


@pytest.mark.parametrize(
    ("header", "data", "status"),
    [
        ("00CB0000", "5C035FC105", 0x6A86),
        ("00CB3FFF", "", 0x6A80),
        ("00CB3FFF", "5C03", 0x6A80),
        ("00CB3FFF", "5D035FC105", 0x6A80),
        ("00CB3FFF", "5C035FC10A", 0x6A82),
    ],
)
def test_wrong_get_data(piv: PivApplication, header: str, data: str, status: int) -> None:
    assert run(piv, header, bytes.fromhex(data)).status == status


def test_get_data(piv: PivApplication) -> None:
    assert run(piv, "00CB3FFF", bytes.fromhex("5C035FC105")) == Response(b"certificate")
    discovery = run(piv, "00CB3FFF", bytes.fromhex("5C017E"))
    assert discovery.data.hex() == "7e124f0ba0000003080000100001005f2f024000"


def test_version_serial_and_unknown_instructions(piv: PivApplication) -> None:
    assert run(piv, "00FD0000") == Response(bytes.fromhex("050403"))
    assert run(piv, "00F80000") == Response(bytes.fromhex("01020304"))
    assert run(piv, "00240080").status == 0x6D00


def test_wrong_pins_count_down_and_stay_locked(piv: PivApplication) -> None:
    assert verify(piv, b"") == 0x63C3
    assert [verify(piv, WRONG) for _ in range(3)] == [0x63C2, 0x63C1, 0x6983]
    assert verify(piv) == 0x6983
    assert verify(piv, b"") == 0x6983


def test_a_right_pin_restores_the_tries(piv: PivApplication, memory: Memory) -> None:
    verify(piv, WRONG)
    assert verify(piv) == 0x9000
    assert memory.tries_left == 3
    assert verify(piv, b"") == 0x9000


def test_a_wrong_pin_forgets_the_right_one(piv: PivApplication) -> None:
    verify(piv)
    verify(piv, WRONG)
    assert authenticate(piv, "0087079A", bytes(256)).status == 0x6982


@pytest.mark.parametrize(
    ("header", "data", "status"),
    [("00200081", PIN, 0x6A88), ("00200180", PIN, 0x6A86), ("00200080", b"1234", 0x6A80)],
)
def test_wrong_verify(
    piv: PivApplication, memory: Memory, header: str, data: bytes, status: int
) -> None:
    assert run(piv, header, data).status == status
    assert memory.tries_left == 3


def test_the_pin_is_forgotten_on_request_and_on_reset(piv: PivApplication) -> None:
    verify(piv)
    assert run(piv, "0020FF80").status == 0x9000
    assert verify(piv, b"") == 0x63C3
    verify(piv)
    piv.reset()
    assert verify(piv, b"") == 0x63C3


@pytest.mark.parametrize(
    ("header", "data", "status"),
    [
        ("00870701", "7C048200 8100", 0x6A88),  # no such slot
        ("0087079D", "7C048200 8100", 0x6A88),  # slot without a key
        ("0087119A", "7C048200 8100", 0x6A86),  # P-256 operation, RSA key
        ("0087079A", "7C028200", 0x6A80),  # no input
        ("0087079A", "7D048200 8100", 0x6A80),
        ("0087079A", "7C0582", 0x6A80),
        ("0087079A", "", 0x6A80),
    ],
)
def test_wrong_general_authenticate(
    piv: PivApplication, header: str, data: str, status: int
) -> None:
    verify(piv)
    assert run(piv, header, bytes.fromhex(data)).status == status


def test_input_of_the_wrong_size_is_refused(piv: PivApplication) -> None:
    verify(piv)
    assert authenticate(piv, "0087079A", bytes(255)).status == 0x6700
    assert authenticate(piv, "0087079A", b"\xff" * 256).status == 0x6700
    assert authenticate(piv, "0087119E", b"").status == 0x6700


def test_the_authentication_key_wants_the_pin_once(piv: PivApplication) -> None:
    block = bytes.fromhex("0001") + b"\xff" * 221 + b"\x00" + DIGEST
    assert authenticate(piv, "0087079A", block).status == 0x6982
    verify(piv)
    assert authenticate(piv, "0087079A", block).status == 0x9000
    answer = authenticate(piv, "0087079A", block)
    assert answer.status == 0x9000
    ((_, template),) = tlv.decode_all(answer.data)
    signature = dict(tlv.decode_all(template))[0x82]
    numbers = RSA_KEY.public_key().public_numbers()
    assert pow(int.from_bytes(signature), numbers.e, numbers.n).to_bytes(256) == block


def test_the_signature_key_wants_the_pin_each_time(piv: PivApplication) -> None:
    verify(piv)
    answer = authenticate(piv, "0087119C")
    assert answer.status == 0x9000
    ((_, template),) = tlv.decode_all(answer.data)
    signature = dict(tlv.decode_all(template))[0x82]
    EC_KEY.public_key().verify(signature, DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))
    assert authenticate(piv, "0087119C").status == 0x6982


@pytest.mark.parametrize("between", ["select", "other key"])
def test_what_uses_the_signature_pin_up(piv: PivApplication, between: str) -> None:
    verify(piv)
    if between == "select":
        run(piv, "00A40400", bytes.fromhex("A000000308"))
    else:
        authenticate(piv, "0087119E")
    assert authenticate(piv, "0087119C").status == 0x6982


def test_the_card_key_wants_no_pin(piv: PivApplication) -> None:
    assert authenticate(piv, "0087119E").status == 0x9000


@pytest.mark.parametrize("digest", [b"\x07", DIGEST + b"tail"])
def test_short_digests_are_small_numbers_and_long_ones_lose_their_tail(digest: bytes) -> None:
    expected = digest[:32].rjust(32, b"\0")
    signature = EcChipKey(EC_KEY).sign(digest)
    EC_KEY.public_key().verify(signature, expected, ec.ECDSA(Prehashed(hashes.SHA256())))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(public_exponent=65537, key_size=3072),
        "text",
    ],
    ids=["p384", "rsa3072", "text"],
)
def test_other_keys_do_not_fit_the_chip(key: object) -> None:
    with pytest.raises(InputUnfit):
        chip_key(key)
