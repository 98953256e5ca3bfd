"""`coeffdream eval`: score a run's set of pictures, or a folder of pictures from any other tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coeffdream import warm
from coeffdream.backbones.processes import processes
from coeffdream.config import TrainConfig
from coeffdream.data.concept import load_concept
from coeffdream.errors import ScoreError
from coeffdream.metrics.against import Against, score_against
from coeffdream.metrics.encoder_choice import TOYBOX, encoders_for
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.inputs import (
    Picture,
    Reference,
    hashes,
    photo_hashes,
    photos_of,
    pictures_of_folder,
    pictures_of_set,
    references_of_run,
)
from coeffdream.metrics.measure import Scorer
from coeffdream.metrics.options import ScoringOptions
from coeffdream.metrics.registry import MODELS, chosen
from coeffdream.metrics.several import photos_of_parts, score_parts
from coeffdream.metrics.untouched import find_floor, measure_drift
from coeffdream.progress import Progress, silent
from coeffdream.records.base import BaseRecord
from coeffdream.records.commands import benchmark_command
from coeffdream.records.encoders import EncoderRecords
from coeffdream.records.environment import now, versions
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import sha256_of_json
from coeffdream.records.images import SetFolder, SetRecord, find_set
from coeffdream.records.run import RunFolder, RunRecord
from coeffdream.records.scores import (
    EMBEDDED_LABEL,
    ConceptScores,
    Drift,
    ScoredSet,
    ScoresRecord,
    Source,
    write_scores,
)

SCORES = "scores.json"


DEFAULT = ScoringOptions()


def evaluate_run(
    run: RunFolder,
    *,
    set_name: str | None = None,
    references: Path | None = None,
    options: ScoringOptions = DEFAULT,
    encoders: Encoders | None = None,
    cache: FeatureCache | None = None,
    on_progress: Progress = silent,
) -> ScoresRecord:
    """Score one set of a run and write scores.json.

    set_name: None takes the newest benchmark set drawn with the adapter (see `find_set`).
    references: where the concept's photos lie now, if they were moved.
    encoders: already loaded, in place of those that `options` name; cache: else the user's own.

    Always writes images/SET/scores.json. runs/NAME/scores.json is the same record for the set that is
    taken when none is named, so neither a floor set nor pictures of a hand-given prompt replace it.

    The floor and the drift are scored beside it where their sets are there. Of several runs that drew together
    each thing is scored against its own photos, on the pictures whose prompt names it.

    Raises ScoreError for an incomplete or altered set, for a run with unrelated prompts only, for photos
    that are gone, and for encoder weights that cannot be had.
    """
    run_record = run.read()
    folder = find_set(run.images, set_name)
    set_record = folder.read_set()
    if set_name is None and set_record.kind == "unrelated":
        raise ScoreError(
            f"{run_record.name} holds no pictures of its concept, only of unrelated prompts; "
            f"draw the benchmark with: {benchmark_command(run, run_record)}"
        )

    def pictures_of(folder: SetFolder, record: SetRecord) -> list[Picture]:
        return pictures_of_set(
            folder,
            record,
            score_text=options.score_text,
            class_noun=run_record.class_nouns,
            token=run_record.tokens,
        )

    pictures = pictures_of(folder, set_record)
    parts = photos_of_parts(run_record, references)
    photos = [] if parts else references_of_run(run_record, references)
    base = TOYBOX if run_record.base.kind == TOYBOX else run_record.base.name
    scorer = _scorer(base, options, encoders, cache, on_progress, photos=bool(photos or parts))
    if not photos and not parts:
        scorer.warnings.append("this run learned no concept: scores against photos are absent")
    floor_set = find_floor(run.images, folder, set_record, scorer.warnings)
    untouched = [] if floor_set is None else pictures_of(floor_set, floor_set.read_set())
    against = score_against(scorer, pictures, untouched, photos)
    drift = measure_drift(scorer, run.images, set_record, pictures_of) if scorer.makes("drift") else None
    record = _record(
        scorer,
        against,
        score_text=options.score_text,
        drift=drift,
        concepts=score_parts(scorer, parts, pictures, untouched),
        floor_set=None if floor_set is None else floor_set.path.name,
        source=Source(
            kind="run",
            name=run_record.name,
            method=run_record.method,
            base=run_record.base,
            seed=run_record.config.seed,
            class_noun=run_record.class_noun,
            concept=_concept_of(run_record),
            parameters=run_record.parameters,
        ),
        of_set=ScoredSet(
            name=set_record.name,
            kind=set_record.kind,
            created=set_record.created,
            prompts=set_record.prompts,
            class_noun=set_record.class_noun,
            images_per_prompt=set_record.images_per_prompt,
            adapter=set_record.with_adapter,
            settings=set_record.settings,
            settings_sha256=sha256_of_json(record_to_json(set_record.settings)),
            **vars(hashes(pictures)),
        ),
    )
    if not processes().first:
        return record
    write_scores(folder.path / SCORES, record)
    if folder.path == find_set(run.images, None).path:
        write_scores(run.scores, record)
    return record


def _concept_of(record: RunRecord) -> str | None:
    parts = [part.concept.name if part.concept else part.class_noun for part in record.parts]
    return " and ".join(parts) or (record.concept.name if record.concept else None)


def evaluate_folder(
    images: Path,
    *,
    prompts: Path | None = None,
    references: Path | None = None,
    class_noun: str | None = None,
    token: str = TrainConfig.token,
    base: str = "",
    output: Path | None = None,
    options: ScoringOptions = DEFAULT,
    encoders: Encoders | None = None,
    cache: FeatureCache | None = None,
    on_progress: Progress = silent,
) -> ScoresRecord:
    """Score pictures that any other tool drew, in the same way; writes `output` if it is given.

    prompts: a CSV file with the columns file and prompt, or None for one subfolder a prompt.
    references: folder with the concept's photos; without it the scores against photos are absent.
    class_noun: else concept.toml of the references, else their folder's name.
    base: "toybox" chooses the embedded scorers.

    Raises ScoreError for pictures and prompts that do not fit, ConceptError for unusable references.
    """
    photos: list[Reference] = []
    concept = None
    if references is not None:
        concept = load_concept(references, class_noun=class_noun)
        class_noun = concept.class_noun
        photos = photos_of(concept)
    if class_noun is None:
        raise ScoreError("no class noun to score <V> with; give --class NOUN, or --references FOLDER")
    pictures, left_out = pictures_of_folder(
        images, prompts, score_text=options.score_text, class_noun=class_noun, token=token
    )
    scorer = _scorer(base, options, encoders, cache, on_progress, photos=bool(photos))
    scorer.warnings.extend(left_out)
    if not photos:
        scorer.warnings.append("no photos were given: scores against photos are absent")
    against = score_against(scorer, pictures, [], photos)
    counts = {prompt.n for prompt in against.scored.per_prompt}
    if len(counts) > 1:
        scorer.warnings.append(
            f"prompts have from {min(counts)} to {max(counts)} pictures; every picture counts alike"
        )
    record = _record(
        scorer,
        against,
        score_text=options.score_text,
        source=Source(
            kind="folder",
            name=images.resolve().name,
            base=BaseRecord(base) if base else None,
            class_noun=class_noun,
            concept=None if concept is None else concept.name,
        ),
        of_set=ScoredSet(
            **vars(hashes(pictures)), name=images.resolve().name, kind="folder", class_noun=class_noun
        ),
    )
    if output is not None and processes().first:
        write_scores(output, record)
    return record


def _scorer(
    base: str,
    options: ScoringOptions,
    encoders: Encoders | None,
    cache: FeatureCache | None,
    progress: Progress,
    *,
    photos: bool,
) -> Scorer:
    """Raises ScoreError when none of the scores that were asked for can be made without photos."""
    scores = chosen(options.scores)
    if not photos and all(score.photos for score in scores):
        raise ScoreError(
            f"--scores {options.scores} needs photos of the thing, and there are none; give --references FOLDER"
        )
    if encoders is None:
        progress("loading the scorers", 0, 1, "")
        key = ("scorers", base, options, tuple(score.name for score in scores))
        encoders = warm.kept(key, lambda: encoders_for(base, options, scores))
        progress("loading the scorers", 1, 1, "")
    return Scorer(encoders, cache or FeatureCache(), options.batch_size, progress, scores=scores)


def _record(
    scorer: Scorer,
    against: Against,
    *,
    score_text: str,
    floor_set: str | None = None,
    drift: Drift | None = None,
    concepts: Sequence[ConceptScores] = (),
    source: Source,
    of_set: ScoredSet,
) -> ScoresRecord:
    encoders, scored = scorer.encoders, against.scored
    if scorer.cache.problem is not None:
        scorer.warnings.append(scorer.cache.problem)
    return ScoresRecord(
        created=now(),
        source=source,
        set=of_set,
        score_text=score_text,
        embedded=encoders.embedded,
        label=EMBEDDED_LABEL if encoders.embedded else None,
        encoders=EncoderRecords(
            **{
                model: None if (encoder := getattr(encoders, model)) is None else encoder.describe()
                for model in MODELS
            }
        ),
        references=photo_hashes(against.references),
        overall=scored.summary,
        floor=against.floor,
        floor_set=floor_set,
        drift=drift,
        concepts=list(concepts),
        ceiling=against.ceiling,
        learned=against.learned,
        per_prompt=scored.per_prompt,
        per_image=scored.per_image,
        warnings=scorer.warnings,
        versions=versions(),
    )
