"""PKCS#11 URIs: refusals first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge.errors import UriInvalid
from pkcs11_bridge.uri import Pkcs11Uri


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pkcs12:token=a",
        "PKCS11:token=a",
        "pkcs11:token",
        "pkcs11:token=",
        "pkcs11:;token=a",
        "pkcs11:token=a;",
        "pkcs11:token=a;token=b",
        "pkcs11:pin-value=1234",
        "pkcs11:token=a?pin-value=1234",
        "pkcs11:token=a?",
        "pkcs11:manufacturer=x",
        "pkcs11:token=a b",
        "pkcs11:token=%zz",
        "pkcs11:token=%ff",
        "pkcs11:token=тамга",
        "pkcs11:type=key",
        "pkcs11:token=" + "a" * 1024,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(UriInvalid):
        Pkcs11Uri.parse(text)


def test_every_part() -> None:
    uri = Pkcs11Uri.parse(
        "pkcs11:token=my%20token;serial=1a2b;object=%D1%82;id=%01%ff;type=private"
    )
    assert uri == Pkcs11Uri("my token", "1a2b", "т", b"\x01\xff", "private")
    assert str(uri) == "pkcs11:token=my%20token;serial=1a2b;object=%D1%82;id=%01%FF;type=private"


def test_the_empty_uri_selects_nothing_in_particular() -> None:
    assert Pkcs11Uri.parse("pkcs11:") == Pkcs11Uri()


_TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(
    st.builds(
        Pkcs11Uri,
        token=_TEXT,
        serial=_TEXT,
        object=_TEXT,
        id=st.none() | st.binary(min_size=1, max_size=20),
        type=st.sampled_from([None, "public", "private", "cert", "secret-key", "data"]),
    )
)
def test_text_and_value_are_inverse(uri: Pkcs11Uri) -> None:
    text = str(uri)
    if len(text) <= 1024:
        assert Pkcs11Uri.parse(text) == uri


@given(st.text(max_size=60).map("pkcs11:".__add__))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        Pkcs11Uri.parse(text)
    except UriInvalid:
        return
