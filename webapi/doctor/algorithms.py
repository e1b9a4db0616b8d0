"""What a token can sign with, as a table; `where` is what the token claims."""

from pkcs11_bridge.capabilities import AlgorithmSupport, TokenCapabilities
from webapi.operations.checks import CheckResult


def algorithms_result(name: str, capabilities: TokenCapabilities) -> CheckResult:
    """The algorithms of a token; whether its keys are among them is told of each key.

    Args:
        name: the result's.
        capabilities: what the token says.
    """
    rows = capabilities.table()
    able = [row.algorithm for row in rows if row.keys]
    if not able:
        remedy = "Ask for a token that signs with ECDSA on P-256, or with Ed25519."
        return CheckResult.failed(name, "it offers nothing to sign with", remedy)
    return CheckResult.ok(name, f"it signs with {', '.join(able)}", map(_as_members, rows))


def _as_members(row: AlgorithmSupport) -> dict[str, str]:
    where = "hardware" if row.in_hardware else "software"
    return {
        "algorithm": row.algorithm,
        "mechanism": row.mechanism,
        "keys": ", ".join(row.keys) or "-",
        "where": where if row.keys else "-",
    }
