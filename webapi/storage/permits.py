"""The ledger of signing permits: recorded before they exist, spent by one statement."""

from datetime import datetime

from sqlalchemy import (
    BigInteger,
    Column,
    Engine,
    LargeBinary,
    String,
    Table,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from signer.errors import PermitAlreadySpent, PermitExists, PermitUnknown
from signer.permit import PermitRecord
from webapi.storage.schema import EVERY_REALM, runtime_may
from webapi.storage.times import to_unix

permits = Table(
    "permits",
    EVERY_REALM,
    Column("permit_id", String(32), primary_key=True),
    Column("purpose", String(64), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("spent_at", BigInteger, nullable=True),
    # A hidden row number would tell between which logins a ballot's checkpoint was signed.
    sqlite_with_rowid=False,
    info=runtime_may(update=("spent_at",)),
)


class SqlPermitLedger:
    """`signer.permit.PermitLedger` on the database; each call is durable when it returns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def record(self, permit: PermitRecord) -> None:
        """Record a permit that is not yet spent.

        Raises:
            PermitExists: a permit of this id is recorded.
        """
        statement = insert(permits).values(
            permit_id=permit.permit_id,
            purpose=str(permit.purpose),
            owner=permit.owner,
            digest=permit.digest,
            issued_at=to_unix(permit.issued_at),
            expires_at=to_unix(permit.expires_at),
        )
        try:
            with self._engine.begin() as connection:
                connection.execute(statement)
        except IntegrityError as e:
            raise PermitExists("a permit of this id is recorded") from e

    def spend(self, permit_id: str, at: datetime) -> None:
        """Mark a permit as spent; of any number of simultaneous calls one succeeds.

        Raises:
            PermitUnknown: it was never recorded.
            PermitAlreadySpent: it was spent before.
        """
        chosen = permits.c.permit_id == permit_id
        with self._engine.begin() as connection:
            spending = (
                update(permits)
                .where(chosen, permits.c.spent_at.is_(None))
                .values(spent_at=to_unix(at))
            )
            if connection.execute(spending).rowcount == 1:
                return
            known = connection.execute(select(permits.c.permit_id).where(chosen)).first()
        if known is None:
            raise PermitUnknown("no permit of this id was recorded")
        raise PermitAlreadySpent("the permit was used before")
