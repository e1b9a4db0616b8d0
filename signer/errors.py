"""Every way in which signing or checking can be refused, a class for each fact."""


class SignerError(Exception):
    """Root of this package's errors."""


class PayloadRefused(SignerError):
    """The bytes are not of the form that the purpose's key signs."""


class PermitError(SignerError):
    """A permit does not allow what was asked of it."""


class PermitExists(PermitError):
    """A permit of this id is recorded already."""


class PermitUnknown(PermitError):
    """No permit of this id was ever recorded."""


class PermitAlreadySpent(PermitError):
    """The permit was used before: a permit is for one signature."""


class PermitExpired(PermitError):
    """The permit's time is over."""


class PermitMismatch(PermitError):
    """The permit is for another key or for other bytes."""


class PermitForked(PermitError):
    """The permit or range is another process's: a forked child has none of its parent's."""


class RangeEndsLost(PermitError):
    """Ends of ranges could not be recorded for so long that the oldest was given up."""


class RangeUsedUp(PermitError):
    """The range has no number left, or was closed."""


class AuditBehind(PermitError):
    """Too much waits to be sealed in the audit log: nothing more may be signed until it is."""


class NoKeyForPurpose(SignerError):
    """This process holds no key for the purpose."""


class KeyLifeError(SignerError):
    """A key's place in its rotation does not allow what was asked."""


class RotationWrong(KeyLifeError):
    """The keys of a purpose, as declared, do not make up a rotation."""


class KeyUnlisted(KeyLifeError):
    """The key is not declared for the purpose."""


class KeyInService(KeyLifeError):
    """The key signs, or will: what was asked is for keys that do not."""


class KeyRetired(KeyLifeError):
    """The key is retired: it signs nothing any more."""


class StatementError(SignerError):
    """A statement that persons sign is not, or not yet, what it should be."""


class StatementMalformed(StatementError):
    """The bytes are not a statement, or not one of the kind that is wanted."""


class StatementSignatureInvalid(StatementError):
    """A signature of a statement does not verify."""


class SignerNotTrusted(StatementError):
    """A statement's signer cannot be believed to be another person, known to an authority."""


class SignaturesMissing(StatementError):
    """Not all who must have signed a statement did."""


class CeremonyWrong(StatementError):
    """A ceremony's record does not allow what was asked, or contradicts itself."""


class SignatureInvalid(SignerError):
    """A signature does not verify under the key that it is said to be from."""


class OwnSignatureInvalid(SignatureInvalid):
    """The token returned a signature that does not verify; it was not released."""


class LoginRefused(SignerError):
    """Root of the reasons for which a login is refused."""


class ChallengeNotFound(LoginRefused):
    """No such challenge: never issued, used already, or removed after its time."""


class ChallengeExpired(LoginRefused):
    """The challenge was found, but its time is over."""


class ChallengeOfAnotherBrowser(LoginRefused):
    """The challenge was issued to another browser session."""


class ChallengeStockEmpty(SignerError):
    """No signed challenge is in stock; more are being made."""


class TokenMalformed(LoginRefused):
    """The authentication token is not of the form that its format prescribes."""


class TokenFormatUnsupported(LoginRefused):
    """The token's format or version is not one that this service accepts."""


class TokenAlgorithmUnsupported(LoginRefused):
    """The token's algorithm is not allowed, or does not fit the certificate's key."""


class TokenSignatureInvalid(LoginRefused):
    """The signature is not by the certificate's key over this origin and challenge."""
