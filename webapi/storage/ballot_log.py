"""The tables of the ballot logs: entries, intents to sign, signed checkpoints."""

from sqlalchemy import BigInteger, Boolean, Column, LargeBinary, String, Table, UniqueConstraint

from webapi.storage.schema import BALLOTS, runtime_may

log_entries = Table(
    "log_entries",
    BALLOTS,
    Column("election_id", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", LargeBinary, nullable=False),
    info=runtime_may(),
)

log_intents = Table(
    "log_intents",
    BALLOTS,
    # The primary key is the fence: one root is ever signed for a log and size.
    Column("election_id", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("previous_size", BigInteger, nullable=False),
    Column("holder", String(32), nullable=False),
    # A checkpoint has one successor.
    UniqueConstraint("election_id", "previous_size"),
    info=runtime_may(update=("holder",)),
)

log_checkpoints = Table(
    "log_checkpoints",
    BALLOTS,
    Column("election_id", String(64), primary_key=True),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary(32), nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("previous_size", BigInteger, nullable=False),
    Column("released", Boolean, nullable=False),
    UniqueConstraint("election_id", "previous_size"),
    info=runtime_may(update=("released",)),
)
