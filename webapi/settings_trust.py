"""[trust]: the anchors, and how the cards of each issuing CA are judged."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from webapi.settings_base import ResolvedPath, Section

Oid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]


class IssuerSettings(Section):
    """[[trust.issuers]]: how the cards of one issuing CA are judged."""

    name: str = Field(min_length=1, max_length=64, description="short name of the issuer")
    certificates: tuple[ResolvedPath, ...] = Field(
        min_length=1, description="certificates of the issuing CA, DER or PEM"
    )
    responder_url: str = Field(
        pattern=r"^https?://[^\s/@]+(/\S*)?$", description="the CA's OCSP responder"
    )
    certid_hash: Literal["sha1", "sha256"] = Field(
        default="sha256",
        description="hash in the request's CertID; sha1 where a responder knows no other",
    )
    nonce: Literal["require", "prefer", "off"] = Field(
        description="whether the responder must, may or cannot repeat our nonce"
    )
    skew_seconds: int = Field(
        default=300, ge=0, le=900, description="clock difference borne, 0 to 900"
    )
    max_age_seconds: int = Field(
        default=86_400, ge=1, le=604_800, description="oldest thisUpdate that is believed"
    )
    required_policies: tuple[Oid, ...] = Field(
        min_length=1, description="certificate policies of which one must be valid"
    )
    disallowed_policies: tuple[Oid, ...] = Field(
        default=(), description="certificate policies that are refused"
    )
    min_rsa_bits: int = Field(
        default=2048, ge=2048, le=16_384, description="shortest RSA key accepted"
    )
    allowed_curves: tuple[Literal["secp256r1", "secp384r1", "secp521r1"], ...] = Field(
        default=("secp256r1", "secp384r1", "secp521r1"),
        min_length=1,
        description="curves accepted",
    )
    person_attribute: str = Field(
        default="serialNumber",
        pattern=r"^(serialNumber|uid|[0-2](\.(0|[1-9][0-9]*))+)$",
        description="subject attribute that names the person: serialNumber, uid or a dotted OID",
    )
    person_pattern: str = Field(
        min_length=1, description="regular expression that the attribute matches whole"
    )

    @property
    def skew(self) -> timedelta:
        """Clock difference borne."""
        return timedelta(seconds=self.skew_seconds)

    @property
    def max_age(self) -> timedelta:
        """Oldest thisUpdate that is believed."""
        return timedelta(seconds=self.max_age_seconds)


class TrustSettings(Section):
    """[trust]: anchors, intermediates and issuers."""

    roots: tuple[ResolvedPath, ...] = Field(min_length=1, description="root certificates")
    intermediates: tuple[ResolvedPath, ...] = Field(
        default=(), description="CA certificates below them"
    )
    issuers: tuple[IssuerSettings, ...] = Field(
        min_length=1, description="one table [[trust.issuers]] for each issuing CA"
    )
