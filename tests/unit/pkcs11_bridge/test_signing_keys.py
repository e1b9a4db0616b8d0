"""Token keys as cryptography's builders use them; software keys stand for the token."""

import copy
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509 import ocsp as x509_ocsp

from pkcs11_bridge.encoding import HashName, der_to_raw
from pkcs11_bridge.signing_keys import ec_signing_key, rsa_signing_key

EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha384": hashes.SHA384()}
NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def sign_ec(message: bytes, hash_name: HashName) -> bytes:
    return der_to_raw(EC_KEY.sign(message, ec.ECDSA(HASHES[hash_name])), 32)


def sign_rsa(message: bytes, hash_name: HashName) -> bytes:
    return RSA_KEY.sign(message, padding.PKCS1v15(), HASHES[hash_name])


EC_SIGNER = ec_signing_key(EC_KEY.public_key(), sign_ec)
RSA_SIGNER = rsa_signing_key(RSA_KEY.public_key(), sign_rsa)


def test_private_parts_are_refused() -> None:
    with pytest.raises(UnsupportedAlgorithm):
        EC_SIGNER.exchange(ec.ECDH(), EC_KEY.public_key())
    with pytest.raises(UnsupportedAlgorithm):
        RSA_SIGNER.decrypt(b"", padding.PKCS1v15())
    for signer in (EC_SIGNER, RSA_SIGNER):
        with pytest.raises(UnsupportedAlgorithm):
            signer.private_numbers()
        with pytest.raises(UnsupportedAlgorithm):
            signer.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.MD5(), Prehashed(hashes.SHA256())])  # noqa: S303 - refused
def test_other_hashes_are_refused(algorithm: hashes.HashAlgorithm) -> None:
    with pytest.raises(UnsupportedAlgorithm):
        EC_SIGNER.sign(b"text", ec.ECDSA(algorithm))
    with pytest.raises(UnsupportedAlgorithm):
        RSA_SIGNER.sign(b"text", padding.PKCS1v15(), algorithm)


def test_other_paddings_are_refused() -> None:
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    with pytest.raises(UnsupportedAlgorithm):
        RSA_SIGNER.sign(b"text", pss, hashes.SHA256())


def test_other_signature_schemes_are_refused() -> None:
    class Other(ec.EllipticCurveSignatureAlgorithm):
        algorithm = hashes.SHA256()

    with pytest.raises(UnsupportedAlgorithm):
        EC_SIGNER.sign(b"text", Other())


@pytest.mark.parametrize("signer", [EC_SIGNER, RSA_SIGNER], ids=["ec", "rsa"])
def test_builders_sign_with_it(signer: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    certificate = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(signer.public_key())
        .serial_number(1)
        .not_valid_before(START)
        .not_valid_after(END)
        .sign(signer, hashes.SHA256())
    )
    certificate.verify_directly_issued_by(certificate)
    request = x509.CertificateSigningRequestBuilder(NAME).sign(signer, hashes.SHA256())
    assert request.is_signature_valid
    answer = (
        x509_ocsp.OCSPResponseBuilder()
        .responder_id(x509_ocsp.OCSPResponderEncoding.HASH, certificate)
        .add_response(
            certificate,
            certificate,
            hashes.SHA256(),
            x509_ocsp.OCSPCertStatus.GOOD,
            START,
            END,
            None,
            None,
        )
        .sign(signer, hashes.SHA256())
    )
    public_key = signer.public_key()
    if isinstance(public_key, rsa.RSAPublicKey):
        public_key.verify(
            answer.signature, answer.tbs_response_bytes, padding.PKCS1v15(), hashes.SHA256()
        )
    else:
        public_key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(hashes.SHA256()))


def test_it_tells_its_size_and_copies_are_itself() -> None:
    assert (EC_SIGNER.key_size, EC_SIGNER.curve.name) == (256, "secp256r1")
    assert RSA_SIGNER.key_size == 2048
    for signer in (EC_SIGNER, RSA_SIGNER):
        assert copy.copy(signer) is signer
        assert copy.deepcopy(signer) is signer
