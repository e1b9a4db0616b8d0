"""Where distributions put the PKCS#11 modules."""

from pathlib import Path

from softhsm_config.errors import ProgramMissing

LIBRARY_ROOT = Path("/usr")
_SOFTHSM = ("lib/softhsm/libsofthsm2.so", "lib/*/softhsm/libsofthsm2.so", "lib64/libsofthsm2.so")
_OPENSC = ("lib/*/opensc-pkcs11.so", "lib64/opensc-pkcs11.so", "lib/opensc-pkcs11.so")
_YKCS11 = ("lib/*/libykcs11.so.2", "lib64/libykcs11.so.2", "lib/libykcs11.so.2")


def softhsm_module(root: Path = LIBRARY_ROOT) -> Path:
    """Return the path of SoftHSM 2's module.

    Raises:
        ProgramMissing: It is not installed.
    """
    return _first(root, _SOFTHSM, "softhsm2")


def opensc_module(root: Path = LIBRARY_ROOT) -> Path:
    """Return the path of OpenSC's module.

    Raises:
        ProgramMissing: It is not installed.
    """
    return _first(root, _OPENSC, "opensc-pkcs11")


def ykcs11_module(root: Path = LIBRARY_ROOT) -> Path:
    """Return the path of Yubico's module, which speaks to readers named like a YubiKey alone.

    Raises:
        ProgramMissing: It is not installed.
    """
    return _first(root, _YKCS11, "ykcs11")


def _first(root: Path, patterns: tuple[str, ...], package: str) -> Path:
    for pattern in patterns:
        for path in sorted(root.glob(pattern)):
            return path
    raise ProgramMissing(Path(patterns[0]).name, package)
