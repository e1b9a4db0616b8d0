"""What the configuration accepts, the agent on the citizen's computer accepts as well."""

from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pkcs11_bridge.agent.challenge_proof import MAX_LIFE
from pkcs11_bridge.agent.errors import OriginInvalid
from pkcs11_bridge.agent.origins import checked_origin
from webapi.settings_model import MAX_PROOF_LIFE, LoginSettings, check_origin

WRONG = [
    "",
    "https://",
    "https:///",
    "http://host",
    "https://host/",
    "https://host:",
    "https://host:0",
    "https://host:0443",
    "https://host:443",
    "https://host:65536",
    "https://host:99999",
    "https://host:8443\n",
    "https://host:٨٤٤٣",
    "https://Host",
    "https://тамга.mn",
    "https://a_b.mn",
    "https://ho st",
    "https://-host",
    "https://host.",
    "https://me@host",
    "https://a?b",
    "https://a#b",
    "https://[::1",
    "https://[::1]x",
    "https://host:8443:1",
    "https://" + "a" * 248,
]
RIGHT = [
    "https://localhost:8443",
    "https://host",
    "https://host:1",
    "https://host:65535",
    "https://login.example.mn",
    "https://xn--80aa8ah3b.mn",
    "https://192.0.2.1:8443",
    "https://[::1]:8443",
    "https://" + "a" * 247,
]


def service_accepts(origin: str) -> bool:
    try:
        return check_origin(origin) == origin
    except ValueError:
        return False


def agent_accepts(origin: str) -> bool:
    try:
        return checked_origin(origin) == origin
    except OriginInvalid:
        return False


@pytest.mark.parametrize("origin", WRONG)
def test_a_wrong_origin_is_refused_by_both(origin: str) -> None:
    assert not service_accepts(origin)
    assert not agent_accepts(origin)


@pytest.mark.parametrize("origin", RIGHT)
def test_a_right_origin_is_accepted_by_both(origin: str) -> None:
    assert service_accepts(origin)
    assert agent_accepts(origin)


near_origins = st.builds(
    "https://{}{}".format,
    st.text("abAB019.-_[]:@/ é", max_size=12),
    st.sampled_from(["", ":", ":0", ":1", ":443", ":8443", ":65535", ":65536", "/", "\n"]),
)


@given(origin=st.text() | near_origins)
@example(origin="https://a..b")
@example(origin="https://[:]")
def test_service_and_agent_agree_on_every_text(origin: str) -> None:
    assert service_accepts(origin) == agent_accepts(origin)


def test_a_proof_never_outlives_what_the_agent_bears() -> None:
    assert MAX_PROOF_LIFE == MAX_LIFE
    longest = LoginSettings(challenge_life_seconds=900, shelf_life_seconds=82_800 - 900)
    assert longest.challenge_life + longest.shelf_life == MAX_LIFE - timedelta(hours=1)
    with pytest.raises(ValueError, match="longer than 23 hours"):
        LoginSettings(challenge_life_seconds=900, shelf_life_seconds=82_800 - 899)
