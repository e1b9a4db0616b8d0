"""What only a development machine needs: a home made from nothing, and the demonstration.

The one file outside `softhsm_config` that knows it.
"""

import os
import secrets
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pkcs11_bridge.agent.origins import OriginPins, origins_document
from pkcs11_bridge.keyring import open_key
from pkcs11_bridge.mechanisms import PublicKey
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.payload import Purpose
from softhsm_config import profiles, zones
from softhsm_config.ca_keys import TokenCaKeys
from softhsm_config.dev_pki import (
    CITIZEN_CA,
    CRL_CITIZEN_CA,
    NATIONAL_CA,
    OCSP_CITIZEN_CA,
    ROOT_CA,
    DevelopmentPki,
    TlsFiles,
)
from softhsm_config.errors import IsolationUnavailable
from softhsm_config.modules import opensc_module
from softhsm_config.private_files import make_private_directory, write_private
from softhsm_config.provision import SoftwareHsm, provision, software_hsm
from softhsm_config.virtual_card import isolation
from softhsm_config.virtual_card.card_file import CardImage
from softhsm_config.virtual_card.chip_key import CardAlgorithm
from softhsm_config.virtual_card.reader import VirtualReader
from softhsm_config.virtual_card.slots import Slot
from webapi import clock
from webapi.cli.demo.narrator import DemoFailed
from webapi.cli.demo.performance import Prepared, Scenery, perform
from webapi.cli.home import (
    DEFAULT_HTTPS_PORT,
    DEFAULT_OCSP_PORT,
    Home,
    Ports,
    SettingsFacts,
    TokenFacts,
    render_settings,
)
from webapi.config import load_settings
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.urls import role_in

CITIZEN = profiles.Citizen(given_name="Болд", surname="Батын", civil_id="110000000017")
_PORT = click.IntRange(1, 65_535)
CARD_LIFE = timedelta(days=5 * 365)
_CARD_PIN_DIGITS = 6
_SERVICE_ZONES = {
    "login": zones.LOGIN,
    "receipts": zones.RECEIPTS,
    "pki": zones.PKI,
    "audit": zones.AUDIT,
}


def prepare_home(home: Home, ports: Ports, at: datetime) -> DevelopmentPki:
    """Make what is missing of a development home; a second run changes nothing that is there.

    Tokens and keys, PKI and card, the election system's key, the agent's pinned
    origin, the configuration file, the database.

    Args:
        home: where.
        ports: where the service is to listen.
        at: now, aware UTC.
    """
    make_private_directory(home.directory)
    # A person's own SoftHSM stays theirs: this home's tokens have a configuration of their own.
    os.environ.update(software_hsm(home.hsm).environment)
    hsm = provision(home.hsm).hsm
    with TokenCaKeys(hsm) as keys:
        pki = DevelopmentPki.open_or_create(home.pki, keys, base_url=ports.status_base, at=at)
        pki.issue_ocsp_delegate(keys, at)
        pki.issue_crl_signer(keys, at)
        tls = pki.issue_tls(at)
        pki.issue_citizen_card(_card(home, at), CITIZEN, at)
    _provide_election_key(home)
    moved = ports_of(home) != ports
    if moved:
        write_private(home.config, render_settings(_facts(home, ports, hsm, pki, tls)).encode())
    _write_public_keys(home, hsm, anew=moved)
    _write_root(home, pki)
    _upgrade_database(home, pki)
    return pki


def _write_root(home: Home, pki: DevelopmentPki) -> None:
    """The root that browsers and clients of this service pin."""
    write_private(home.root_pem, pki.root.public_bytes(Encoding.PEM))


def _upgrade_database(home: Home, pki: DevelopmentPki) -> None:
    """Create the tables, and let the responder know every certificate that was issued."""
    databases = load_settings(home.config, {}).database
    for realm in Realm:
        with opened_engine(databases.of(realm).owner_url, realm) as engine:
            upgrade(engine, realm, runtime_role=role_in(databases.of(realm).url))
    with opened_engine(databases.pki.url, Realm.PKI) as engine:
        store = SqlCertificateStore(engine)
        for certificate in pki.issued:
            store.register(
                ca=certificate.ca,
                serial=int(certificate.serial, 16),
                subject=certificate.subject,
                not_after=certificate.expires,
            )


