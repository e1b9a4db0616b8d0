"""Errors whose text tells a person what is wrong and what to do: no stack is shown for them."""

from ocsp.errors import ConfigurationInvalid
from pkcs11_bridge.errors import TokenError
from signer.audit.errors import AuditError
from signer.errors import (
    KeyLifeError,
    NoKeyForPurpose,
    PayloadRefused,
    PermitError,
    StatementError,
)
from signer.receipts.errors import ReceiptsError
from webapi.backup.errors import BackupError
from webapi.cli.key.errors import CertificateUnfit, KeyChoiceOpen
from webapi.config import ConfigurationWrong
from webapi.storage.errors import StorageError
from webapi.token_keys import (
    CertificateNotConfigured,
    SoftwareTokenInProduction,
    ZoneNotConfigured,
)
from webapi.trust_settings import CertificateFileWrong, PersonRegisterWrong

EXPLAINED = (
    AuditError,
    BackupError,
    CertificateFileWrong,
    CertificateNotConfigured,
    CertificateUnfit,
    ConfigurationInvalid,
    ConfigurationWrong,
    KeyChoiceOpen,
    KeyLifeError,
    NoKeyForPurpose,
    PayloadRefused,
    PermitError,
    PersonRegisterWrong,
    ReceiptsError,
    SoftwareTokenInProduction,
    StatementError,
    StorageError,
    TokenError,
    ZoneNotConfigured,
)
