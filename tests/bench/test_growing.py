"""A study that grows: more seeds, concepts or arms in the folder of one that was begun; nothing else is taken for growth."""

from __future__ import annotations

import dataclasses
import sys

import pytest

from coeffdream.bench.concepts import open_study
from coeffdream.bench.status import study_status
from coeffdream.cli.app import main
from coeffdream.cli.terminal import last_progress
from coeffdream.compare import comparison
from coeffdream.data.shipped import shipped
from coeffdream.errors import ConfigError, InUseError
from coeffdream.records.run import RunFolder
from coeffdream.records.study import StudyFolder
from coeffdream.report.commands import study_command

WIDE = {"method": "lora", "rank": 4}


@pytest.fixture
def done(study, tmp_path):
    """The study with all its four cells scored: its folder."""
    with open_study(tmp_path, study) as cells:
        for cell in cells:
            scored(StudyFolder(tmp_path).run(cell))
    return tmp_path


def scored(run):
    run.path.mkdir(parents=True)
    run.scores.write_text("{}")


def opened(folder, study) -> tuple[list[str], list[str]]:
    """The cells to do, and what was told."""
    told: list[str] = []
    with open_study(folder, study, told.append) as todo:
        return [cell.name for cell in todo], told


class TestWhatIsGrowth:
    def test_seeds(self, study, done):
        """The cells of the first seed are there already; whoever looks from elsewhere sees the whole plan."""
        todo, told = opened(done, dataclasses.replace(study, seeds=3))
        assert told == ["study grows from 4 to 12 cells: seeds 1 to 3"]
        names = [f"{concept}-{method}" for concept in ("cat", "teapot") for method in ("lora", "coeff-lora")]
        assert todo == [f"{name}-seed{seed}" for seed in (1, 2) for name in names]
        status = study_status(done, last_progress)
        assert (status.cells, status.done) == (12, 4)

    def test_a_concept_and_an_arm(self, study, done):
        """In whatever order they are given, what was there comes first, so that a comparison keeps its baseline."""
        dog = str(shipped("concepts/dog"))
        plan = dataclasses.replace(
            study,
            concepts=[dog, *reversed(study.concepts)],
            methods=["wide", "coeff-lora", "lora"],
            # What a file of arms says of a method that the study knew by its name alone.
            arms={"wide": WIDE, "lora": {"method": "lora"}},
        )
        todo, told = opened(done, plan)
        assert told == ["study grows from 4 to 9 cells: with dog, with wide"]
        kept = StudyFolder(done).read()
        assert kept.concepts == [*study.concepts, dog]
        assert kept.methods == ["lora", "coeff-lora", "wide"]
        assert todo[:2] == ["cat-wide-seed0", "teapot-wide-seed0"]
        assert len(todo) == 5
        assert "--methods lora,coeff-lora,wide" in study_command(kept, done)
        assert opened(done, kept) == (todo, [])

    def test_the_same_in_another_order(self, study, done):
        """It is the same study: nothing is to do, nothing is said, nothing is written."""
        before = StudyFolder(done).record_file.stat().st_mtime_ns
        turned = dataclasses.replace(study, concepts=study.concepts[::-1], methods=study.methods[::-1])
        assert opened(done, turned) == ([], [])
        assert StudyFolder(done).record_file.stat().st_mtime_ns == before


class TestWhatIsNot:
    """Refused in a line that names it, and the study is as it was."""

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            (
                {"steps": 3, "seeds": 3},
                r"holds another study \(name another --study\): steps was 2 and is now 3",
            ),
            ({"sampling_steps": None}, "sampling_steps was 1 and is now None"),
            ({"device": "cpu"}, "device was 'auto' and is now 'cpu'"),
            (
                {"arms": {"lora": WIDE}},
                r"another study .*arm lora was \{'method': 'lora'\} and is now \{'method': 'lora', 'rank': 4\}",
            ),
            (
                {"methods": ["lora", "dora"]},
                r"larger study, and a study only grows \(.*coeffdream compare RUN .*\): method coeff-lora is left out",
            ),
            ({"concepts": [str(shipped("concepts/cat"))]}, "larger study.*teapot is left out"),
        ],
    )
    def test_other_plans(self, changed, says, study, done):
        plan = dataclasses.replace(study, **changed)
        before = StudyFolder(done).record_file.read_bytes()
        with pytest.raises(ConfigError, match=says), open_study(done, plan):
            pass
        assert StudyFolder(done).record_file.read_bytes() == before

    def test_fewer_seeds_than_it_grew_to(self, study, done):
        """Growth is for good."""
        opened(done, dataclasses.replace(study, seeds=2))
        with (
            pytest.raises(ConfigError, match=r"larger study.*seeds was 2 and is now 1"),
            open_study(done, study),
        ):
            pass

    def test_while_another_process_is_at_work(self, study, done):
        """A study does not grow under the hands of one that runs it."""
        with (
            open_study(done, study),
            pytest.raises(InUseError, match="is in use by process"),
            open_study(done, dataclasses.replace(study, seeds=2)),
        ):
            pass
        assert StudyFolder(done).read().seeds == 1


def test_the_command(monkeypatch, tmp_path, capsys, threads):
    """It says how the study grows, runs what is missing and nothing else, and keeps the newer file of arms."""
    from coeffdream.bench import engine

    monkeypatch.chdir(tmp_path)
    folder, ran = StudyFolder(tmp_path / "study"), []

    def perform(arguments, log):
        ran.append(log.stem)
        if arguments[0] == "eval":
            scored(RunFolder(folder.runs / arguments[1]))
        return 0

    monkeypatch.setattr(engine, "LocalEngine", lambda *given: threads(perform))
    monkeypatch.setattr("coeffdream.compare.scored.load_runs", lambda runs, folder: runs)
    monkeypatch.setattr("coeffdream.compare.pairing.pair_study", lambda plan, cells, runs: [len(runs), plan])
    seen = []

    def compared(pairing):
        seen.append(pairing)
        raise ConfigError("there is nothing to compare")

    monkeypatch.setattr(comparison, "compare", compared)

    def command(*more):
        words = ["bench", "concepts", "cat", "--base", "toybox", "--device", "cpu", "--arms", "arms.toml"]
        monkeypatch.setattr(sys, "argv", ["coeffdream", *words, *more])
        with pytest.raises(SystemExit):
            main()
        return capsys.readouterr().err

    first, second = "[lora]\n[coeff-lora]\n", "[wide]\nmethod = 'lora'\nrank = 4\n"
    (tmp_path / "arms.toml").write_text(first)
    assert "2 cells, 2 to do" in command()
    assert set(ran) == {"cat-lora-seed0", "cat-coeff-lora-seed0"}
    ran.clear()
    (tmp_path / "arms.toml").write_text(second + first)
    said = command("--seeds", "2")
    assert "study grows from 2 to 6 cells: seeds 1 to 2, with wide" in said
    assert "6 cells, 4 to do" in said
    assert set(ran) == {
        "cat-wide-seed0",
        *(f"cat-{arm}-seed1" for arm in ("lora", "coeff-lora", "wide")),
    }
    assert folder.arms_file.read_text() == second + first
    assert (seen[-1][0], seen[-1][1].methods) == (6, ["lora", "coeff-lora", "wide"])
    (tmp_path / "arms.toml").write_text(second)
    assert "a study compares at least two methods" in command()
    (tmp_path / "arms.toml").write_text(second + "[coeff-lora]\n")
    assert "holds a larger study" in command("--seeds", "2")
    assert folder.arms_file.read_text() == second + first
