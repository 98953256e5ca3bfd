"""What stands on a study's page, read as HTML; test_study_browser.py opens it in a browser."""

from __future__ import annotations

import dataclasses
import shutil

import pytest

from coeffdream.compare.comparison import compare
from coeffdream.compare.pairing import pair_by_method
from coeffdream.compare.scored import load_runs
from coeffdream.errors import RunError
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import write_json
from coeffdream.records.images import SetFolder
from coeffdream.records.scores import EMBEDDED_LABEL
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell
from coeffdream.report.page import write_report
from coeffdream.report.study.concept_pictures import PHOTO_BUDGET, PICTURES, prompts_each
from coeffdream.report.study.study_page import write_study_report


@pytest.fixture
def study_page(reading):
    def read(folder):
        file, page = write_study_report(folder)
        return reading(file.read_text(encoding="utf-8")), page

    return read


def test_everything_of_a_whole_study(study_page, whole_study):
    """Every section is there, the label of the toybox's scorers first; nothing is said to be missing."""
    seen, page = study_page(whole_study)
    assert seen.sections == {
        *("finding", "table", "differences", "concepts", "pictures", "coefficients", "training"),
        *("settings", "again"),
    }
    assert seen.text.index(EMBEDDED_LABEL) < seen.text.index(page.compared.finding.headline[0])
    assert "9 of 9 complete" in seen.text
    assert "not finished" not in seen.text
    assert all(image.get("alt") for image in seen.all("img"))


def test_the_numbers_are_those_of_compare(study_page, whole_study):
    """Table and differences hold what `compare` computes of the cells in the study's own order, nothing else."""
    seen, page = study_page(whole_study)
    runs = [str(whole_study.run(cell).path) for cell in whole_study.read().cells]
    cells = load_runs(runs, whole_study.runs)
    expected = compare(pair_by_method(cells, [cell.concept for cell in cells]))
    assert page.compared.comparison == expected
    for row in expected.rows:
        score = row.scores["concept_alignment"]
        assert f"{score.value:.3f}" in seen.text
        assert f"[{score.low:.3f}, {score.high:.3f}]" in seen.text
    [concept] = [d for d in expected.contrasts[0].differences if d.metric == "concept_alignment"]
    assert f"{concept.difference.value:+.4f}" in seen.text
    assert f"Holm p {concept.p_holm:.2g}" in seen.text


def test_floor_and_ceiling(study_page, whole_study):
    """Means over concepts; diversity of another n is not set beside the methods' own."""
    seen, page = study_page(whole_study)
    rows = {row.kind: row for row in page.compared.table}
    assert [value for value, _, _ in rows["floor"].cells] == ["0.322", "0.410", "3.90", "0.520"]
    assert [value for value, _, _ in rows["ceiling"].cells] == ["–", "0.820", "–", "0.520"]
    assert "n differs: not 8" in seen.text


def test_drift_where_it_was_measured(study_page, studies, reading):
    """A further metric of which less is better: in the table, in the plots, and on the page of a run."""
    studies.drifting = True
    _, page = study_page(studies.finish().folder)
    assert page.compared.headings[-1] == "Drift"
    assert page.compared.forests[-1].name == "Drift on unrelated prompts (less is better)"
    assert {bar.wins for bar in page.compared.forests[-1].bars} == {"0 %"}
    file = write_report(studies.folder.run(Cell("cat", "dora", 0)))[0]
    run = reading(file.read_text(encoding="utf-8"))
    assert "Drift on 6 unrelated pictures (less is better) 0.2" in run.text
    assert "text alignment fell by 0.010" in run.text


def test_no_floor_where_none_was_drawn(study_page, studies):
    """The row is left out, and the pictures stand without the untouched base."""
    seen, page = study_page(studies.finish(floor=False).folder)
    assert "floor" not in {row.kind for row in page.compared.table}
    assert len(page.pictures[0].strips[0].shots) == 3
    assert "untouched base" not in seen.text


def test_pictures_side_by_side(study_page, whole_study):
    """A row is one prompt and seed: the untouched base, then the methods in the plan's order; full pictures are linked."""
    seen, page = study_page(whole_study)
    strip = page.pictures[1].strips[2]
    assert [shot.name for shot in strip.shots] == ["untouched base", "lora", "coeff-lora", "dora"]
    assert [shot.link for shot in strip.shots] == [
        "runs/mug-lora-seed0/images/benchmark-base/02-0.png",
        *(f"runs/mug-{method}-seed0/images/benchmark/02-0.png" for method in ("lora", "coeff-lora", "dora")),
    ]
    assert all((whole_study.path / shot.link).is_file() for shot in strip.shots)
    assert "Shown are 4 of each concept’s 4 prompts" in seen.text
    folders = [link["href"] for link in seen.all("a") if (link["href"] or "").endswith("/benchmark/")]
    assert len(folders) == 9
    assert all((whole_study.path / folder).is_dir() for folder in folders)


@pytest.mark.parametrize(("concepts", "columns", "prompts"), [(1, 3, 6), (12, 5, 5), (30, 4, 2), (99, 6, 2)])
def test_pictures_keep_to_a_number(concepts, columns, prompts):
    """The more concepts and methods, the fewer prompts of each; their bytes have a budget besides."""
    assert prompts_each(concepts, columns) == prompts
    assert (PICTURES["budget"] + PHOTO_BUDGET) * 4 / 3 < 8_000_000  # in base64, of a page of 10 MB


