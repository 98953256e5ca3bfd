"""The comparison for other programs: CSV, and LaTeX in the layout of the paper's Table 3."""

from __future__ import annotations

import csv
import io

from coeffdream.compare.comparison_table import caption, first_column, percent
from coeffdream.compare.result import Comparison, Estimate
from coeffdream.records.measures import TABLE3, Measure

ESCAPES = {character: f"\\{character}" for character in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
COLUMNS = (
    *("label", "method", "params_percent", "metric", "value", "low", "high"),
    *("baseline", "difference", "difference_low", "difference_high", "win_rate", "pairs", "p", "p_holm"),
    *("n", "concepts", "training_seeds", "scorers"),
)


def to_csv(comparison: Comparison) -> str:
    """One line for each group and metric; the columns from `baseline` on are empty for the first."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    against = {
        (contrast.label, each.metric): (contrast.baseline, each)
        for contrast in comparison.contrasts
        for each in contrast.differences
    }
    described = {
        "n": comparison.n,
        "concepts": len(comparison.concepts),
        "training_seeds": len(comparison.training_seeds),
        "scorers": comparison.label or " and ".join(comparison.encoders.values()),
    }
    for row in comparison.rows:
        for metric, score in row.scores.items():
            line = {"label": row.label, "method": row.method, "params_percent": row.percent, "metric": metric}
            line |= {"value": score.value, "low": score.low, "high": score.high}
            if (row.label, metric) in against:
                baseline, each = against[row.label, metric]
                line |= {"baseline": baseline, "difference": each.difference.value}
                line |= {"difference_low": each.difference.low, "difference_high": each.difference.high}
                line |= {"win_rate": each.win_rate, "pairs": each.pairs, "p": each.p, "p_holm": each.p_holm}
            writer.writerow(line | described)
    for end in comparison.ends:
        for metric in end.by_concept:
            if (value := end.mean(metric, comparison.concepts)) is not None:
                writer.writerow({"label": end.label, "metric": metric, "value": value} | described)
    return stream.getvalue()


def to_latex(comparison: Comparison) -> str:
    """A booktabs table with the intervals in small print; the notes follow as comments."""
    headings = [
        first_column(comparison).capitalize(),
        r"\# Params (\%)",
        *(measure.title for measure in TABLE3),
    ]
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'c' * (len(headings) - 1)}}}",
        r"\toprule",
        " & ".join(headings) + r" \\",
        r"\midrule",
    ]
    for row in comparison.rows:
        cells = [
            _cell(row.scores[measure.name], measure) if measure.name in row.scores else "--"
            for measure in TABLE3
        ]
        lines.append(" & ".join([escaped(row.label), percent(row.percent), *cells]) + r" \\")
    for end in comparison.ends:
        means = ((measure, end.mean(measure.name, comparison.concepts)) for measure in TABLE3)
        cells = ["--" if mean is None else measure.show(mean) for measure, mean in means]
        lines.append(" & ".join([escaped(end.label), "-", *cells]) + r" \\")
    lines.append(r"\bottomrule")
    if comparison.label:
        lines.append(rf"\multicolumn{{{len(headings)}}}{{l}}{{\footnotesize {escaped(comparison.label)}}} \\")
    lines.append(r"\end{tabular}")
    return "\n".join([*lines, *(f"% {line}" for line in caption(comparison))]) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(ESCAPES.get(character, character) for character in text)


def _cell(estimate: Estimate, measure: Measure) -> str:
    value, bounds = measure.show(estimate.value), estimate.bounds(measure.show)
    return rf"{value} {{\scriptsize {bounds}}}" if bounds else value
