"""The options of `study ablation`: those of `study vit`, with what alpha may be in place of the methods beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from coeffdream.option import option
from coeffdream.studies.vit_options import TASKS, VitOptions

# Those on which alpha alone does something in `study vit`.
REPORTED = ("digits", "orientation")
USUAL, NONE = "residual", "none"
# What each arm asks of `add_coefficients`; "layers" names a half of the model's attention layers.
ALPHAS: dict[str, dict[str, Any]] = {
    USUAL: {},
    "direct-identity": {"parametrisation": "direct-identity"},
    "direct-random": {"parametrisation": "direct-random"},
    "dropout-0.1": {"dropout": 0.1},
    "dropout-0.2": {"dropout": 0.2},
    "dropout-0.5": {"dropout": 0.5},
    "first-half": {"layers": "first-half"},
    "second-half": {"layers": "second-half"},
    "groups-2": {"groups": 2},
    "groups-4": {"groups": 4},
}
ABLATED = (NONE, *ALPHAS)


@dataclass(frozen=True)
class AblationOptions(VitOptions):
    """The options of `study ablation`."""

    tasks: str | None = option(
        None, f"What is learned, comma-separated: of {', '.join(TASKS)}.", shown=",".join(REPORTED)
    )
    arms: str = option(",".join(ABLATED), "What is compared with residual, comma-separated.")
    coeff_dropout: float = option(0.0, "Of alpha in the arms that do not say another.")
    beside: Literal["linear", "bitfit", "lora", "dora", "oft", "full"] = option(
        "linear", "What every arm trains beside alpha; linear: nothing but the head."
    )

    study: ClassVar[str] = "ablation"
    reported: ClassVar[tuple[str, ...]] = REPORTED
    known_arms: ClassVar[tuple[str, ...]] = ABLATED
    against: ClassVar[Mapping[str, str]] = {arm: USUAL for arm in ABLATED if arm != USUAL}

    def method(self, arm: str) -> str:
        return self.beside

    def alpha(self, arm: str) -> dict[str, Any] | None:
        return None if arm == NONE else {"dropout": self.coeff_dropout, **ALPHAS[arm]}

    def rates(self, arm: str) -> dict[str, float]:
        return super().rates("coeff" if self.beside == "linear" else f"coeff-{self.beside}")
