"""What can be configured: frozen, checked, with units in the names.

Every field has a description, which the error for a wrong value repeats as advice.
"""

import ipaddress
import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from webapi.settings_base import Port, ResolvedPath, Section, resolve
from webapi.settings_keys import KeySections
from webapi.settings_responder import OcspListenerSettings
from webapi.settings_tokens import TokenSettings, Zone
from webapi.settings_trust import TrustSettings
from webapi.storage.errors import DatabaseUrlUnsupported
from webapi.storage.realm import Realm
from webapi.storage.urls import (
    SQLITE_PREFIX,
    is_sqlite,
    postgresql_url,
    role_in,
    sqlite_path,
)

MAX_ORIGIN_LENGTH = 255
_ORIGIN = re.compile(
    r"https://([a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[1-9][0-9]{0,4}))?"
)

MAX_PROOF_LIFE = timedelta(hours=24)
"""The agent refuses a challenge whose proof lasts longer (its `challenge_proof.MAX_LIFE`)."""

CLOCK_MARGIN = timedelta(hours=1)
"""The agent judges by the citizen's clock, which may be slow."""


def check_origin(origin: str) -> str:
    """An origin in the very form that a browser writes (RFC 6454 section 6.2).

    As strict as the agent on the citizen's computer, which signs for no other form.
    """
    match = _ORIGIN.fullmatch(origin)
    if match is None or len(origin) > MAX_ORIGIN_LENGTH:
        raise ValueError(
            "is not https://host[:port] in lower-case ASCII (a name in another script as Punycode)"
        )
    port = int(match["port"] or 0)
    if port == 443:
        raise ValueError("names the default port 443, which an origin leaves out")
    if port > 65_535:
        raise ValueError("names a port above 65535")
    return origin


class ServiceSettings(Section):
    """[service]: who this service is and where it listens."""

    mode: Literal["development", "production"] = Field(
        description="production refuses software tokens and every development switch"
    )
    origin: Annotated[str, AfterValidator(check_origin)] = Field(
        description="the one origin that citizens see, https://host[:port]"
    )
    listen_host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    listen_port: Port = Field(default=8443, description="TCP port to listen on, 1 to 65535")
    workers: int = Field(default=2, ge=1, le=64, description="web worker processes, 1 to 64")
    tls_certificate: ResolvedPath = Field(description="PEM file, leaf first")
    tls_key: ResolvedPath = Field(description="PEM file, PKCS#8, owner-only")


def _check_postgresql(url: str) -> str:
    try:
        return postgresql_url(url).render_as_string(hide_password=False)
    except DatabaseUrlUnsupported as error:
        raise ValueError(str(error)) from None


class DatabaseSettings(Section):
    """[database.<realm>]: where one part of the data is kept."""

    # Neither is shown: a URL may hold a password.
    url: str = Field(
        repr=False,
        description="sqlite:///path, relative to this file, or postgresql://role@host/name",
    )
    upgrade_url: str | None = Field(
        default=None,
        repr=False,
        description="how the owner of the tables connects; read by `tamga db` and `backup restore`",
    )

    @field_validator("url")
    @classmethod
    def _check_url(cls, url: str, info: ValidationInfo) -> str:
        if not is_sqlite(url):
            return _check_postgresql(url)
        if url == SQLITE_PREFIX or ":memory:" in url:
            raise ValueError("is not the URL of an SQLite file")
        return SQLITE_PREFIX + str(resolve(sqlite_path(url), info))

    @field_validator("upgrade_url")
    @classmethod
    def _check_upgrade_url(cls, url: str | None) -> str | None:
        return None if url is None else _check_postgresql(url)

    @model_validator(mode="after")
    def _are_of_one_database(self) -> Self:
        if self.upgrade_url is not None and is_sqlite(self.url):
            raise ValueError("a file has no owner beside the service's user: leave upgrade_url out")
        return self

    @property
    def owner_url(self) -> str:
        """How whoever makes and alters the tables connects."""
        return self.upgrade_url or self.url


class RealmDatabases(Section):
    """[database.login], [database.ballots], [database.pki]: kept where nothing joins them."""

    login: DatabaseSettings = Field(description="the section [database.login]")
    ballots: DatabaseSettings = Field(description="the section [database.ballots]")
    pki: DatabaseSettings = Field(description="the section [database.pki]")

    def of(self, realm: Realm) -> DatabaseSettings:
        """Where a realm is kept."""
        found: DatabaseSettings = getattr(self, realm)
        return found

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        keepers = [keeper for realm in Realm for keeper in self._keepers(realm)]
        if len(set(keepers)) < len(keepers):
            raise ValueError("two realms have the same file or role: name another for each")
        return self

    def _keepers(self, realm: Realm) -> set[str]:
        """The file or the roles that hold a realm."""
        settings = self.of(realm)
        if is_sqlite(settings.url):
            return {settings.url}
        return {str(role_in(url)) for url in (settings.url, settings.owner_url)}


