"""A comparison as it is printed, character by character: every digit, sign and column in its place."""

from __future__ import annotations

import dataclasses

import pytest
from rich.console import Console

from coeffdream.compare.comparison_table import comparison_table
from coeffdream.compare.export import to_csv, to_latex
from coeffdream.compare.result import Comparison, Contrast, Difference, End, Estimate, MethodRow

TERMINAL = """
                    # Params     Text  Concept
 method                  (%)   Align.   Align.  Diversity    Drift
 ─────────────────────────────────────────────────────────────────
 lora                 0.0306    0.331    0.742      10.25    0.100
                              ± 0.010  ± 0.020             ± 0.010
 coeff_lora                -    0.350        -          -        -
                              ± 0.030
 untouched base            -    0.350    0.200       8.50    0.000
 photos themselves         -        -    0.900          -        -

coeff_lora less lora

 metric                       difference         wins       p  p (Holm)
 ──────────────────────────────────────────────────────────────────────
 Text Align.  +0.0186 [-0.0114, +0.0486]  75 % of 200  0.0312    0.0499
 Drift                           -0.0200   50 % of 12     0.5         1

less drift is better, and wins
embedded scorers
concepts: cat, dog; training seeds: 0, 1; n = 100 pictures a run (25 prompts x 4)
95 % intervals over concepts, prompts and images; 300 resamples, seed 7
CLIP B: text alignment, concept alignment
DINOv2 base: diversity, drift on unrelated prompts
note: one note
"""
LATEX = r"""
% \usepackage{booktabs}
\begin{tabular}{lcccc}
\toprule
Method & \# Params (\%) & Text Align. & Concept Align. & Diversity \\
\midrule
lora & 0.0306 & 0.331 {\scriptsize [0.321, 0.341]} & 0.742 {\scriptsize [0.722, 0.762]} & 10.25 \\
coeff\_lora & - & 0.350 {\scriptsize [0.320, 0.380]} & -- & -- \\
untouched base & - & 0.350 & 0.200 & 8.50 \\
photos themselves & - & -- & 0.900 & -- \\
\bottomrule
\multicolumn{5}{l}{\footnotesize embedded scorers} \\
\end{tabular}
% embedded scorers
% concepts: cat, dog; training seeds: 0, 1; n = 100 pictures a run (25 prompts x 4)
% 95 % intervals over concepts, prompts and images; 300 resamples, seed 7
% CLIP B: text alignment, concept alignment
% DINOv2 base: diversity, drift on unrelated prompts
% note: one note
"""
CSV = """
label,method,params_percent,metric,value,low,high,baseline,difference,difference_low,difference_high,win_rate,pairs,p,p_holm,n,concepts,training_seeds,scorers
lora,lora,0.0306,text_alignment,0.3314,0.3214,0.3414,,,,,,,,,100,2,2,embedded scorers
lora,lora,0.0306,concept_alignment,0.7421,0.7221,0.7621,,,,,,,,,100,2,2,embedded scorers
lora,lora,0.0306,diversity,10.25,,,,,,,,,,,100,2,2,embedded scorers
lora,lora,0.0306,drift,0.1,0.09,0.11,,,,,,,,,100,2,2,embedded scorers
coeff_lora,coeff-lora,,text_alignment,0.35,0.32,0.38,lora,0.0186,-0.0114,0.0486,0.75,200,0.0312345,0.0499,100,2,2,embedded scorers
untouched base,,,text_alignment,0.35,,,,,,,,,,,100,2,2,embedded scorers
untouched base,,,concept_alignment,0.2,,,,,,,,,,,100,2,2,embedded scorers
untouched base,,,diversity,8.5,,,,,,,,,,,100,2,2,embedded scorers
untouched base,,,drift,0.0,,,,,,,,,,,100,2,2,embedded scorers
photos themselves,,,concept_alignment,0.9,,,,,,,,,,,100,2,2,embedded scorers
"""


