"""Everything that is looked at, in the order in which a person would mend it."""

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from webapi import clock
from webapi.config import ConfigurationWrong, load_settings
from webapi.doctor import audit, certificates, databases, holds, places, put_back, readers
from webapi.doctor.tokens import zone_check
from webapi.operations.checks import Check, CheckResult, run_check
from webapi.settings_model import Settings
from webapi.storage.answer_holds import SqlAnswerHolds
from webapi.storage.inspection import ServerFacts, look_at_server
from webapi.storage.log_holds import SqlLogHolds
from webapi.storage.realm import Realm
from webapi.wiring import Wiring

CONFIGURATION = "configuration"
_DATABASE_FIRST = "Mend the database first."
_UNFORESEEN = "This was not foreseen: report it, with the output of `tamga doctor --json`."


@dataclass(frozen=True, slots=True)
class Examination:
    """What to look at, and how.

    Attributes:
        config: the configuration file.
        at: now, aware UTC.
        limit: the longest that one check may take.
        card_required: a missing reader or card is a failure.
    """

    config: Path
    at: datetime
    limit: timedelta
    card_required: bool


def examine(examination: Examination) -> Iterator[CheckResult]:
    """Every result as it comes; raises nothing, whatever is broken."""
    try:
        settings = load_settings(examination.config, os.environ)
    except ConfigurationWrong as e:
        for finding in e.findings:
            seen = f"{finding.key}: {finding.wrong}"
            yield CheckResult.failed(CONFIGURATION, seen, finding.remedy)
        yield from run_check(_readers(examination))
        return
    yield CheckResult.ok(CONFIGURATION, str(examination.config.absolute()))
    with closing(Wiring(settings)) as wiring:
        for check in _checks(wiring, settings, examination):
            yield from run_check(check)


def _checks(wiring: Wiring, settings: Settings, examination: Examination) -> Iterator[Check]:
    at, limit = examination.at, examination.limit
    foreseen = partial(Check, limit=limit, remedy_if_broken=_UNFORESEEN)
    files = certificates.certificate_places(settings)
    service, listener, receipts = settings.service, settings.ocsp_listener, settings.receipts
    yield foreseen((certificates.CLOCK,), partial(certificates.check_clock, files, at))
    yield from _database_checks(wiring, settings, limit)
    yield Check(
        (holds.LOGS,),
        lambda: holds.check_log_holds(lambda: SqlLogHolds(wiring.engine(Realm.BALLOTS))),
        limit,
        _DATABASE_FIRST,
    )
    yield Check(
        (holds.ANSWERS,),
        lambda: holds.check_answer_holds(lambda: SqlAnswerHolds(wiring.engine(Realm.PKI))),
        limit,
        _DATABASE_FIRST,
    )
    disks = {**places.database_folders(settings), "disk.logs": receipts.log_directory}
    disks["disk.audit"] = settings.audit.directory
    for name, folder in disks.items():
        yield foreseen((name,), partial(places.check_disk, name, folder))
    for name, folder in (
        ("folder.logs", receipts.log_directory),
        ("folder.salt-keys", receipts.salt_key_directory),
        ("folder.audit", settings.audit.directory),
    ):
        yield foreseen((name,), partial(places.check_folder, name, folder))
    yield foreseen((audit.AUDIT,), lambda: audit.check_audit(wiring.audit_logs().count_unsealed))
    for realm in Realm:
        compare = partial(wiring.compare_audit, realm)
        yield foreseen((put_back.name_of(realm),), partial(put_back.check_put_back, realm, compare))
    for zone, token in settings.tokens.items():
        count = len(token.tokens)
        yield zone_check(zone, examination.config.absolute(), limit, tokens=count)
    names = tuple(place.name for place in files)
    yield foreseen(names, partial(certificates.check_certificates, files, at))
    yield foreseen((certificates.TRUST,), partial(certificates.check_trust, settings))
    yield foreseen(
        certificates.authority_check_names(settings),
        partial(certificates.check_authority_status, settings),
    )
    yield foreseen((certificates.TLS_KEY,), partial(certificates.check_tls_key, settings))
    yield foreseen((places.HTTPS_PORT,), partial(places.check_https_port, service))
    if listener is not None:
        yield foreseen((places.OCSP_PORT,), partial(places.check_ocsp_port, listener))
    yield _readers(examination)


def _database_checks(wiring: Wiring, settings: Settings, limit: timedelta) -> Iterator[Check]:
    broken = "Look whether the database and its disk are well; else restore a backup."
    looks: dict[Realm, databases.Look] = {realm: partial(_look, wiring, realm) for realm in Realm}
    for realm, look in looks.items():
        names = databases.names_of(realm, settings.database)
        yield Check(names, partial(databases.check_realm, realm, look, clock.now), limit, broken)
    apart = partial(
        databases.check_apart,
        looks[Realm.LOGIN],
        looks[Realm.BALLOTS],
        production=settings.service.mode == "production",
    )
    yield Check((databases.APART,), apart, limit, broken)
    stock = wiring.readiness_checks()["challenges"]
    yield Check((databases.STOCK,), partial(databases.check_stock, stock), limit, broken)


def _look(wiring: Wiring, realm: Realm) -> ServerFacts | None:
    return look_at_server(wiring.engine(realm))


def _readers(examination: Examination) -> Check:
    look = partial(readers.check_readers, required=examination.card_required)
    remedy = "Restart the PC/SC service: systemctl restart pcscd"
    return Check(readers.NAMES, look, examination.limit, remedy)
