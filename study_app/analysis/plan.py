"""What is decided before the votes are looked at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """What is decided before the votes are looked at.

    Attributes:
        proposed: the method whose comparisons are the primary tests; None: all tests are exploratory.
        resamples: behind every interval.
        level: nominal coverage of the intervals, 0 to 1.
        seed: of the resampling.
        labels: method -> what the report calls it.
    """

    proposed: str | None = None
    resamples: int = 2000
    level: float = 0.95
    seed: int = 0
    labels: tuple[tuple[str, str], ...] = ()

    def label(self, method: str) -> str:
        """What a method is called."""
        return dict(self.labels).get(method, method)
