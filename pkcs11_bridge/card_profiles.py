"""Which PKCS#11 module speaks to which card, by the card's answer to reset.

A profile is a row of a TOML table: ours (``card_profiles.toml``) and, before it, a file of the
computer's owner. No list of national cards is ours to keep: any module can be named for any card.
A file that names code to be loaded must belong to this user or to root, and nobody else may be
able to write it.
"""

import glob
import os
import stat
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pkcs11_bridge.errors import CardProfilesInvalid, CardUnsupported, ModuleUnusable
from pkcs11_bridge.readers import Reader

SHIPPED_FILE = Path(__file__).with_name("card_profiles.toml")
VARIABLE = "TAMGA_CARD_PROFILES"
MAX_FILE_BYTES = 256 * 1024
MAX_ATR_BYTES = 33  # ISO/IEC 7816-3 section 8.1: TS and at most 32 more

IfMissing = Literal["refuse", "next"]

_REQUIRED = {"name", "modules"}
_KEYS = _REQUIRED | {"atr", "mask", "reader", "if_missing"}


@dataclass(frozen=True, slots=True)
class CardProfile:
    """One row, checked.

    Attributes:
        name: for people.
        atr: the answer to reset, with zeros where the mask has them; None for every card.
        mask: of the ATR's length; bits that are 0 are not compared.
        reader: how the reader's PC/SC name must begin; empty for every reader.
        modules: absolute paths, ``*`` allowed; the first file that exists is the module.
        if_missing: what to do when there is none of them: refuse the card, or go on to the next
            profile that matches.
    """

    name: str
    atr: bytes | None
    mask: bytes
    reader: str
    modules: tuple[str, ...]
    if_missing: IfMissing

    def matches(self, atr: bytes, reader_name: str) -> bool:
        """Whether a card with this ATR, in that reader, is of this kind."""
        if not reader_name.startswith(self.reader):
            return False
        return self.atr is None or _masked(atr, self.mask) == self.atr

    def module(self) -> Path | None:
        """The module that is installed, None if none is."""
        found = (path for pattern in self.modules for path in sorted(glob.glob(pattern)))  # noqa: PTH207 - absolute patterns
        return next((Path(path) for path in found if Path(path).is_file()), None)


@dataclass(frozen=True, slots=True)
class ProfiledModule:
    """The module to use for a card, and the profile that says so.

    ``missing`` are the profiles that match as well and came first, whose module is not installed.
    """

    profile: CardProfile
    path: Path
    missing: tuple[CardProfile, ...]


@dataclass(frozen=True, slots=True)
class CardProfiles:
    """All profiles, in the order in which they are tried."""

    profiles: tuple[CardProfile, ...]

    @classmethod
    def load(cls, own_file: Path | None = None) -> "CardProfiles":
        """Read the owner's file and then the shipped one.

        Args:
            own_file: None for the one that ``own_profiles_file`` finds, if any.

        Raises:
            CardProfilesInvalid: missing though named, unsafe or malformed.
        """
        own_file = own_profiles_file() if own_file is None else own_file
        own = () if own_file is None else parse(_read_safely(own_file), str(own_file))
        shipped = parse(SHIPPED_FILE.read_bytes(), SHIPPED_FILE.name)
        return cls((*own, *shipped))

    def module_for(self, reader: Reader) -> ProfiledModule:
        """The module for the card in a reader.

        Raises:
            ModuleUnusable: the profile's module is not installed, and the profile allows no other.
            CardUnsupported: no profile matches, or the reader is empty.
        """
        if reader.atr is None:
            raise CardUnsupported("there is no card to choose a module for")
        missing: list[CardProfile] = []
        for profile in self.profiles:
            if not profile.matches(reader.atr, reader.name):
                continue
            path = profile.module()
            if path is not None:
                return ProfiledModule(profile, path, tuple(missing))
            if profile.if_missing == "refuse":
                raise ModuleUnusable(
                    f"the card's profile {profile.name} wants a PKCS#11 module that is not "
                    f"installed: {', '.join(profile.modules)}"
                )
            missing.append(profile)
        raise CardUnsupported(f"no profile matches the card with ATR {reader.atr.hex().upper()}")


def module_chooser(module: Path | None, own_file: Path | None) -> Callable[[Reader], Path]:
    """What chooses the module for a card: the given one for every card, else the profiles.

    Raises:
        CardProfilesInvalid: as ``CardProfiles.load``.
    """
    if module is not None:
        return lambda _: module
    profiles = CardProfiles.load(own_file)
    return lambda reader: profiles.module_for(reader).path


