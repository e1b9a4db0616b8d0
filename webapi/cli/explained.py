"""Errors whose text tells a person what is wrong and what to do: no stack is shown for them."""

from ocsp.errors import ConfigurationInvalid
from pkcs11_bridge.errors import TokenError
from signer.audit.errors import AuditError
from signer.receipts.errors import ReceiptsError
from webapi.backup.errors import BackupError
from webapi.config import ConfigurationWrong
from webapi.storage.errors import StorageError
from webapi.token_keys import SoftwareTokenInProduction, ZoneNotConfigured
from webapi.trust_settings import CertificateFileWrong, PersonRegisterWrong

EXPLAINED = (
    AuditError,
    BackupError,
    CertificateFileWrong,
    ConfigurationInvalid,
    ConfigurationWrong,
    PersonRegisterWrong,
    ReceiptsError,
    SoftwareTokenInProduction,
    StorageError,
    TokenError,
    ZoneNotConfigured,
)
