"""One run and its scores, as they are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coeffdream.errors import ScoreError, together
from coeffdream.records.commands import command_line, name_of
from coeffdream.records.run import RunRecord, find_run
from coeffdream.records.scores import ScoresRecord, read_scores


@dataclass(frozen=True)
class ScoredRun:
    """One run and what its benchmark set scored."""

    path: Path
    record: RunRecord
    scores: ScoresRecord

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def concept(self) -> str:
        return self.scores.source.concept or self.record.class_noun

    @property
    def seed(self) -> int | None:
        """The training seed."""
        return self.scores.source.seed

    @property
    def percent(self) -> float | None:
        """Trained parameters as a share of the UNet's own, in percent."""
        parameters = self.scores.source.parameters
        return parameters.percent if parameters.trained else None


def load_runs(names: Sequence[str], runs: Path) -> list[ScoredRun]:
    """The runs named, each once, in the order given.

    Raises RunError for a run that is not there, ScoreError for those that have no scores yet.
    """
    folders = list({folder.path: folder for name in names for folder in [find_run(name, runs)]}.values())
    unscored = [folder for folder in folders if not folder.scores.is_file()]
    if unscored:
        lines = [f"{each.path.name}; run: {command_line('eval', name_of(each))}" for each in unscored]
        raise ScoreError(together("no scores.json", lines))
    return [ScoredRun(folder.path, folder.read(), read_scores(folder.scores)) for folder in folders]