def prepare_beside(config: Path, at: datetime) -> None:
    """Complete the development home whose configuration file is this one, or make it."""
    home = _development_home(config)
    prepare_home(home, ports_of(home) or Ports(), at)


def _development_home(config: Path) -> Home:
    """The home of a configuration file.

    Raises:
        click.ClickException: the file is called otherwise, or is not a development one.
    """
    home = Home(config.absolute().parent)
    if home.config != config.absolute():
        raise click.ClickException(f"a development home keeps its settings in {home.config.name}")
    if home.config.exists() and load_settings(home.config, {}).service.mode != "development":
        raise click.ClickException(f"{home.config} is not a development configuration")
    return home


def ports_of(home: Home) -> Ports | None:
    """The ports that the home's configuration names; None if there is none yet."""
    if not home.config.exists():
        return None
    settings = load_settings(home.config, {})
    listener = settings.ocsp_listener
    ocsp = DEFAULT_OCSP_PORT if listener is None else listener.listen_port
    return Ports(settings.service.listen_port, ocsp)


def _chosen_ports(home: Home, https: int | None, ocsp: int | None) -> Ports:
    """What was asked for; else what the home has; else the usual ones."""
    present = ports_of(home) or Ports()
    return Ports(https or present.https, ocsp or present.ocsp)


_https_port = click.option(
    "--https-port",
    type=_PORT,
    help=f"Port of the site.  [default: as before, or {DEFAULT_HTTPS_PORT}]",
)
_ocsp_port = click.option(
    "--ocsp-port",
    type=_PORT,
    help=f"Port of the OCSP listener.  [default: as before, or {DEFAULT_OCSP_PORT}]",
)


@click.command()
@_https_port
@_ocsp_port
@click.pass_obj
def init(config: Path, *, https_port: int | None, ocsp_port: int | None) -> None:
    """Make a development home: software HSM, PKI, a citizen's card, configuration, database.

    A second run makes what is missing and changes nothing else; with other ports than before it
    writes the configuration anew.
    """
    home = _development_home(config)
    pki = prepare_home(home, _chosen_ports(home, https_port, ocsp_port), clock.now())
    click.echo(f"Development home in {home.directory}")
    click.echo(f"  settings      {home.config}")
    click.echo(f"  root          {home.root_pem}  (import it to open the site in a browser)")
    click.echo(f"  card, PIN     {home.card}, {home.card_pin}")
    click.echo(f"  certificates  {len(pki.issued)} issued")
    click.echo("Next: tamga serve")


@click.command()
@_https_port
@_ocsp_port
@click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("var/demo"),
    show_default=True,
)
def demo(*, https_port: int | None, ocsp_port: int | None, directory: Path) -> None:
    """Show a login by ID card, its refusals and a ballot receipt, for real, step by step."""
    home = _development_home(directory / Home(directory).config.name)
    ports = _chosen_ports(home, https_port, ocsp_port)
    scenery = Scenery(
        prepare=lambda: _prepared(home, ports),
        reader=lambda: virtual_reader(home),
        card_module=opensc_module(),
    )
    if not perform(home, ports, scenery):
        raise SystemExit(1)


def _prepared(home: Home, ports: Ports) -> Prepared:
    pki = prepare_home(home, ports, clock.now())
    certificate = CardImage.open(home.card).certificate(Slot.AUTHENTICATION)
    if certificate is None:
        raise DemoFailed("the card holds no certificate", f"Remove {home.directory}.")
    serial = x509.load_der_x509_certificate(certificate).serial_number
    return Prepared(card_serial=f"{serial:x}", certificates=len(pki.issued))


