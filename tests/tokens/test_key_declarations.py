"""One key, one purpose, one place in the settings; and retired on every token that holds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pkcs11 import Attribute

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import DeviceUnavailable
from pkcs11_bridge.key_attributes import read_key
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.payload import Purpose
from tests.support.key_desk import PURPOSE, DeskService
from tests.support.mischief import Mischief
from tests.support.softhsm import SoftHsm
from webapi.token_keys import KeyDeclaredTwice
from webapi.wiring import Wiring

LISTS = "crl-citizen-ca"
BY_LABEL = f"pkcs11:object={PURPOSE}"
CURRENT = f'key = "{BY_LABEL}"\nstate = "current"'
DEVICE_ERROR = 0x30


@contextmanager
def wired(desk: DeskService) -> Iterator[Wiring]:
    wiring = Wiring(desk.settings())
    try:
        yield wiring
    finally:
        wiring.close()


def by_id(desk: DeskService) -> str:
    """The key of the purpose, named otherwise than by its label."""
    with TokenSessions(desk.token) as sessions:
        return str(Pkcs11Uri(id=read_key(sessions, Pkcs11Uri(object=PURPOSE)).uri.id))


@pytest.mark.parametrize("as_id", [False, True])
def test_one_key_does_not_serve_two_purposes(desk: DeskService, as_id: bool) -> None:
    desk.done("key", "create", PURPOSE)
    uri = by_id(desk) if as_id else BY_LABEL
    desk.declare(f'key = "{uri}"\nstate = "current"', purpose=LISTS)
    with wired(desk) as wiring:
        for purpose, name in ((Purpose.CRL_CITIZEN_CA, uri), (Purpose.OCSP_CITIZEN_CA, BY_LABEL)):
            with pytest.raises(KeyDeclaredTwice, match=f"{name} for {purpose}"):
                wiring.keys.backend_named(purpose, name)
    assert "several times" in desk.refused("key", "list")


def test_a_key_in_service_is_not_retired_under_another_name(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    retired = f'key = "{by_id(desk)}"\nstate = "retired"\naccepted_until = 2027-01-01T00:00:00Z'
    for terms in ((retired, CURRENT), (CURRENT, retired)):
        desk.declare(*terms)
        for key in (BY_LABEL, by_id(desk)):
            command = ("key", "retire", PURPOSE, "--key", key, "--yes")
            assert "several times" in desk.refused(*command)
    with TokenSessions(desk.token) as sessions:
        assert read_key(sessions, Pkcs11Uri(object=PURPOSE)).may_sign is True
    with wired(desk) as wiring, pytest.raises(KeyDeclaredTwice):
        wiring.keys.backends(Purpose.OCSP_CITIZEN_CA)


@pytest.fixture
def replica(desk: DeskService, softhsm: SoftHsm) -> TokenConfig:
    """A second token of the desk's zone."""
    made = softhsm.make_token()
    assert isinstance(made.pin_source, FilePinSource)
    lines = (
        f'module = "{made.module}"',
        f'token = "{made.uri.token}"',
        f'pin_file = "{made.pin_source.path}"',
    )
    text = desk.config.read_text()
    desk.config.write_text("\n".join((text, "[[tokens.pki.replicas]]", *lines, "")))
    return made


def copy_key(config: TokenConfig, key_id: bytes | None) -> None:
    """A key of the same name; SoftHSM hands out no copies, and here nothing is signed."""
    with TokenSessions(config) as sessions:
        generate_key(sessions, PURPOSE, KeyAlgorithm.EC_P256)
        with sessions.writing_session() as session:
            for found in session.get_objects({}):
                found[Attribute.ID] = key_id


def test_a_key_is_retired_on_each_token_of_a_cluster(
    desk: DeskService, replica: TokenConfig
) -> None:
    desk.done("key", "create", PURPOSE)
    desk.done("key", "create", PURPOSE, "--label", f"{PURPOSE}-b")
    desk.declare(
        f'key = "{BY_LABEL}-b"\nstate = "current"',
        f'key = "{BY_LABEL}"\nstate = "retired"\naccepted_until = 2026-12-01T00:00:00Z',
    )
    command = ("key", "retire", PURPOSE, "--key", BY_LABEL, "--yes")
    assert "no private key" in desk.refused(*command)
    key_id = Pkcs11Uri.parse(by_id(desk)).id
    copy_key(replica, key_id)
    desk.done(*command)
    for config in (desk.token, replica):
        with TokenSessions(config) as sessions:
            assert read_key(sessions, Pkcs11Uri(object=PURPOSE, id=key_id)).may_sign is False


def test_what_could_not_be_read_is_not_taken_for_not_told(
    token: TokenConfig, mischief_module: Path, mischief: Mischief
) -> None:
    """Else a key would pass for one that was not retired whenever its token fails."""
    with TokenSessions(replace(token, module=mischief_module)) as sessions:
        uri = generate_key(sessions, PURPOSE, KeyAlgorithm.EC_P256).uri
        before = mischief.calls()["C_GetAttributeValue"]
        told = read_key(sessions, uri)
        calls = mischief.calls()["C_GetAttributeValue"] - before
        refused = 0
        for skip in range(calls):
            mischief.answer("C_GetAttributeValue", DEVICE_ERROR, skip=skip, times=1)
            try:
                # The binding asks some things that it can do without.
                assert read_key(sessions, uri) == told
            except DeviceUnavailable:
                refused += 1
        assert refused > calls // 2
