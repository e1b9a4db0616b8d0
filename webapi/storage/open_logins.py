"""Whatever a person could still sign in, or be signed in, by."""

from sqlalchemy import Engine, delete

from webapi.storage.challenges import challenge_stock, challenges
from webapi.storage.sessions import sessions


def remove_open_logins(engine: Engine) -> int:
    """Remove all sessions, all issued challenges and the stock, in one transaction.

    Returns:
        How many rows there were.
    """
    with engine.begin() as connection:
        return sum(
            connection.execute(delete(table)).rowcount
            for table in (challenge_stock, challenges, sessions)
        )
