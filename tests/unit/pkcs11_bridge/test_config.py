"""A token's configuration is checked when it is made."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import Misconfigured, UriInvalid
from pkcs11_bridge.pin import PromptPinSource
from pkcs11_bridge.uri import Pkcs11Uri

GOOD = TokenConfig(
    module=Path("/usr/lib/module.so"),
    uri=Pkcs11Uri(token="svc"),
    pin_source=PromptPinSource(lambda: "648219"),
    latch_directory=Path("/var/lib/tamga/latches"),
)


@pytest.mark.parametrize(
    "change",
    [
        {"module": Path("module.so")},
        {"latch_directory": Path("latches")},
        {"sessions": 0},
        {"sessions": 65},
        {"wait_seconds": 0.0},
        {"wait_seconds": 300.1},
        {"wait_seconds": float("nan")},
    ],
)
def test_out_of_range(change: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured):
        replace(GOOD, **change)


@pytest.mark.parametrize(
    "uri",
    [
        Pkcs11Uri(),
        Pkcs11Uri(serial="1"),
        Pkcs11Uri(token="svc", object="key"),
        Pkcs11Uri(token="svc", id=b"1"),
        Pkcs11Uri(token="svc", type="private"),
    ],
)
def test_uri_that_does_not_select_a_token(uri: Pkcs11Uri) -> None:
    with pytest.raises(UriInvalid):
        replace(GOOD, uri=uri)