def own_profiles_file(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The owner's file: the one that TAMGA_CARD_PROFILES names, else the usual one if it exists."""
    if VARIABLE in environment:
        return Path(environment[VARIABLE])
    configuration = environment.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    usual = Path(configuration) / "tamga" / "cards.toml"
    return usual if usual.exists() else None


def parse(unverified: bytes, source: str) -> tuple[CardProfile, ...]:
    """Read a table of profiles.

    Args:
        unverified: TOML, UTF-8.
        source: what to call it in errors.

    Raises:
        CardProfilesInvalid: not TOML, a key that does not exist or is missing, a value of another
            type or form, a name that stands twice.
    """
    try:
        document = tomllib.loads(unverified.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise CardProfilesInvalid(f"{source} is not TOML: {e}") from e
    rows = document.pop("profile", [])
    if document or not isinstance(rows, list):
        raise CardProfilesInvalid(f"{source} holds nothing but [[profile]] tables")
    profiles = tuple(_profile(row, f"{source}, profile {n}") for n, row in enumerate(rows, 1))
    names = [profile.name for profile in profiles]
    if len(set(names)) != len(names):
        raise CardProfilesInvalid(f"{source} has two profiles of one name")
    return profiles


def _profile(row: object, where: str) -> CardProfile:
    if not isinstance(row, dict) or not _REQUIRED <= row.keys() <= _KEYS:
        unknown = sorted(set(row) - _KEYS) if isinstance(row, dict) else []
        told = f"unknown: {', '.join(unknown)}" if unknown else "name and modules are required"
        raise CardProfilesInvalid(f"{where}: {told}")
    atr, mask = _pattern(row, where)
    if_missing = row.get("if_missing", "refuse")
    if if_missing not in ("refuse", "next"):
        raise CardProfilesInvalid(f'{where}: if_missing is "refuse" or "next"')
    reader = row.get("reader", "")
    return CardProfile(
        name=_text(row["name"], f"{where}: name"),
        atr=atr,
        mask=mask,
        reader="" if reader == "" else _text(reader, f"{where}: reader"),
        modules=_modules(row["modules"], where),
        if_missing=if_missing,
    )


def _pattern(row: Mapping[str, object], where: str) -> tuple[bytes | None, bytes]:
    """ATR (masked) and mask; a mask that is not given compares every bit."""
    if "atr" not in row:
        if "mask" in row:
            raise CardProfilesInvalid(f"{where}: a mask without an atr")
        return None, b""
    atr = _hexadecimal(row["atr"], f"{where}: atr")
    mask = _hexadecimal(row["mask"], f"{where}: mask") if "mask" in row else b"\xff" * len(atr)
    if len(mask) != len(atr):
        raise CardProfilesInvalid(f"{where}: mask and atr are of one length")
    if not any(mask):
        raise CardProfilesInvalid(f"{where}: the mask compares nothing; leave the atr out instead")
    if _masked(atr, mask) != atr:
        raise CardProfilesInvalid(f"{where}: the atr has bits that the mask takes away")
    return atr, mask


def _hexadecimal(value: object, what: str) -> bytes:
    try:
        found = bytes.fromhex(_text(value, what).replace(":", ""))
    except ValueError as e:
        raise CardProfilesInvalid(f"{what} is hexadecimal") from e
    if not 2 <= len(found) <= MAX_ATR_BYTES:
        raise CardProfilesInvalid(f"{what} has 2 to {MAX_ATR_BYTES} bytes")
    return found


def _modules(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise CardProfilesInvalid(f"{where}: modules is a list of paths, at least one")
    paths = tuple(_text(path, f"{where}: a module's path") for path in value)
    if any(not path.startswith("/") for path in paths):
        raise CardProfilesInvalid(f"{where}: a module's path is absolute")
    return paths


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise CardProfilesInvalid(f"{what} is text, not empty")
    return value


def _masked(atr: bytes, mask: bytes) -> bytes | None:
    """The ATR without the bits that are not compared; None if its length is another."""
    if len(atr) != len(mask):
        return None
    return bytes(byte & bits for byte, bits in zip(atr, mask, strict=True))


def _read_safely(path: Path) -> bytes:
    try:
        # Opened first and judged by its descriptor: no other file can slip in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise CardProfilesInvalid(f"the card profiles {path} cannot be opened") from e
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_BYTES:
            raise CardProfilesInvalid(f"{path} is no plain file of at most {MAX_FILE_BYTES} bytes")
        if status.st_uid not in _trusted_owners() or status.st_mode & 0o022:
            raise CardProfilesInvalid(
                f"{path} names code to be loaded: it must belong to you or root, and group and "
                "others must not be able to write it (chmod 644)"
            )
        return os.read(descriptor, MAX_FILE_BYTES)
    finally:
        os.close(descriptor)


def _trusted_owners() -> Iterable[int]:
    return (0, os.geteuid())