@pytest.fixture
def comparison() -> Comparison:
    """Two methods; the second lacks what the first has, the first has a score without an interval."""
    own = {
        "text_alignment": Estimate(0.3314, 0.3214, 0.3414),
        "concept_alignment": Estimate(0.7421, 0.7221, 0.7621),
        "diversity": Estimate(10.25, None, None),
        "drift": Estimate(0.1, 0.09, 0.11),
    }
    text = Estimate(0.0186, -0.0114, 0.0486)
    differences = [
        Difference("text_alignment", 0.3314, 0.35, text, {"cat": 0.0186}, 0.75, 200, 0.0312345, 0.0499),
        Difference("drift", 0.1, 0.08, Estimate(-0.02, None, None), {"cat": -0.02}, 0.5, 12, 0.5, 1.0),
    ]
    return Comparison(
        grouped=True,
        concepts=["cat", "dog"],
        training_seeds=[0, 1],
        prompts=25,
        images_per_prompt=4,
        n=100,
        encoders={"clip": "CLIP B", "dino": "DINOv2 base"},
        label="embedded scorers",
        seed=7,
        resamples=300,
        level=0.95,
        rows=[
            MethodRow("lora", "lora", ["a", "b"], 0.0306, own, {}),
            MethodRow(
                "coeff_lora", "coeff-lora", ["c"], None, {"text_alignment": Estimate(0.35, 0.32, 0.38)}, {}
            ),
        ],
        contrasts=[Contrast("coeff_lora", "lora", differences)],
        notes=["one note"],
        ends=[
            End(
                "untouched base",
                {
                    "text_alignment": {"cat": 0.3, "dog": 0.4},
                    "concept_alignment": {"cat": 0.25, "dog": 0.15},
                    "diversity": {"cat": 9.0, "dog": 8.0},
                    "drift": {"cat": 0.0, "dog": 0.0},
                },
            ),
            # One concept has a single photo, so that it has no diversity of many.
            End(
                "photos themselves",
                {"concept_alignment": {"cat": 0.9, "dog": 0.9}, "diversity": {"cat": 1.5}},
            ),
        ],
    )


def shown(comparison: Comparison, *, colours: bool = False) -> str:
    console = Console(width=100, force_terminal=colours, color_system="standard" if colours else None)
    with console.capture() as capture:
        console.print(comparison_table(comparison))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_in_the_terminal(comparison):
    """Numbers stand under numbers, each with its digits, and what is absent is a dash."""
    assert shown(comparison).strip() == TERMINAL.strip()


def test_what_is_significant_is_bold(comparison):
    """After Holm's correction, and at .05 still."""
    lines = shown(comparison, colours=True).splitlines()
    text = next(line for line in lines if "+0.0186" in line)
    drift = next(line for line in lines if "-0.0200" in line)
    assert "\x1b[1m" in text
    assert "\x1b[1m" not in drift
    [contrast] = comparison.contrasts
    at_the_limit = [dataclasses.replace(each, p_holm=0.05) for each in contrast.differences]
    limit = dataclasses.replace(
        comparison, contrasts=[dataclasses.replace(contrast, differences=at_the_limit)]
    )
    assert "\x1b[1m" in next(line for line in shown(limit, colours=True).splitlines() if "-0.0200" in line)


def test_for_latex(comparison):
    """Compiles as it is: cells as many as columns, signs escaped, notes as comments."""
    assert to_latex(comparison).strip() == LATEX.strip()
    assert to_latex(comparison).endswith("\n")


def test_for_a_spreadsheet(comparison):
    """One line for each group and metric, at full precision; the baseline has no difference."""
    assert to_csv(comparison) == CSV.lstrip()


def test_single_runs_without_drift_or_label(comparison):
    """A row is a run then; no line speaks of what is not there."""
    [contrast] = comparison.contrasts
    text, _ = contrast.differences
    rows = [
        dataclasses.replace(row, scores={k: v for k, v in row.scores.items() if k != "drift"})
        for row in comparison.rows
    ]
    bare = dataclasses.replace(
        comparison,
        grouped=False,
        label=None,
        concepts=["cat"],
        rows=rows,
        contrasts=[dataclasses.replace(contrast, differences=[text])],
    )
    lines = shown(bare).splitlines()
    assert lines[2].split() == ["run", "(%)", "Align.", "Align.", "Diversity"]
    assert not any("drift" in line.lower() for line in lines)
    assert "95 % intervals over prompts and images of this concept; 300 resamples, seed 7" in lines
    assert to_latex(bare).splitlines()[3].startswith("Run & ")
    assert r"\multicolumn" not in to_latex(bare)
    assert to_csv(bare).splitlines()[1].endswith(",100,1,2,CLIP B and DINOv2 base")


def test_a_long_name_is_folded_and_not_cut(comparison):
    """Runs are told apart by the end of their names."""
    name = "a-run-with-a-name-that-is-longer-than-any-terminal-is-wide-" + "x" * 60 + "-seed-7"
    first, second = comparison.rows
    lines = shown(dataclasses.replace(comparison, rows=[dataclasses.replace(first, label=name), second]))
    assert "…" not in lines
    assert "seed-7" in lines.replace("\n", "").replace(" ", "")
