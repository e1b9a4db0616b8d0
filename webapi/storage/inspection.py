"""What a database server says of itself, for the doctor."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

_QUESTION = text(
    """
    SELECT current_setting('server_version') AS version,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('fsync')::bool AS fsync,
           current_setting('full_page_writes')::bool AS full_page_writes,
           current_setting('track_commit_timestamp')::bool AS dates_commits,
           pg_is_in_recovery() OR current_setting('transaction_read_only')::bool AS read_only,
           (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
           EXISTS (SELECT FROM pg_auth_members
             WHERE member = current_user::regrole) AS is_member,
           (SELECT nspowner::regrole = current_user::regrole FROM pg_namespace
             WHERE nspname = current_schema()) AS is_owner,
           inet_client_addr() IS NULL
             OR host(inet_client_addr()) IN ('127.0.0.1', '::1')
             OR (SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()) AS is_private,
           (SELECT system_identifier FROM pg_control_system()) AS cluster,
           clock_timestamp() AS clock
    """
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A PostgreSQL server as one of our sessions sees it.

    Attributes:
        version: as the server writes it.
        synchronous_commit: the setting's value in our session.
        fsync, full_page_writes: whether a commit survives the loss of power.
        dates_commits: whether every row's transaction has an exact time.
        read_only: a standby, or set so.
        is_superuser, is_member, is_owner: whether our role may do more than the service needs; a
            member of another role may do whatever that one may.
        is_private: the line to it stays on this host, or is encrypted.
        cluster: the identifier of the whole data directory.
        clock: the server's, aware.
    """

    version: str
    synchronous_commit: str
    fsync: bool
    full_page_writes: bool
    dates_commits: bool
    read_only: bool
    is_superuser: bool
    is_member: bool
    is_owner: bool
    is_private: bool
    cluster: int
    clock: datetime


def look_at_server(engine: Engine) -> ServerFacts | None:
    """Ask the server; None for SQLite, which has none.

    Raises:
        DatabaseBusy, DatabaseUnavailable: it did not answer.
    """
    if engine.dialect.name == "sqlite":
        return None
    with engine.begin() as connection:
        row = connection.execute(_QUESTION).mappings().one()
    return ServerFacts(**row)
