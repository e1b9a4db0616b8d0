"""Whatever a person could still sign in, or be signed in, by: kept answers about cards, too."""

from sqlalchemy import Engine, delete

from webapi.storage.challenges import challenge_stock, challenges
from webapi.storage.sessions import sessions
from webapi.storage.status_answers import status_answers, status_claims
from webapi.storage.status_lists import fetched_lists


def remove_open_logins(engine: Engine) -> int:
    """Remove sessions, issued challenges, the stock, kept OCSP answers and which lists are current.

    In one transaction. The worker fetches the lists anew.

    Returns:
        How many rows there were.
    """
    with engine.begin() as connection:
        return sum(
            connection.execute(delete(table)).rowcount
            for table in (
                challenge_stock,
                challenges,
                sessions,
                status_answers,
                status_claims,
                fetched_lists,
            )
        )
