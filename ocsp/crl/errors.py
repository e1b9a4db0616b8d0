"""Why a certificate revocation list is no evidence of any status."""

from ocsp.errors import CrlRefused


class CrlMalformed(CrlRefused):
    """Not the DER of a v2 CRL that RFC 5280 section 5 allows."""


class CrlExtensionUnknown(CrlRefused):
    """A critical extension, of the CRL or of one of its entries, that is not processed here.

    Attributes:
        oid: dotted OID of the extension.
    """

    def __init__(self, oid: str) -> None:
        super().__init__(f"critical CRL extension {oid} is not processed")
        self.oid = oid


class CrlAlgorithmRefused(CrlRefused):
    """The CRL is signed by an algorithm outside the issuer's list."""


class CrlSignerNotAuthorised(CrlRefused):
    """No certificate that may sign this CRL has a valid path to the same root."""


class CrlSignatureInvalid(CrlRefused):
    """The signature is that of no certificate which may sign this CRL."""


class CrlStale(CrlRefused):
    """nextUpdate has passed or is absent, or thisUpdate is older than the issuer's cap."""


class CrlOutdated(CrlRefused):
    """A newer list of the same issuer and scope was had from there before."""


class CrlFromFuture(CrlRefused):
    """thisUpdate lies in the future."""


class CrlMissing(CrlRefused):
    """There is no CRL whose issuer and scope fit the certificate."""


class AuthorityStatusUnknown(CrlRefused):
    """No list of the CAs above says whether a CA certificate of the path is still good."""


class CrlReasonsIncomplete(CrlRefused):
    """The usable CRLs together do not speak for all reasons of revocation."""
