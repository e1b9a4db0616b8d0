"""The folders of audit logs: one for each generation of each realm's, side by side."""

import re
from dataclasses import dataclass
from pathlib import Path

from signer.audit.sealing import FIRST_GENERATION, audit_log_id
from signer.receipts.errors import DatabaseBehind
from signer.receipts.tile_store import TileFolder
from webapi.storage.realm import Realm

_LATER = re.compile(r"-([2-9]|[1-9][0-9]{1,8})")


@dataclass(frozen=True, slots=True)
class AuditFolders:
    """What lies in the directory of audit logs.

    Attributes:
        directory: of all realms.
    """

    directory: Path

    def of(self, realm: Realm, generation: int = FIRST_GENERATION) -> TileFolder:
        """A generation's folder; nothing is made."""
        return TileFolder(self._path(realm, generation))

    def exists(self, realm: Realm, generation: int) -> bool:
        """Whether there is a folder of this generation, whatever it holds."""
        return self._path(realm, generation).is_dir()

    def newest(self, realm: Realm) -> int:
        """The last generation of which a folder shows that it was sealed; the first otherwise."""
        found = {FIRST_GENERATION}
        if self.directory.is_dir():
            for path in self.directory.iterdir():
                match = _LATER.fullmatch(path.name.removeprefix(str(realm)))
                if match is not None and path.name.startswith(str(realm)) and _was_sealed(path):
                    found.add(int(match[1]))
        return max(found)

    def require_none_later(self, realm: Realm, generation: int) -> None:
        """Find no folder of a later generation than the database knows.

        Raises:
            DatabaseBehind: there is one.
        """
        newest = self.newest(realm)
        if newest > generation:
            raise DatabaseBehind(
                f"there is a folder {audit_log_id(str(realm), newest)}, and the database knows "
                f"generation {generation} as the last: was a backup restored?"
            )

    def _path(self, realm: Realm, generation: int) -> Path:
        return self.directory / audit_log_id(str(realm), generation)


def _was_sealed(path: Path) -> bool:
    return (path / "checkpoint").exists() or (path / "tile").exists()