class LoginSettings(Section):
    """[login]: lives and limits."""

    challenge_life_seconds: int = Field(
        default=300,
        ge=10,
        le=900,
        description="how long a browser has to answer a challenge, 10 to 900",
    )
    shelf_life_seconds: int = Field(
        default=3600, ge=60, le=86_400, description="how long a signed challenge may lie in stock"
    )
    stock_target: int = Field(
        default=200, ge=1, le=100_000, description="how many signed challenges are kept ready"
    )
    session_idle_seconds: int = Field(
        default=900, ge=60, le=86_400, description="a session unused for so long ends"
    )
    session_absolute_seconds: int = Field(
        default=28_800, ge=60, le=86_400, description="a session ends so long after the login"
    )
    challenges_per_source_burst: int = Field(
        default=20, ge=1, le=10_000, description="challenges one address may draw at once"
    )
    challenges_per_source_per_minute: float = Field(
        default=30.0, gt=0, le=60_000, description="challenges one address may draw per minute"
    )

    @model_validator(mode="after")
    def _idle_within_absolute(self) -> Self:
        if self.session_idle_seconds > self.session_absolute_seconds:
            raise ValueError("session_idle_seconds is longer than session_absolute_seconds")
        return self

    @model_validator(mode="after")
    def _proof_within_what_the_agent_bears(self) -> Self:
        if self.shelf_life + self.challenge_life > MAX_PROOF_LIFE - CLOCK_MARGIN:
            raise ValueError(
                "shelf_life_seconds and challenge_life_seconds are together longer than 23 hours"
            )
        return self

    @property
    def challenge_life(self) -> timedelta:
        """How long a browser has to answer a challenge."""
        return timedelta(seconds=self.challenge_life_seconds)

    @property
    def shelf_life(self) -> timedelta:
        """How long a signed challenge may lie in stock."""
        return timedelta(seconds=self.shelf_life_seconds)

    @property
    def session_idle(self) -> timedelta:
        """A session unused for so long ends."""
        return timedelta(seconds=self.session_idle_seconds)

    @property
    def session_absolute(self) -> timedelta:
        """A session ends so long after the login."""
        return timedelta(seconds=self.session_absolute_seconds)


class ReceiptSettings(Section):
    """[receipts]: the ballot logs."""

    log_directory: ResolvedPath = Field(description="folder of the tiles and checkpoints")
    salt_key_directory: ResolvedPath = Field(
        description="owner-only folder of the keys that salts are encrypted with"
    )
    batch_interval_seconds: float = Field(
        default=0.1, gt=0, le=60, description="how often pending ballots are sequenced"
    )
    epoch_seconds: int = Field(
        default=600, ge=1, le=86_400, description="how often the public checkpoint may advance"
    )
    minimum_ballots_per_epoch: int = Field(
        default=10, ge=1, le=1_000_000, description="fewest ballots by which it advances"
    )

    registrations_per_key_burst: int = Field(
        default=5_000,
        ge=1,
        le=1_000_000,
        description="ballots one election system may send at once, and the largest batch",
    )
    registrations_per_key_per_minute: float = Field(
        default=60_000.0,
        gt=0,
        le=6_000_000,
        description="ballots one election system may send per minute, to each web worker process",
    )

    @property
    def batch_interval(self) -> timedelta:
        """How often pending ballots are sequenced."""
        return timedelta(seconds=self.batch_interval_seconds)

    @property
    def epoch(self) -> timedelta:
        """How often the public checkpoint may advance."""
        return timedelta(seconds=self.epoch_seconds)


class AuditSettings(Section):
    """[audit]: the logs of what keys were allowed to sign."""

    directory: ResolvedPath = Field(
        description="folder of the audit logs' tiles and checkpoints, one below it for each realm"
    )


def _check_loopback(host: str) -> str:
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError("is not a loopback address; let a proxy with access control pass it on")
    return host


class MetricsSettings(Section):
    """[metrics]: where processes leave their measurements, and where Prometheus fetches them."""

    directory: ResolvedPath = Field(description="owner-only folder, best on a memory file system")
    listen_host: Annotated[str, AfterValidator(_check_loopback)] = Field(
        default="127.0.0.1", description="loopback address to listen on"
    )
    listen_port: Port = Field(default=9464, description="TCP port to listen on, 1 to 65535")


class DevelopmentSettings(Section):
    """[development]: switches that endanger a real service; production refuses the section."""

    softhsm2_conf: ResolvedPath | None = Field(
        default=None,
        description="configuration of the software token, given to it as SOFTHSM2_CONF",
    )
    dangerous_development_allow_loopback_responders: bool = Field(
        default=False, description="lets OCSP requests go to 127.0.0.1"
    )


class Settings(Section):
    """The whole configuration."""

    service: ServiceSettings = Field(description="the section [service]")
    database: RealmDatabases = Field(description="the sections [database.<realm>]")
    tokens: dict[Zone, TokenSettings] = Field(
        min_length=1,
        description="sections [tokens.login], [tokens.receipts], [tokens.pki], [tokens.audit]",
    )
    keys: KeySections = Field(
        default={},
        description="tables [[keys.<purpose>]], one for each key while one follows another",
    )
    login: LoginSettings = Field(default=LoginSettings(), description="the section [login]")
    ocsp_listener: OcspListenerSettings | None = Field(
        default=None, description="the section [ocsp_listener]; without it no responder is run"
    )
    trust: TrustSettings = Field(description="the section [trust]")
    receipts: ReceiptSettings = Field(description="the section [receipts]")
    audit: AuditSettings = Field(description="the section [audit]")
    metrics: MetricsSettings | None = Field(
        default=None, description="the section [metrics]; without it no metrics are served"
    )
    development: DevelopmentSettings | None = Field(
        default=None, description="the section [development]; leave it out in production"
    )

    @model_validator(mode="after")
    def _production_is_safe(self) -> Self:
        if self.service.mode != "production":
            return self
        if self.development is not None:
            raise ValueError("[development] must not be present when service.mode is production")
        for zone, token in self.tokens.items():
            # A name proves nothing: the opened token is asked what it is as well.
            if any(each.names_software for each in token.tokens):
                raise ValueError(f"tokens.{zone}.module is a software token; production refuses it")
        return self
