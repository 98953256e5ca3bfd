"""The options of `train` that --preset sets together."""

from __future__ import annotations

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    # The paper's text: alpha in every attention layer.
    "paper": {"lora_targets": "cross.q,cross.v", "alpha_on": "all", "alpha_layers": None, "min_snr": None},
    # The counts of the paper's Table 3: the mid block's 20 layers x 20 x 20 heads = 8,000 coefficients.
    "table3": {"lora_targets": "cross.q,cross.v", "alpha_on": "all", "alpha_layers": r"^mid_block\."},
    # Of the options that docs/screen.toml tried alone, the largest gain that needs nothing of the photos (docs/findings.md).
    "quality": {"lora_targets": "all.q,all.k,all.v,all.out", "alpha_on": "all"},
}
