"""Certificate revocation lists: which number is next, when a list is due, what is published.

A change of a certificate counts `changes` up in its own transaction. Whoever makes a list reads
that count first and the certificates later: a change that it missed is left over in the count, and
the next list is due at once.

Numbers follow the clock and are written down before a list is signed: also a database that was put
back gives no number twice.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    Row,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from webapi.storage.answer_holds import IS_ON_HOLD, AnswersOnHold, require_no_hold
from webapi.storage.errors import StorageError
from webapi.storage.quick_look import QuickLook
from webapi.storage.schema import PKI, runtime_may
from webapi.storage.sqlite import reading
from webapi.storage.times import from_unix, to_unix

TURN_LIFE = timedelta(minutes=2)
"""For so long whoever took a number has the making of the list for itself."""

crl_states = Table(
    "crl_states",
    PKI,
    Column("ca", String(64), primary_key=True),
    # Of certificates' states, and how many of them the newest list knows.
    Column("changes", BigInteger, nullable=False),
    Column("listed_changes", BigInteger, nullable=False),
    # The last that was taken.
    Column("number", BigInteger, nullable=False),
    Column("taken_until", BigInteger, nullable=False),
    Column("refresh_at", BigInteger, nullable=False),
    info=runtime_may(update=("changes", "listed_changes", "number", "taken_until", "refresh_at")),
)

crls = Table(
    "crls",
    PKI,
    Column("ca", String(64), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    # Of the complete list that the delta list changes; its own, where it begins a new series.
    Column("base_number", BigInteger, nullable=False),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("complete", LargeBinary, nullable=False),
    Column("delta", LargeBinary, nullable=True),
    info=runtime_may(delete=True),
)


class CrlTurnLost(StorageError):
    """Somebody else has taken a later number meanwhile."""


@dataclass(frozen=True, slots=True)
class PublishedCrl:
    """A list, and its delta list.

    Attributes:
        number: of both.
        base_number: of the complete list that the delta list changes.
        this_update: of both.
        next_update: of both.
        complete: DER.
        delta: DER; None where none are made.
    """

    number: int
    base_number: int
    this_update: datetime
    next_update: datetime
    complete: bytes = field(repr=False)
    delta: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class CrlVersion:
    """Which list is published, without its bytes.

    Attributes:
        number: of it and its delta list.
        this_update: of both.
        next_update: of both.
    """

    number: int
    this_update: datetime
    next_update: datetime


@dataclass(frozen=True, slots=True)
class CrlTurn:
    """The right to make the next list.

    Attributes:
        number: its number.
        changes: how many it will know at least.
        is_scheduled: it is due by the clock, and not by a change alone; or the clock was ahead when
            the last one was made; or it replaces that one.
        last: the newest that is published; None before the first.
        base: the complete list that `last`'s series changes; None before the first.
    """

    number: int
    changes: int
    is_scheduled: bool
    last: PublishedCrl | None
    base: PublishedCrl | None


_states, _lists = crl_states.c, crls.c
# One statement, because it is asked with every request; the newest is its first row of at most two.
_NAMING = (
    select(IS_ON_HOLD, _lists.number, _lists.this_update, _lists.next_update)
    .where(_lists.ca == bindparam("ca"))
    .order_by(_lists.number.desc())
)


def count_change_in(connection: Connection, ca: str) -> None:
    """A certificate of the CA changed, in this transaction of the caller's."""
    _provide_state(connection, ca)
    counting = update(crl_states).where(_states.ca == ca).values(changes=_states.changes + 1)
    connection.execute(counting)


