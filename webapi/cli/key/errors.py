"""Why a command about keys goes no further."""


class CertificateUnfit(Exception):
    """The certificate is not one that the service could use with this key."""


class KeyChoiceOpen(Exception):
    """A purpose has several keys, and none was named; or its keys need what no setting names."""
