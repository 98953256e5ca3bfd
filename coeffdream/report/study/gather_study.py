"""Everything the page shows of one study, read from its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_study
from coeffdream.compare.result import Comparison
from coeffdream.errors import UserError
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Study
from coeffdream.report.study import tables
from coeffdream.report.study.cells import Finished, Unfinished, read_cells
from coeffdream.report.study.comparison_plots import ConceptPlot, Forest, concept_plots, forests, mark_of
from coeffdream.report.study.concept_pictures import ConceptPictures, concept_pictures
from coeffdream.report.study.finding import Finding, finding
from coeffdream.report.study.losses import MethodLoss, losses
from coeffdream.report.study.mixing import MethodMixing, mixings
from coeffdream.report.study.origin import Origin, origin


@dataclass(frozen=True)
class Compared:
    """The comparison of the finished cells, made ready to be shown."""

    comparison: Comparison
    finding: Finding
    headings: list[str]
    table: list[tables.Row]
    forests: list[Forest]
    concepts: list[ConceptPlot]
    concept_tables: list[tables.ConceptTable]


@dataclass(frozen=True)
class StudyPage:
    """What the template reads. `compared` is None, and `why_not` says why, as long as nothing can be compared."""

    name: str
    study: Study
    finished: list[Finished]
    unfinished: list[Unfinished]
    label: str | None
    compared: Compared | None
    why_not: str
    pictures: list[ConceptPictures]
    mixings: list[MethodMixing]
    losses: list[MethodLoss]
    origin: Origin

    @property
    def cells(self) -> int:
        return len(self.finished) + len(self.unfinished)

    def number(self, method: str) -> int:
        """The method's colour and mark: 0 is the first's."""
        compared = (
            [row.label for row in self.compared.comparison.rows] if self.compared else self.study.methods
        )
        return mark_of(compared.index(method) if method in compared else len(compared))


def gather_study(folder: StudyFolder) -> StudyPage:
    """Read a study for its report, as far as it came. Raises RunError for damaged records."""
    study = folder.read()
    finished, unfinished = read_cells(folder, study)
    compared, why_not = _compared(study, finished)
    labels = [cell.scored.scores.label for cell in finished if cell.scored.scores.label is not None]
    return StudyPage(
        name=folder.path.name,
        study=study,
        finished=finished,
        unfinished=unfinished,
        label=min(labels, default=None),
        compared=compared,
        why_not=why_not,
        pictures=concept_pictures(folder.path, finished, study.concepts, study.methods),
        mixings=mixings(finished, study.methods),
        losses=losses(finished, study.methods),
        origin=origin(folder, study, finished),
    )


def _compared(study: Study, finished: Sequence[Finished]) -> tuple[Compared | None, str]:
    if len({cell.cell.arm for cell in finished}) < 2:
        return None, "Two arms with finished cells are needed for a comparison."
    try:
        runs = [cell.scored for cell in finished]
        comparison = compare(pair_study(study, [cell.cell for cell in finished], runs))
    except UserError as problem:
        return None, f"The finished cells cannot be compared: {problem}"
    return Compared(
        comparison,
        finding(comparison),
        tables.headings(comparison),
        tables.table3(comparison),
        forests(comparison),
        concept_plots(comparison),
        tables.concept_tables(comparison),
    ), ""
