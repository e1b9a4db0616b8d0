"""The register of issued certificates: `issued.json`, from which the service learns serials."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from cryptography import x509

from softhsm_config.errors import PkiInconsistent
from softhsm_config.private_files import write_private


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """One line of the register.

    Attributes:
        ca: Name of the issuing CA, for example `citizen-ca`.
        serial: Serial number in lower-case hex without leading zeros.
        subject: RFC 4514 text.
        not_after: Last second of validity, seconds since 1970 UTC.
    """

    ca: str
    serial: str
    subject: str
    not_after: int

    @classmethod
    def of(cls, ca: str, certificate: x509.Certificate) -> Self:
        """Return the line for a certificate."""
        return cls(
            ca=ca,
            serial=f"{certificate.serial_number:x}",
            subject=certificate.subject.rfc4514_string(),
            not_after=int(certificate.not_valid_after_utc.timestamp()),
        )

    @property
    def expires(self) -> datetime:
        """Last second of validity, UTC."""
        return datetime.fromtimestamp(self.not_after, UTC)


class IssuedRegister:
    """The register in one JSON file, replaced as a whole at each entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self) -> tuple[IssuedCertificate, ...]:
        """Return all lines, oldest first.

        Raises:
            PkiInconsistent: The file is not a register.
        """
        if not self._path.exists():
            return ()
        try:
            unverified = json.loads(self._path.read_bytes())
            return tuple(IssuedCertificate(**line) for line in unverified)
        except (ValueError, TypeError) as e:
            raise PkiInconsistent(f"{self._path} is no register of certificates") from e

    def add(self, entry: IssuedCertificate) -> None:
        """Append a line durably; a line that is there already is not repeated."""
        entries = self.entries()
        if entry in entries:
            return
        lines = [asdict(line) for line in (*entries, entry)]
        write_private(self._path, json.dumps(lines, indent=1, ensure_ascii=False).encode())