class SqlCrlStore:
    """The lists of one CA."""

    def __init__(self, engine: Engine, ca: str) -> None:
        self._engine = engine
        self._reading = reading(engine)
        self._ca = ca
        self._naming = QuickLook(engine, _NAMING)

    def take_turn(self, at: datetime, *, replaces: int | None = None) -> CrlTurn | None:
        """The right to make the list that is due; None where none is, or another makes it.

        Args:
            at: now, whole seconds.
            replaces: if the newest list still has this number, another one is due.

        Raises:
            AnswersOnHold: nothing is to be said of any certificate.
        """
        now = to_unix(at)
        with self._engine.begin() as connection:
            require_no_hold(connection)
            _provide_state(connection, self._ca)
            locking = select(crl_states).where(_states.ca == self._ca).with_for_update()
            state = connection.execute(locking).one()
            taken_until = to_unix(at + TURN_LIFE)
            # No list, and no turn, is of later than that: the clock was set back.
            is_scheduled = (
                state.refresh_at <= now
                or self._has_later(connection, taken_until)
                or (replaces is not None and self._newest_number(connection) == replaces)
            )
            is_due = is_scheduled or state.changes > state.listed_changes
            is_taken = now < state.taken_until <= taken_until
            if is_taken or not is_due:
                return None
            number = max(state.number + 1, now)
            taking = update(crl_states).where(_states.ca == self._ca)
            connection.execute(taking.values(number=number, taken_until=taken_until))
            last = self._newest(connection)
            base = None if last is None else self._numbered(connection, last.base_number)
        return CrlTurn(number, state.changes, is_scheduled, last, base)

    def give_back(self, turn: CrlTurn) -> None:
        """End a turn in which no list was made; does nothing where somebody has a later one."""
        ending = update(crl_states).where(_states.ca == self._ca, _states.number == turn.number)
        with self._engine.begin() as connection:
            connection.execute(ending.values(taken_until=0))

    def publish(self, turn: CrlTurn, crl: PublishedCrl, *, refresh_at: datetime | None) -> None:
        """Publish what was made in this turn, and forget what nobody needs any more.

        Args:
            turn: is over with this.
            crl: the list.
            refresh_at: when the clock asks for the next one; None: when it did before.

        Raises:
            CrlTurnLost: it took too long, and somebody else has a later turn.
            AnswersOnHold: nothing is published.
        """
        ending = (
            update(crl_states)
            .where(_states.ca == self._ca, _states.number == turn.number)
            .values(listed_changes=turn.changes, taken_until=0)
        )
        if refresh_at is not None:
            ending = ending.values(refresh_at=to_unix(refresh_at))
        kept = (crl.number, crl.base_number)
        with self._engine.begin() as connection:
            require_no_hold(connection)
            if connection.execute(ending).rowcount != 1:
                raise CrlTurnLost("a later list is being made")
            connection.execute(
                insert(crls).values(
                    ca=self._ca,
                    number=crl.number,
                    base_number=crl.base_number,
                    this_update=to_unix(crl.this_update),
                    next_update=to_unix(crl.next_update),
                    complete=crl.complete,
                    delta=crl.delta,
                )
            )
            connection.execute(
                delete(crls).where(_lists.ca == self._ca, _lists.number.not_in(kept))
            )

    def newest_version(self) -> CrlVersion | None:
        """Which list is to be given out; None before the first.

        Raises:
            AnswersOnHold: nothing is said of any certificate.
        """
        row = self._naming.one({"ca": self._ca})
        if row is None:
            # Without a list there is no row that could tell of a hold.
            with self._reading.begin() as connection:
                require_no_hold(connection)
            return None
        is_on_hold, number, this_update, next_update = row
        if is_on_hold:
            raise AnswersOnHold("the records of certificates were put back and not yet compared")
        return CrlVersion(number, from_unix(this_update), from_unix(next_update))

    def newest(self) -> PublishedCrl | None:
        """The list to give out, with its bytes; None before the first.

        Raises:
            AnswersOnHold: nothing is said of any certificate.
        """
        with self._reading.begin() as connection:
            require_no_hold(connection)
            return self._newest(connection)

    def _newest(self, connection: Connection) -> PublishedCrl | None:
        query = select(crls).where(_lists.ca == self._ca).order_by(_lists.number.desc()).limit(1)
        row = connection.execute(query).one_or_none()
        return None if row is None else _published(row)

    def _newest_number(self, connection: Connection) -> int | None:
        query = select(_lists.number).where(_lists.ca == self._ca).order_by(_lists.number.desc())
        return connection.execute(query.limit(1)).scalar()

    def _has_later(self, connection: Connection, instant: int) -> bool:
        """Whether there is a list of later; clocks of two listeners differ by seconds at most."""
        query = select(_lists.number).where(_lists.ca == self._ca, _lists.this_update > instant)
        return connection.execute(query.limit(1)).first() is not None

    def _numbered(self, connection: Connection, number: int) -> PublishedCrl:
        query = select(crls).where(_lists.ca == self._ca, _lists.number == number)
        return _published(connection.execute(query).one())


def _provide_state(connection: Connection, ca: str) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    nothing = dict.fromkeys(("changes", "listed_changes", "number", "taken_until"), 0)
    new = dialect.insert(crl_states).values(ca=ca, refresh_at=0, **nothing)
    connection.execute(new.on_conflict_do_nothing())


# Rows are tuples of database types that SQLAlchemy does not tell the type checker.
def _published(row: "Row[tuple[object, ...]]") -> PublishedCrl:
    return PublishedCrl(
        number=row.number,
        base_number=row.base_number,
        this_update=from_unix(row.this_update),
        next_update=from_unix(row.next_update),
        complete=row.complete,
        delta=row.delta,
    )