def _ask_for_sudo() -> None:
    """Where only sudo makes namespaces, say why and ask for it once.

    Raises:
        IsolationUnavailable: nothing helps, or nobody is there to ask.
    """
    try:
        isolation.launcher(allow_sudo=True)
    except IsolationUnavailable:
        if shutil.which("sudo") is None or not sys.stdin.isatty():
            raise
    else:
        return
    click.echo("      sudo is needed: this system lets only root make the namespaces that keep")
    click.echo("      the virtual card reader away from your own readers and network.")
    subprocess.run(["sudo", "--validate"], check=False)


def virtual_reader(home: Home) -> VirtualReader:
    """A reader with the citizen's card in it, not yet started."""
    _ask_for_sudo()
    return VirtualReader(home.card, allow_sudo=True)


def _card(home: Home, at: datetime) -> CardImage:
    """The citizen's card; its PIN is written before the card that it opens."""
    if home.card.exists():
        return CardImage.open(home.card)
    make_private_directory(home.card.parent)
    pin = "".join(secrets.choice("0123456789") for _ in range(_CARD_PIN_DIGITS))
    write_private(home.card_pin, pin.encode())
    card_keys = {
        Slot.AUTHENTICATION: CardAlgorithm.RSA_2048,
        Slot.SIGNATURE: CardAlgorithm.EC_P256,
    }
    return CardImage.create(home.card, pin=pin, keys=card_keys, expires=(at + CARD_LIFE).date())


def _provide_election_key(home: Home) -> None:
    """The public half is written last: where it is, both are."""
    if home.election_public_key.exists():
        return
    make_private_directory(home.election_key.parent)
    key = ec.generate_private_key(ec.SECP256R1())
    write_private(
        home.election_key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_private(home.election_public_key, public)


def _write_public_keys(home: Home, hsm: SoftwareHsm, *, anew: bool) -> None:
    """The public keys that others pin: the agent's file, and the standby log keys.

    Args:
        home: where.
        hsm: holds the keys.
        anew: replace the agent's file, because the site has another origin than before.
    """
    login_key = _public_key(hsm, zones.LOGIN.label, Purpose.LOGIN_CHALLENGE)
    if not isinstance(login_key, ec.EllipticCurvePublicKey):
        msg = "the login-challenge key is not on P-256"
        raise TypeError(msg)
    make_private_directory(home.origins.parent)
    if anew or not home.origins.exists():
        origin = load_settings(home.config, {}).service.origin
        pins = {origin: OriginPins(login_key, None)}
        write_private(home.origins, origins_document(pins).encode())
    make_private_directory(home.standby_key("").parent)
    for purpose in (Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519):
        key = _public_key(hsm, zones.RECEIPTS_STANDBY.label, purpose)
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        write_private(home.standby_key(purpose), pem)


def _public_key(hsm: SoftwareHsm, token: str, purpose: Purpose) -> PublicKey:
    with TokenSessions(hsm.token_config(token, sessions=1)) as sessions:
        return open_key(sessions, Pkcs11Uri(object=purpose)).public_key


def _facts(
    home: Home, ports: Ports, hsm: SoftwareHsm, pki: DevelopmentPki, tls: TlsFiles
) -> SettingsFacts:
    return SettingsFacts(
        directory=home.directory,
        ports=ports,
        module=hsm.module,
        softhsm2_conf=hsm.configuration,
        latches=hsm.latches,
        tokens={
            name: TokenFacts(zone.label, hsm.pin_file(zone.label))
            for name, zone in _SERVICE_ZONES.items()
        },
        tls_certificate=tls.certificate,
        tls_key=tls.key,
        root=pki.certificate_file(ROOT_CA),
        national_ca=pki.certificate_file(NATIONAL_CA),
        citizen_ca=pki.certificate_file(CITIZEN_CA),
        delegate=pki.certificate_file(OCSP_CITIZEN_CA),
        crl_signer=pki.certificate_file(CRL_CITIZEN_CA),
        policy=profiles.AUTHENTICATION_POLICY,
        ca_name=CITIZEN_CA,
    )
