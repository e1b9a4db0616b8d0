"""A card that is pulled in the middle of a login, and the next login: one service all the time."""

import io
import time

import pytest
from rich.console import Console

from softhsm_config.modules import opensc_module, ykcs11_module
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.reader import VirtualReader
from tests.support.card import YUBIKEY_READER
from tests.support.card_process import NOTICED_SECONDS
from tests.support.installation import make_installation, serving
from webapi.cli.demo import login_scenes
from webapi.cli.demo.narrator import Narrator
from webapi.cli.demo.stage import Stage
from webapi.cli.home import Home, Ports

MODULES = (opensc_module, ykcs11_module)


@pytest.mark.long
def test_a_pulled_card_costs_one_login_and_no_restart(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    installed = make_installation(tmp_path_factory.mktemp("pulled") / "home")
    home, ports = Home(installed.directory), Ports(*installed.ports)
    narrator = Narrator(Console(file=io.StringIO()))
    with serving(installed) as run, VirtualReader(home.card, reader_name=YUBIKEY_READER) as reader:
        for module in MODULES:
            stage = Stage(narrator, home, ports, module(), reader.environment)
            reader.set_faults(Faults(remove_while_signing=True))
            browser = stage.browser()
            challenge = login_scenes._challenge(browser)
            refused = stage.ask_agent(challenge["nonce"], home.card_pin)
            assert refused.token is None
            assert refused.error["code"] == "card-removed"
            told = browser.post_json("/auth/error", {"code": refused.error["code"]}).json()
            assert "taken out too soon" in told["text"] or "эрт сугалсан" in told["text"]
            # pcscd polls: a card that is back before it saw it leave stays unseen.
            time.sleep(NOTICED_SECONDS)
            reader.insert_card()
            assert login_scenes.sign_in(stage).subject
        assert run.process.poll() is None