def test_a_study_with_unfinished_cells(study_page, studies):
    """What is complete is compared, what is not is named with its state, its log's last line and the command."""
    names = ("mug-dora-seed0", "fox-lora-seed0", "fox-coeff-lora-seed0", "fox-dora-seed0")
    studies.finish(*names)
    log = studies.folder.log(Cell("mug", "dora", 0))
    log.parent.mkdir()
    log.write_text("$ coeffdream train\nerror: the disk is full\n\n")
    interrupted = studies.folder.run(Cell("fox", "lora", 0))
    shutil.copytree(studies.folder.run(Cell("cat", "lora", 0)).path, interrupted.path)
    interrupted.scores.unlink()
    interrupted.write(dataclasses.replace(interrupted.read(), status="interrupted", steps_done=40))
    seen, page = study_page(studies.folder)
    assert "5 of 9 complete" in seen.text
    assert "4 of 9 cells are not finished" in seen.text
    assert "mug-dora-seed0 not trained log : error: the disk is full" in seen.text
    assert "fox-lora-seed0 interrupted after 40 of 60 steps" in seen.text
    assert "fox-dora-seed0 not begun" in seen.text
    assert "coeffdream bench concepts" in seen.text
    assert page.compared.comparison.concepts == ["cat"]
    assert "left out, not matched on concept and training seed" in seen.text
    assert "speak of 'cat' only" in seen.text


def test_cells_that_stopped_between_stages(study_page, studies):
    """Trained, drawn in part, drawn: each is called what it is."""
    studies.finish()
    for method, left in (("lora", 0), ("coeff-lora", 3), ("dora", 8)):
        run = studies.folder.run(Cell("cat", method, 0))
        run.scores.unlink()
        pictures = SetFolder(run.images / "benchmark")
        pictures.keep_images({image.index: offset for offset, image in pictures.rows() if image.index < left})
    shutil.rmtree(studies.folder.run(Cell("cat", "lora", 0)).images)
    _, page = study_page(studies.folder)
    states = {each.cell.arm: each.state for each in page.unfinished}
    assert states == {
        "lora": "trained, not drawn",
        "coeff-lora": "trained, 3 of 8 pictures drawn",
        "dora": "drawn, not scored",
    }


def test_a_study_not_begun(study_page, studies):
    """A page that says so, with the plan and the command."""
    write_json(studies.folder.record_file, record_to_json(studies.plan))
    seen, page = study_page(studies.folder)
    assert seen.sections == {"finding", "settings", "again"}
    assert "0 of 9 complete" in seen.text
    assert page.why_not in seen.text


def test_cells_that_cannot_be_compared(study_page, studies):
    """Scored by other encoders in between: the page says which field differs and shows the rest."""
    studies.finish()
    run = studies.folder.run(Cell("cat", "dora", 0))
    run.scores.write_text(run.scores.read_text().replace("c" * 64, "e" * 64))
    seen, _ = study_page(studies.folder)
    assert "encoder clip weights_sha256 is cccccccccccc in cat-lora-seed0" in seen.text
    assert "pictures" in seen.sections


def test_coefficients_over_cells(study_page, whole_study):
    """Only the method that has them; all cells of the builder hold the same ones, so mean and range agree."""
    _, page = study_page(whole_study)
    [mixing] = page.mixings
    assert (mixing.method, mixing.cells, len(mixing.layers)) == ("coeff-lora", 3, 6)
    assert mixing.off_diagonal.low == pytest.approx(mixing.off_diagonal.high)
    assert 0.05 < mixing.off_diagonal.mean < 0.4
    assert 0 < mixing.negative.mean < 0.5


def test_losses_by_method(study_page, whole_study):
    """A thin line for each cell and a thick one for each method."""
    seen, page = study_page(whole_study)
    assert [(each.method, each.cells) for each in page.losses] == [
        ("lora", 3),
        ("coeff-lora", 3),
        ("dora", 3),
    ]
    assert all(each.thin.count("M") == 3 and each.mean.count("M") == 1 for each in page.losses)
    assert len(seen.all("path", "thick")) == 3


def test_a_plan_that_is_none(study_page, tmp_path):
    """study.json changed by hand is named, with what is wrong in it."""
    file = tmp_path / "study.json"
    file.write_text('{"base": "toybox", "concepts": [], "methods": ["lora"], "seeds": 1}')
    with pytest.raises(RunError, match=r"study\.json: this makes no study: no concept"):
        study_page(StudyFolder(tmp_path))
    file.write_text('{"base": "toybox"}')
    with pytest.raises(RunError, match="lacks concepts"):
        study_page(StudyFolder(tmp_path))


def test_names_in_a_study_are_text(study_page, studies):
    """Whatever the records hold is escaped."""
    studies.concepts = ("<i>cat<\u200bi>", "mug")
    seen, _ = study_page(studies.finish().folder)
    assert not seen.all("i", "cat")
    assert len(seen.all("script")) == 1
    assert "<i>cat" in seen.text
