"""Which module a card gets, and tables that are refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkcs11_bridge import card_profiles
from pkcs11_bridge.card_profiles import CardProfile, CardProfiles, own_profiles_file, parse
from pkcs11_bridge.errors import CardProfilesInvalid, CardUnsupported, ModuleUnusable
from pkcs11_bridge.readers import Reader

YUBIKEY = bytes.fromhex("3BFD1300008131FE158073C021C057597562694B657940")
NATIONAL = bytes.fromhex("3B8F8001DEADBEEF0102030405060708")
ROW = 'name = "x"\nmodules = ["/usr/lib/x.so"]\n'


def profile(text: str) -> CardProfile:
    (found,) = parse(f"[[profile]]\n{text}".encode(), "test")
    return found


@pytest.mark.parametrize(
    "text",
    [
        "[[profile]",
        "\xff",
        'colour = "red"',
        'profile = "x"',
        '[[profile]]\nname = "x"',
        f'[[profile]]\n{ROW}module = "/usr/lib/x.so"',
        f"[[profile]]\n{ROW}atr = 5",
        f'[[profile]]\n{ROW}atr = ""',
        f'[[profile]]\n{ROW}atr = "3B"',
        f'[[profile]]\n{ROW}atr = "3B8"',
        f'[[profile]]\n{ROW}atr = "{"3B" * 34}"',
        f'[[profile]]\n{ROW}mask = "FFFF"',
        f'[[profile]]\n{ROW}atr = "3B80"\nmask = "FF"',
        f'[[profile]]\n{ROW}atr = "0000"\nmask = "0000"',
        f'[[profile]]\n{ROW}atr = "3B80"\nmask = "FF00"',
        f'[[profile]]\n{ROW}if_missing = "ask"',
        f"[[profile]]\n{ROW}reader = 1",
        '[[profile]]\nname = ""\nmodules = ["/usr/lib/x.so"]',
        '[[profile]]\nname = "x"\nmodules = []',
        '[[profile]]\nname = "x"\nmodules = "/usr/lib/x.so"',
        '[[profile]]\nname = "x"\nmodules = ["x.so"]',
        '[[profile]]\nname = "x"\nmodules = [7]',
        f"[[profile]]\n{ROW}[[profile]]\n{ROW}",
    ],
)
def test_tables_of_another_form(text: str) -> None:
    with pytest.raises(CardProfilesInvalid):
        parse(text.encode("latin-1"), "test")


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parse(data, "test")
    except CardProfilesInvalid:
        return


@pytest.mark.parametrize("which", ["writable", "directory", "missing", "large"])
def test_a_file_that_others_could_have_written(tmp_path: Path, which: str) -> None:
    path = tmp_path / "cards.toml"
    if which == "directory":
        path.mkdir()
    elif which != "missing":
        path.write_text("#" * (card_profiles.MAX_FILE_BYTES + 1) if which == "large" else "")
        path.chmod(0o666 if which == "writable" else 0o644)
    with pytest.raises(CardProfilesInvalid):
        CardProfiles.load(path)


def test_a_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cards.toml"
    path.write_text("")
    path.chmod(0o644)
    monkeypatch.setattr(card_profiles, "_trusted_owners", lambda: (path.stat().st_uid + 1,))
    with pytest.raises(CardProfilesInvalid, match="must belong to you"):
        CardProfiles.load(path)


def test_masks_compare_what_they_say() -> None:
    family = profile(f'{ROW}atr = "3B:8F:80:00"\nmask = "FF:FF:F0:00"')
    assert family.matches(bytes.fromhex("3B8F85AB"), "any")
    for other in ("3B8F75AB", "3B8E85AB", "3B8F85", "3B8F85AB00"):
        assert not family.matches(bytes.fromhex(other), "any")


def test_every_bit_counts_without_a_mask() -> None:
    exact = profile(f'{ROW}atr = "{NATIONAL.hex()}"')
    assert exact.matches(NATIONAL, "any")
    for place in range(len(NATIONAL)):
        changed = bytearray(NATIONAL)
        changed[place] ^= 1
        assert not exact.matches(bytes(changed), "any")


def test_a_reader_s_name_can_be_a_condition() -> None:
    named = profile(f'{ROW}reader = "Yubico YubiKey"')
    assert named.matches(YUBIKEY, "Yubico YubiKey OTP+FIDO+CCID 00 00")
    assert not named.matches(YUBIKEY, "ACS ACR39U 00 00")


def table(tmp_path: Path, *rows: str) -> CardProfiles:
    (tmp_path / "first.so").touch()
    (tmp_path / "second.so").touch()
    text = "".join(f"[[profile]]\n{row}\n".replace("DIR", str(tmp_path)) for row in rows)
    return CardProfiles(parse(text.encode(), "test"))


FIRST = 'name = "first"\natr = "3B80"\nmodules = ["DIR/none.so", "DIR/fir*.so"]'
SECOND = 'name = "second"\nmodules = ["DIR/second.so"]'
ABSENT = 'name = "absent"\natr = "3B80"\nmodules = ["DIR/none.so", "DIR"]'
CARD = Reader("reader", bytes.fromhex("3B80"))


def test_the_first_profile_that_matches(tmp_path: Path) -> None:
    found = table(tmp_path, FIRST, SECOND).module_for(CARD)
    assert (found.profile.name, found.path) == ("first", tmp_path / "first.so")
    other = table(tmp_path, FIRST, SECOND).module_for(Reader("reader", NATIONAL))
    assert other.profile.name == "second"


def test_a_missing_module_is_refused_unless_the_profile_lets_another_serve(tmp_path: Path) -> None:
    with pytest.raises(ModuleUnusable, match="absent"):
        table(tmp_path, ABSENT, SECOND).module_for(CARD)
    optional = f'{ABSENT}\nif_missing = "next"'
    found = table(tmp_path, optional, SECOND).module_for(CARD)
    assert found.profile.name == "second"
    assert [missing.name for missing in found.missing] == ["absent"]


def test_a_card_that_nothing_matches_and_an_empty_reader(tmp_path: Path) -> None:
    profiles = table(tmp_path, FIRST)
    with pytest.raises(CardUnsupported, match="3B8F8001"):
        profiles.module_for(Reader("reader", NATIONAL))
    with pytest.raises(CardUnsupported):
        profiles.module_for(Reader("reader", None))


def test_the_shipped_table() -> None:
    shipped = parse(card_profiles.SHIPPED_FILE.read_bytes(), "shipped")
    names = [row.name for row in shipped]
    assert names == ["yubikey-5", "yubikey-4", "opensc"]
    assert shipped[0].matches(YUBIKEY, "Yubico YubiKey OTP+FIDO+CCID 00 00")
    assert not shipped[0].matches(YUBIKEY, "another reader")
    assert shipped[-1].matches(NATIONAL, "any")


def test_the_owner_s_file_comes_first(tmp_path: Path) -> None:
    own = tmp_path / "cards.toml"
    own.write_text(f"[[profile]]\n{ROW}")
    own.chmod(0o644)
    assert [row.name for row in CardProfiles.load(own).profiles][:2] == ["x", "yubikey-5"]


def test_where_the_owner_s_file_is_looked_for(tmp_path: Path) -> None:
    assert own_profiles_file({"TAMGA_CARD_PROFILES": "/etc/cards.toml"}) == Path("/etc/cards.toml")
    assert own_profiles_file({"XDG_CONFIG_HOME": str(tmp_path)}) is None
    usual = tmp_path / "tamga" / "cards.toml"
    usual.parent.mkdir()
    usual.touch()
    assert own_profiles_file({"XDG_CONFIG_HOME": str(tmp_path)}) == usual
