"""What `tamga card` prints: members for programs, lines for people."""

from collections.abc import Iterator

from pkcs11_bridge.agent.card_report import CardReport, CertificateReport
from pkcs11_bridge.agent.card_signature import CardSignature
from pkcs11_bridge.card_monitor import CardEvent, EventKind
from pkcs11_bridge.card_profiles import CardProfiles
from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.readers import Reader

Members = dict[str, object]
"""JSON values by name."""

_EVENTS = {
    EventKind.SERVICE_UP: "the reader service answers",
    EventKind.SERVICE_DOWN: "the reader service (pcscd) does not answer",
    EventKind.READER_ADDED: "reader connected",
    EventKind.READER_REMOVED: "reader disconnected",
    EventKind.CARD_INSERTED: "card put in",
    EventKind.CARD_REMOVED: "card taken out",
    EventKind.CARD_MUTE: "card put in, and it does not answer: put it in the other way round",
}


def reader_members(reader: Reader, profiles: CardProfiles) -> Members:
    """A reader, and for its card the profile and module, or why there is none."""
    members: Members = {
        "reader": reader.name,
        "atr": None if reader.atr is None else reader.atr.hex(),
        "mute": reader.mute,
    }
    if reader.atr is None:
        return members
    try:
        found = profiles.module_for(reader)
    except TokenError as e:
        return members | {"profile": None, "module": None, "problem": str(e)}
    return members | {
        "profile": found.profile.name,
        "module": str(found.path),
        "not_installed": [profile.name for profile in found.missing],
    }


def reader_line(members: Members) -> str:
    """The same in words."""
    name = members["reader"]
    if members["mute"]:
        return f"{name}: a card that does not answer; put it in the other way round"
    if members["atr"] is None:
        return f"{name}: empty"
    if "problem" in members:
        return f"{name}: card, ATR {members['atr']}; {members['problem']}"
    line = f"{name}: card, ATR {members['atr']}; profile {members['profile']}, {members['module']}"
    missing = members["not_installed"]
    if isinstance(missing, list) and missing:
        line += f" (matches as well, module not installed: {', '.join(missing)})"
    return line


def report_members(report: CardReport) -> Members:
    """A card and its certificates."""
    return {
        "reader": report.reader,
        "atr": report.atr,
        "module": str(report.module),
        "tries_left": report.tries_left,
        "pin_pad": report.pin_pad,
        "certificates": [_certificate_members(found) for found in report.certificates],
    }


def report_lines(report: CardReport) -> Iterator[str]:
    """The same in words."""
    yield f"{report.reader}: ATR {report.atr}, through {report.module}"
    yield f"  PIN tries left: {_tries(report.tries_left)}"
    if report.pin_pad:
        yield "  The PIN is typed on the reader."
    if not report.certificates:
        yield "  No certificate."
    for found in report.certificates:
        yield f"  {found.label} (id {found.id}): {', '.join(found.purposes)}"
        if found.not_after is not None:
            yield f"      {found.subject}, issued by {found.issuer}"
            yield f"      {found.key}, until {found.not_after:%Y-%m-%d}, {found.standing}"


def signature_members(signed: CardSignature) -> Members:
    """A signature that was verified."""
    chosen = signed.certificate
    return {
        "reader": signed.reader,
        "algorithm": chosen.algorithm,
        "label": chosen.label,
        "holder": chosen.holder,
        "issuer": chosen.issuer,
        "not_after": chosen.not_after.isoformat(),
        "verified": True,
    }


def event_members(event: CardEvent) -> Members:
    """What happened at the readers."""
    atr = None if event.atr is None else event.atr.hex()
    return {"event": event.kind, "reader": event.reader, "atr": atr}


def event_line(event: CardEvent) -> str:
    """The same in words."""
    told = _EVENTS[event.kind]
    if event.atr is not None:
        told += f", ATR {event.atr.hex()}"
    return told if event.reader is None else f"{event.reader}: {told}"


def _tries(tries: int | None) -> str:
    if tries is None:
        return "unknown"
    return "none: the PIN is locked, its issuer can unlock it" if tries == 0 else str(tries)


def _certificate_members(found: CertificateReport) -> Members:
    return {
        "label": found.label,
        "id": found.id,
        "purposes": list(found.purposes),
        "key": found.key,
        "subject": found.subject,
        "issuer": found.issuer,
        "serial": found.serial,
        "not_before": None if found.not_before is None else found.not_before.isoformat(),
        "not_after": None if found.not_after is None else found.not_after.isoformat(),
        "standing": found.standing,
    }
