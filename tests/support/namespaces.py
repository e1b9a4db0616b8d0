"""A mount namespace for a process of a test: as root, in a user namespace, or by sudo."""

import os
import shutil
import subprocess
import tempfile

import pytest

_UNSHARE = ("unshare", "--mount")


def mount_namespace() -> tuple[str, ...]:
    """The command prefix; where none works, the test fails and says what a person can do."""
    candidates: list[tuple[str, ...]] = [] if os.geteuid() else [_UNSHARE]
    candidates.append(("unshare", "--map-root-user", "--mount"))
    if shutil.which("sudo") is not None:
        candidates.append(("sudo", "-n", *_UNSHARE))
    told = []
    for candidate in candidates:
        with tempfile.TemporaryDirectory() as folder:
            probe = subprocess.run(
                [*candidate, "mount", "-t", "tmpfs", "tmpfs", folder],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        if probe.returncode == 0:
            return candidate
        told.append(f"{' '.join(candidate)}: {probe.stderr.strip()}")
    pytest.fail(
        "this machine grants no mount namespace: run as root or with sudo, or allow user "
        "namespaces (in a container: the capability SYS_ADMIN)\n" + "\n".join(told)
    )
