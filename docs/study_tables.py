"""`python docs/study_tables.py`: the tables of the studies as README.md and docs/findings.md have them.

docs/NAME.json is the comparison.json of a study, from which they are written; docs/NAME.tar.xz has the records of its
runs, from which that follows (`python docs/study_tables.py --check`). docs/study_records.py keeps both.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from coeffdream.records.measures import MEASURES, Measure

HERE = Path(__file__).parent
SHORT = ("text_alignment", "concept_alignment", "diversity", "drift")
WHOLE = (
    "text_alignment",
    "concept_alignment",
    "dino_alignment",
    "subject_alignment",
    "background_leak",
    "diversity",
    "drift",
)
# Page, study, scores.
TABLES = (
    ("README.md", "study", SHORT),
    ("docs/findings.md", "study", WHOLE),
    ("docs/findings.md", "screen", SHORT),
)
AND_DIFFERENCES = ("docs/findings.md",)
WORTH = (("docs/findings.md", "study"), ("docs/findings.md", "screen"))
SIGNIFICANT = 0.05


def published(name: str) -> dict[str, Any]:
    """What is kept of the study's comparison."""
    found: dict[str, Any] = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return found


def scores(of: dict[str, Any], metrics: tuple[str, ...]) -> str:
    """Means over concepts with their intervals, above what they lie between."""
    measures = [_measure(name) for name in metrics]
    lines = _head(["", "# Params (%)", *(_title(each) for each in measures)])
    for row in of["rows"]:
        cells = [_interval(row["scores"][each.name], each, signed=False) for each in measures]
        lines.append(_line([row["label"], f"{row['percent']:.4f}", *cells]))
    for end in of["ends"]:
        means = [_mean(end["by_concept"].get(each.name, {}), of["concepts"]) for each in measures]
        cells = ["" if mean is None else each.show(mean) for mean, each in zip(means, measures, strict=True)]
        lines.append(_line([end["label"], "", *cells]))
    return "\n".join(lines)


def differences(of: dict[str, Any], metrics: tuple[str, ...]) -> str:
    """What each arm adds to its twin, with the corrected p; bold where that is at most 0.05 and the
    interval leaves out zero."""
    measures = [_measure(name) for name in metrics]
    lines = _head(["", *(_title(each) for each in measures)])
    for contrast in of["contrasts"]:
        by_metric = {each["metric"]: each for each in contrast["differences"]}
        cells = []
        for measure in measures:
            found = by_metric[measure.name]
            text = f"{_interval(found['difference'], measure, signed=True)}, p {found['p_holm']:.2g}"
            firm = found["p_holm"] <= SIGNIFICANT and _leaves_out_zero(found["difference"])
            cells.append(f"**{text}**" if firm else text)
        lines.append(_line([f"{contrast['label']} less {contrast['baseline']}", *cells]))
    return "\n".join(lines)


def tables(page: str, of: dict[str, Any], metrics: tuple[str, ...]) -> list[str]:
    """Those of a comparison that a page has."""
    made = [scores(of, metrics)]
    return [*made, differences(of, metrics)] if page in AND_DIFFERENCES else made


def worth(name: str) -> str:
    """What each arm is worth by the rule of `sweep`, and more than its twin, with p and p after Holm's correction over the
    lines; bold where that is at most 0.05."""
    from coeffdream.compare.statistics import holm
    from coeffdream.workshop.worth import worth_of

    with unpacked(name) as folder:
        arms = worth_of(folder)
    compared = [(arm.name, more) for arm in arms if (more := arm.more) is not None]
    corrected = dict(zip([arm for arm, _ in compared], holm([more.p for _, more in compared]), strict=True))
    lines = _head(["", "gained", "followed", "unchanged", "worth", "more than its twin", "p", "p by Holm"])
    for arm in arms:
        shares = [f"{100 * arm.share(each):.0f} %" for each in ("gained", "followed", "unchanged")]
        cells = [arm.name, *shares, f"{arm.worth[0]:.3f}"]
        if (more := arm.more) is None:
            lines.append(_line([*cells, "", "", ""]))
            continue
        text = f"{_signed(more.value)} [{_signed(more.low)}, {_signed(more.high)}]"
        firm = corrected[arm.name] <= SIGNIFICANT
        ps = [f"{each:.2g}" for each in (more.p, corrected[arm.name])]
        lines.append(_line([*cells, f"**{text}**" if firm else text, *ps]))
    return "\n".join(lines)


@contextlib.contextmanager
def unpacked(name: str) -> Iterator[Path]:
    """The folder of the study whose records docs/NAME.tar.xz holds."""
    with tempfile.TemporaryDirectory() as folder, tarfile.open(HERE / f"{name}.tar.xz") as records:
        records.extractall(folder, filter="data")
        yield Path(folder) / name


def recomputed(name: str) -> dict[str, Any]:
    """The comparison once more, from the records of the runs."""
    from coeffdream.compare.comparison import compare
    from coeffdream.compare.pairing import pair_study
    from coeffdream.compare.scored import load_runs
    from coeffdream.records.study import StudyFolder

    with unpacked(name) as folder:
        kept = StudyFolder(folder)
        study = kept.read()
        runs = load_runs([str(kept.run(cell).path) for cell in study.cells], kept.runs)
        return asdict(compare(pair_study(study, study.cells, runs)))


def _measure(name: str) -> Measure:
    return MEASURES[name]


def _title(measure: Measure) -> str:
    return f"{measure.title} (less is better)" if measure.less_is_better else measure.title


def _head(titles: list[str]) -> list[str]:
    return [_line(titles), "|" + "---|" * len(titles)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _mean(values: dict[str, float], concepts: list[str]) -> float | None:
    return sum(values.values()) / len(concepts) if len(values) == len(concepts) else None


def _leaves_out_zero(of: dict[str, Any]) -> bool:
    return of["low"] is not None and not of["low"] <= 0 <= of["high"]


def _interval(of: dict[str, Any], measure: Measure, *, signed: bool) -> str:
    def show(value: float) -> str:
        text = measure.show(abs(value))
        return ("+" if value >= 0 else "−") + text if signed else text

    if of["low"] is None:
        return show(of["value"])
    return f"{show(of['value'])} [{show(of['low'])}, {show(of['high'])}]"


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "−") + f"{abs(value):.3f}"


def main() -> None:
    for page, name, metrics in TABLES:
        found = published(name)
        print(f"{page}, {name}:", *tables(page, found, metrics), sep="\n\n", end="\n\n")
    for page, name in WORTH:
        print(f"{page}, {name}:", worth(name), sep="\n\n", end="\n\n")
    if "--check" in sys.argv[1:]:
        names = dict.fromkeys(name for _, name, _ in TABLES)
        others = [name for name in names if json.loads(json.dumps(recomputed(name))) != published(name)]
        for name in names:
            print(f"{name}.json {'does NOT follow' if name in others else 'follows'} from the records")
        sys.exit(bool(others))


if __name__ == "__main__":
    main()
