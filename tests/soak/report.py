"""What the soaks of this run measured, for the end of the run's output."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """Figures of one soak.

    Attributes:
        database: on which it ran.
        seconds: how long the load lasted.
        killed: how many processes of each part were killed.
        counts: logins, receipts, entries and so on.
        latency: seconds from the first request to the end, by share.
        held: memory and descriptors of a process of each part, early and late.
    """

    database: str
    seconds: float
    killed: dict[str, int]
    counts: dict[str, int]
    latency: dict[str, dict[str, float]]
    held: dict[str, dict[str, float]]

    def lines(self) -> list[str]:
        """For people."""
        counts = ", ".join(f"{what} {count}" for what, count in sorted(self.counts.items()))
        killed = ", ".join(f"{part} {count}" for part, count in sorted(self.killed.items()))
        return [
            f"{self.database}, {self.seconds:.0f} s: {counts}",
            f"  killed: {killed}",
            *(f"  {what} seconds: {facts}" for what, facts in self.latency.items()),
            *(f"  {part}: {facts}" for part, facts in self.held.items()),
        ]


reports: list[Report] = []
