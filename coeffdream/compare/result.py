"""What a comparison finds: the rows of its table, and the differences between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from coeffdream.records.measures import Measure


@dataclass(frozen=True)
class Estimate:
    """A mean over concepts with its 95 % interval; None where nothing was repeated."""

    value: float
    low: float | None
    high: float | None

    def within(self, measure: Measure) -> Estimate:
        """With its interval cut to what the score can be, which holds the truth as often: it lies there too."""
        if self.low is None or self.high is None:
            return self
        return replace(self, low=max(self.low, measure.least), high=min(self.high, measure.most))

    def bounds(self, show: Callable[[float], str]) -> str:
        """ "[0.320, 0.342]" with each end as `show` has it, or nothing."""
        if self.low is None or self.high is None:
            return ""
        return f"[{show(self.low)}, {show(self.high)}]"


@dataclass(frozen=True)
class MethodRow:
    """One row of the table. `percent`: trained parameters as a share of the UNet's own.

    `by_concept[metric]`: each concept's own mean, of which `scores[metric]` is the mean.
    """

    label: str
    method: str
    runs: list[str]
    percent: float | None
    scores: dict[str, Estimate]
    by_concept: dict[str, dict[str, float]]


@dataclass(frozen=True)
class End:
    """What the rows lie between: the untouched base, or the photos among themselves.

    `by_concept[metric]`: of the concepts where it was scored.
    """

    label: str
    by_concept: dict[str, dict[str, float]]

    def mean(self, metric: str, concepts: Sequence[str]) -> float | None:
        """Over `concepts`; None unless it was scored of all of them."""
        known = self.by_concept.get(metric, {})
        if any(concept not in known for concept in concepts):
            return None
        return sum(known[concept] for concept in concepts) / len(concepts)


@dataclass(frozen=True)
class Difference:
    """One metric of one group less that of its baseline, over pairs.

    A pair is a picture of one prompt and seed; for diversity it is a whole set. `win_rate`: the share of
    pairs in which this group is better, which for drift means less. `by_concept`: each
    concept's own difference, of which `difference` is the mean. `p` is that of the
    sign-flip test over concepts, `p_holm` the same corrected for the number of metrics.
    """

    metric: str
    baseline: float
    value: float
    difference: Estimate
    by_concept: dict[str, float]
    win_rate: float
    pairs: int
    p: float
    p_holm: float


@dataclass(frozen=True)
class Contrast:
    """One group against the one that it is compared with (`Pairing.baseline_of`)."""

    label: str
    baseline: str
    differences: list[Difference]

    @property
    def title(self) -> str:
        return f"{self.label} less {self.baseline}"


@dataclass(frozen=True)
class Comparison:
    """All that `compare` prints. `n`: pictures of one run; `label`: set for embedded scorers; `ends`: floor and ceiling
    of the rows, where they were scored."""

    grouped: bool
    concepts: list[str]
    training_seeds: list[int | None]
    prompts: int
    images_per_prompt: int
    n: int
    encoders: dict[str, str]
    label: str | None
    seed: int
    resamples: int
    level: float
    rows: list[MethodRow]
    contrasts: list[Contrast]
    notes: list[str]
    ends: list[End] = field(default_factory=list)

    def by_metric(self) -> dict[str, list[tuple[Contrast, Difference]]]:
        """Each metric's differences, one a contrast, both in the order of the comparison."""
        found: dict[str, list[tuple[Contrast, Difference]]] = {}
        for contrast in self.contrasts:
            for each in contrast.differences:
                found.setdefault(each.metric, []).append((contrast, each))
        return found
