"""[trust]: the anchors, and how the cards of each issuing CA are judged."""

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from webapi.settings_base import ResolvedPath, Section

ResponderUrl = Annotated[str, Field(pattern=r"^https?://[^\s/@?#]+(/[^\s?#]*)?$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{64}$")]
Oid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$")]


class IssuerSettings(Section):
    """[[trust.issuers]]: how the cards of one issuing CA are judged."""

    name: str = Field(min_length=1, max_length=64, description="short name of the issuer")
    certificates: tuple[ResolvedPath, ...] = Field(
        min_length=1, description="certificates of the issuing CA, DER or PEM"
    )
    anchors: tuple[ResolvedPath, ...] = Field(
        default=(), description="roots at which its paths may end; empty: any of trust.roots"
    )
    intermediates: tuple[ResolvedPath, ...] = Field(
        default=(), description="CA certificates between anchors and issuing CA"
    )
    certificate_sha256: tuple[Sha256, ...] = Field(
        default=(),
        description="fingerprints, one of which each certificate file named above must have",
    )
    order: Literal["ocsp", "ocsp-then-crl", "crl-then-ocsp", "crl-only"] = Field(
        default="ocsp",
        description="who says a certificate's status, and who if the first says nothing",
    )
    responders: tuple[ResponderUrl, ...] = Field(
        default=(),
        max_length=8,
        description="the CA's OCSP responders, in the order in which they are asked",
    )
    crl_urls: tuple[ResponderUrl, ...] = Field(
        default=(), max_length=8, description="the CA's revocation lists, delta lists included"
    )
    crl_signers: tuple[ResolvedPath, ...] = Field(
        default=(),
        description="certificates that the lists are signed by, if not by the CA's own key",
    )
    crl_max_age_seconds: int = Field(
        default=604_800, ge=1, le=31_622_400, description="oldest thisUpdate of a list"
    )
    crl_refresh_seconds: int = Field(
        default=900, ge=1, le=86_400, description="pause between two fetches of a list"
    )
    crl_max_bytes: int = Field(
        default=33_554_432, ge=1_024, le=268_435_456, description="largest list accepted"
    )
    authorities_publish_no_status_because: str | None = Field(
        default=None,
        min_length=1,
        max_length=500,
        description="why the CA certificates above are not checked: their operators publish no "
        "lists; without it trust.authority_crl_urls must cover them",
    )
    responders_in_private_network: bool = Field(
        default=False, description="true where their addresses are in a network of your own"
    )
    method: Literal["auto", "post"] = Field(
        default="auto", description="auto asks by GET where the URL is short, post never does"
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
    cache: Literal["off", "outage", "first"] = Field(
        default="off",
        description="whether an answer verified before may serve a login: off; in an outage; first",
    )
    cache_max_age_seconds: int = Field(
        default=3_600, ge=1, le=604_800, description="oldest thisUpdate of such an answer"
    )
    next_update_required: bool = Field(
        default=True, description="false only where a responder leaves nextUpdate out"
    )
    attempts: int = Field(
        default=2, ge=1, le=5, description="questions to a responder that is in trouble"
    )
    answer_timeout_seconds: float = Field(
        default=5.0, gt=0, le=30, description="longest wait for one responder"
    )
    status_timeout_seconds: float = Field(
        default=15.0, gt=0, le=60, description="longest wait for all of them together"
    )
    answer_max_bytes: int = Field(
        default=65_536, ge=1_024, le=1_048_576, description="largest answer accepted"
    )
    answer_hashes: tuple[Literal["sha1", "sha256", "sha384", "sha512"], ...] = Field(
        default=("sha256", "sha384", "sha512"),
        min_length=1,
        description="hashes accepted in signatures of answers and of responders' certificates",
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
    client_auth: Literal["if-stated", "required"] = Field(
        default="if-stated",
        description="whether an ExtendedKeyUsage with clientAuth must be there, or fit if it is",
    )
    person_attribute: str = Field(
        default="serialNumber",
        pattern=r"^(serialNumber|uid|[0-2](\.(0|[1-9][0-9]*))+)$",
        description="subject attribute that names the person: serialNumber, uid or a dotted OID",
    )
    person_register: ResolvedPath | None = Field(
        default=None,
        description="TOML file that names the person by the certificate's serial number instead",
    )
    person_pattern: str = Field(
        min_length=1, description="regular expression that the person's identifier matches whole"
    )
    display_name: Literal["commonName", "givenName surname"] = Field(
        default="commonName", description="what a person is greeted by; no identifier"
    )

    @field_validator("responders")
    @classmethod
    def _name_responders(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        # Beside the rule below, which is reached only where every key by itself is right.
        if not value and info.data.get("order") != "crl-only":
            raise ValueError("is empty, and the order asks responders")
        return value

    @model_validator(mode="after")
    def _have_a_source(self) -> Self:
        if bool(self.responders) is (self.order == "crl-only"):
            raise ValueError("has no responders, or has some and an order without them")
        if bool(self.crl_urls) is (self.order == "ocsp"):
            raise ValueError("has no crl_urls, or has some and an order without them")
        return self


class TrustSettings(Section):
    """[trust]: anchors, intermediates and issuers."""

    roots: tuple[ResolvedPath, ...] = Field(
        default=(), description="root certificates, besides the anchors of the issuers"
    )
    intermediates: tuple[ResolvedPath, ...] = Field(
        default=(), description="CA certificates below them"
    )
    profiles: tuple[ResolvedPath, ...] = Field(
        default=(), description="TOML files, each with what a table [[trust.issuers]] has"
    )
    authority_crl_urls: tuple[ResponderUrl, ...] = Field(
        default=(),
        max_length=16,
        description="revocation lists of the CAs above the issuers, for every issuer that does not "
        "say authorities_publish_no_status_because",
    )
    authority_crl_max_age_seconds: int = Field(
        default=34_300_800, ge=1, le=34_300_800, description="oldest thisUpdate of such a list"
    )
    issuers: tuple[IssuerSettings, ...] = Field(
        min_length=1, description="a table [[trust.issuers]] or a profile for each issuing CA"
    )

    @model_validator(mode="after")
    def _say_how_authorities_are_checked(self) -> Self:
        silent = [i for i in self.issuers if i.authorities_publish_no_status_because is None]
        if silent and not self.authority_crl_urls:
            raise ValueError(
                "has no authority_crl_urls, and an issuer that does not say "
                "authorities_publish_no_status_because"
            )
        return self

    @model_validator(mode="after")
    def _have_roots(self) -> Self:
        if not self.roots and not all(issuer.anchors for issuer in self.issuers):
            raise ValueError("has no roots, and an issuer without anchors of its own")
        return self
