"""The tamga command as an operator types it, on a home of its own."""

import json
from pathlib import Path

import pytest

from softhsm_config.modules import opensc_module
from tests.support.card import CardRig
from tests.support.installation import Installation, make_installation, serving


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return make_installation(tmp_path_factory.mktemp("commands") / "home")


@pytest.mark.parametrize(
    "arguments",
    [("db", "upgrade"), ("pki", "list"), ("election", "list"), ("serve",)],
)
def test_without_a_home_each_command_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = Installation(tmp_path, []).run(*arguments)
    assert done.returncode == 1
    assert "tamga init" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_command_is_refused(home: Installation) -> None:
    done = home.run("cook")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_help_names_every_command(home: Installation) -> None:
    done = home.run("--help")
    for command in (
        "init",
        "serve",
        "demo",
        "card",
        "receipt",
        "election",
        "log",
        "pki",
        "db",
        "doctor",
    ):
        assert f"  {command}" in done.stdout


def test_a_second_upgrade_changes_nothing(home: Installation) -> None:
    done = home.run("db", "upgrade")
    assert done.returncode == 0
    assert done.stdout == "login: up to date\nballots: up to date\npki: up to date\n"


def test_a_second_init_keeps_what_the_operator_changed(home: Installation) -> None:
    config = home.directory / "tamga.toml"
    changed = config.read_text().replace("workers = 2", "workers = 1")
    assert changed != config.read_text()
    config.write_text(changed)
    assert home.run("init").returncode == 0
    assert config.read_text() == changed


@pytest.mark.parametrize("command", ["init", "demo"])
def test_a_production_configuration_is_left_alone(
    home: Installation, tmp_path: Path, command: str
) -> None:
    text = (home.directory / "tamga.toml").read_text()
    text = text.replace('mode = "development"', 'mode = "production"')
    text = text[: text.index("[development]")] + text[text.index("[trust]") :]
    text = text.replace("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/vendor/hardware.so")
    config = tmp_path / "tamga.toml"
    config.write_text(text)
    arguments = ["--directory", str(tmp_path)] if command == "demo" else []
    done = Installation(tmp_path, []).run(command, *arguments, "--https-port", "9443")
    assert done.returncode == 1
    assert "not a development configuration" in done.stderr
    assert config.read_text() == text


def test_init_writes_no_file_of_another_name(tmp_path: Path) -> None:
    done = Installation(tmp_path, []).run("--config", str(tmp_path / "mine.toml"), "init")
    assert done.returncode == 1
    assert "tamga.toml" in done.stderr
    assert not list(tmp_path.iterdir())


def test_secrets_are_their_owners_alone(home: Installation) -> None:
    secrets = [*home.directory.rglob("*pin"), *home.directory.rglob("*.key")]
    secrets += [*home.directory.rglob("key.pem"), home.directory / "tamga.toml"]
    assert len(secrets) >= 10
    assert {path.stat().st_mode & 0o077 for path in secrets} == {0}


def test_the_citizens_certificates_are_known_to_the_responder(home: Installation) -> None:
    records = json.loads(home.run("pki", "list", "--json").stdout)
    of_citizen = [record for record in records if "PNOMN" in record["subject"]]
    assert [record["state"] for record in of_citizen] == ["good", "good"]


def test_serve_is_ready_and_answers(home: Installation) -> None:
    with serving(home):
        assert home.get("/health/live")[0] == 200
        status, described = home.get("/openapi.json")
        assert status == 200
        assert {"/auth/challenge", "/auth/login", "/elections"} <= set(described["paths"])  # type: ignore[call-overload]  # a JSON object
        status, problem = home.get("/no/such/place")
        assert (status, problem["code"]) == (404, "not_found")


def test_a_role_alone(home: Installation) -> None:
    with serving(home, "--role", "ocsp", ready=False) as alone:
        alone.await_fact(lambda: home.leader("ocsp"))
        assert home.leader("web") is None
        assert "(ocsp)" in alone.log.read_text()


def test_card_commands_show_what_is_in_the_reader(home: Installation, card_rig: CardRig) -> None:
    environment = dict(card_rig.reader.environment)
    listed = home.run("card", "list", **environment)
    assert listed.returncode == 0, listed.stderr
    assert "card, ATR 3bfd13" in listed.stdout
    members = json.loads(home.run("card", "list", "--json", **environment).stdout)
    assert [member["atr"] is not None for member in members] == [True, False]
    module = str(opensc_module())
    shown = home.run("card", "show", "--module", module, **environment)
    assert "PIN tries left: 3" in shown.stdout
    assert "Батын Сараа" in shown.stdout
    told = json.loads(home.run("card", "show", "--module", module, "--json", **environment).stdout)
    assert told["tries_left"] == 3
    assert len(told["certificates"]) == 2


def test_card_commands_say_when_there_is_no_reader(home: Installation, tmp_path: Path) -> None:
    nowhere = {"PCSCLITE_CSOCK_NAME": str(tmp_path / "no-such-socket")}
    for arguments in (("card", "list"), ("card", "show", "--module", str(opensc_module()))):
        done = home.run(*arguments, **nowhere)
        assert done.returncode == 4
        assert "PC/SC" in done.stderr
        assert "Traceback" not in done.stderr


def test_an_added_origin_stays_pinned(home: Installation) -> None:
    origins = home.directory / "agent" / "origins.json"
    document = json.loads(origins.read_text())
    (entry,) = document["origins"].values()
    document["origins"]["https://login.example.mn"] = entry
    origins.write_text(json.dumps(document))
    assert home.run("init").returncode == 0
    assert json.loads(origins.read_text()) == document
