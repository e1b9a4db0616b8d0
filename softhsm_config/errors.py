"""What can go wrong while development tokens, certificates and cards are made or run."""


class SofthsmConfigError(Exception):
    """Root of every error that this package raises."""


class ProgramMissing(SofthsmConfigError):
    """A program or driver of the distribution is not installed.

    Attributes:
        package: Name of the Debian or Ubuntu package that holds it.
    """

    def __init__(self, program: str, package: str) -> None:
        super().__init__(f"{program} is not installed: apt-get install {package}")
        self.package = package


class IsolationUnavailable(SofthsmConfigError):
    """This machine lets us create no namespace of our own, so no private card reader."""


class ReaderFailed(SofthsmConfigError):
    """The virtual reader did not start, stopped by itself or did not show the card in time."""


class CardCommandRefused(SofthsmConfigError):
    """The running card refused a control command (insert, remove, faults)."""


class CardImageInvalid(SofthsmConfigError):
    """A card image on disk is incomplete, malformed or readable by others."""


class ApduMalformed(SofthsmConfigError):
    """Bytes are not a command APDU of ISO/IEC 7816-4 section 5.1."""


class TlvMalformed(SofthsmConfigError):
    """Bytes are not one BER-TLV data object (ISO/IEC 7816-4 section 5.2.2)."""


class FrameMalformed(SofthsmConfigError):
    """The virtual reader closed the connection inside a frame."""


class InputUnfit(SofthsmConfigError):
    """A chip key was handed, or made of, something that it cannot work with."""


class CardPulled(SofthsmConfigError):
    """The card left the reader in the middle of a command; unwinds the reader's loop."""


class EnvironmentTaken(SofthsmConfigError):
    """This process's SOFTHSM2_CONF leads to other tokens; SoftHSM reads it only once."""


class PkiInconsistent(SofthsmConfigError):
    """Certificates on disk do not belong to the keys in the tokens."""


class KeyNotForCertificates(SofthsmConfigError):
    """No such key, or its kind signs no certificates."""
