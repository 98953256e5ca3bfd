"""The scores by name: which model and photos each needs, and how it is made of features. The models themselves stand
in encoder_choice.py."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coeffdream.errors import ConfigError, quoted
from coeffdream.records import measures
from coeffdream.records.measures import Measure

if TYPE_CHECKING:
    from coeffdream.metrics.encoding import Encoding
    from coeffdream.metrics.features import Array
    from coeffdream.metrics.inputs import Picture, Reference

# Values of `ImageScore` by field, one for each picture.
Columns = dict[str, list[Any]]
OfPictures = Callable[["Encoding", "Sequence[Picture]", "Sequence[Reference]"], Columns]
# Values of `Summary` by field; of photos among themselves, or of those learned against those held out.
OfPhotos = Callable[["Encoding", "Sequence[Reference]", "Sequence[Reference]"], dict[str, float]]


@dataclass(frozen=True)
class Score:
    """One score. `model`: the field of `Encoders`; `photos`: whether it needs the concept's.

    of_pictures: None for what a set has and a picture has not; of_photos: None where photos have no such score.
    """

    name: str
    model: str
    asks: str
    measures: tuple[Measure, ...]
    photos: bool = False
    of_pictures: OfPictures | None = None
    of_photos: OfPhotos | None = None


@dataclass(frozen=True)
class Model:
    """What makes scores. `licence`: of its weights; `looks`: what it sees of a picture."""

    name: str
    licence: str
    looks: str


MODELS: dict[str, Model] = {
    "clip": Model("CLIP ViT-B/32 (OpenAI)", "MIT", "224 pixels, shortest edge and centre, bicubic"),
    "dino": Model("DINOv2 ViT-B/14", "Apache-2.0", "224 of 256 pixels, bicubic"),
    "dino_vits16": Model("DINO ViT-S/16", "Apache-2.0", "224 of 256 pixels, bicubic"),
    "pickscore": Model(
        "PickScore v1 (CLIP ViT-H/14)", "MIT", "224 pixels, shortest edge and centre, bicubic"
    ),
    "vqa": Model("BLIP VQA base", "BSD-3-Clause", "384 x 384 pixels, bicubic"),
}


def _text(encoding: Encoding, pictures: Sequence[Picture], photos: Sequence[Reference]) -> Columns:
    from coeffdream.metrics import features as maths

    drawn = encoding.image_features(encoding.clip(), pictures, "pictures")
    texts = encoding.text_features([picture.text for picture in pictures])
    return {"text_alignment": maths.text_alignment(drawn, texts).tolist()}


def _likeness(model: str, field: str, by_reference: str) -> tuple[OfPictures, OfPhotos]:
    """The mean cosine with the photos."""

    def of_pictures(encoding: Encoding, pictures: Sequence[Picture], photos: Sequence[Reference]) -> Columns:
        from coeffdream.metrics import features as maths

        encoder = getattr(encoding.encoders, model)
        drawn = encoding.image_features(encoder, pictures, "pictures")
        known = encoding.image_features(encoder, photos, "photos")
        return {
            field: maths.concept_alignment(drawn, known).tolist(),
            by_reference: maths.similarities(drawn, known).tolist(),
        }

    def of_photos(
        encoding: Encoding, photos: Sequence[Reference], learned: Sequence[Reference]
    ) -> dict[str, float]:
        return {field: float(_cosines(encoding, model, photos, learned).mean())}

    return of_pictures, of_photos


def _cosines(
    encoding: Encoding, model: str, photos: Sequence[Reference], learned: Sequence[Reference]
) -> Array:
    from coeffdream.metrics import features as maths

    encoder = getattr(encoding.encoders, model)
    features = encoding.image_features(encoder, photos, "photos")
    if not learned:
        return maths.leave_one_out(features)
    return maths.similarities(encoding.image_features(encoder, learned, "photos"), features)


def _dino(encoding: Encoding, pictures: Sequence[Picture], photos: Sequence[Reference]) -> Columns:
    of_pictures, _ = _likeness("dino", "dino_alignment", "dino_by_reference")
    columns = of_pictures(encoding, pictures, photos)
    return columns | {"nearest": [max(row) for row in columns["dino_by_reference"]]}


def _dino_of_photos(
    encoding: Encoding, photos: Sequence[Reference], learned: Sequence[Reference]
) -> dict[str, float]:
    from coeffdream.metrics.features import spread

    cosines = _cosines(encoding, "dino", photos, learned)
    return {"dino_alignment": float(cosines.mean()), **spread(cosines.max(axis=1))}


def _patches(field: str, by_reference: str, part: str) -> tuple[OfPictures, OfPhotos]:
    """The thing of each photo, or what is around it, looked for among the patches of a picture."""

    def of_pictures(encoding: Encoding, pictures: Sequence[Picture], photos: Sequence[Reference]) -> Columns:
        found = encoding.patch_alignment(pictures, photos, "patches")
        rows = getattr(found, part)
        if not rows.shape[1]:
            return {}
        return {field: rows.mean(axis=1).tolist(), by_reference: rows.tolist()}

    def of_photos(
        encoding: Encoding, photos: Sequence[Reference], learned: Sequence[Reference]
    ) -> dict[str, float]:
        import numpy as np

        found = encoding.patch_alignment(learned or photos, photos, "patches of photos")
        rows = getattr(found, part)
        columns = range(len(photos)) if part == "subject" else found.around
        # No photo is held against itself.
        others = np.array(
            [[bool(learned) or row != column for column in columns] for row in range(len(rows))]
        )
        return {field: float(rows[others].mean())} if others.any() else {}

    return of_pictures, of_photos


def _asked(model: str, field: str) -> OfPictures:
    """A model that gives a picture and its text one value."""

    def of_pictures(encoding: Encoding, pictures: Sequence[Picture], photos: Sequence[Reference]) -> Columns:
        return {field: encoding.prompted(getattr(encoding.encoders, model), pictures)}

    return of_pictures


SCORES: dict[str, Score] = {
    score.name: score
    for score in (
        Score(
            "text",
            "clip",
            "does the picture show what the prompt says?",
            (measures.TEXT_ALIGNMENT,),
            of_pictures=_text,
        ),
        Score(
            "concept",
            "clip",
            "is it the thing in the photos?",
            (measures.CONCEPT_ALIGNMENT,),
            True,
            *_likeness("clip", "concept_alignment", "concept_by_reference"),
        ),
        Score(
            "diversity",
            "dino",
            "how many different pictures are there, in effect?",
            (measures.DIVERSITY, measures.WITHIN_PROMPT),
        ),
        Score(
            "dino",
            "dino",
            "is it the thing in the photos, by its looks, and is it a copy of one?",
            (measures.DINO_ALIGNMENT, measures.NEAREST_MEAN, measures.NEAREST_P95, measures.NEAREST_MAX),
            True,
            _dino,
            _dino_of_photos,
        ),
        Score(
            "subject",
            "dino",
            "is it the thing in the photos, whatever is around it?",
            (measures.SUBJECT_ALIGNMENT,),
            True,
            *_patches("subject_alignment", "subject_by_reference", "subject"),
        ),
        Score(
            "background",
            "dino",
            "did what is around it in the photos come along?",
            (measures.BACKGROUND_LEAK,),
            True,
            *_patches("background_leak", "background_by_reference", "background"),
        ),
        Score("drift", "dino", "did pictures of other things change?", (measures.DRIFT,)),
        Score(
            "dino-vits16",
            "dino_vits16",
            "is it the thing in the photos, to DreamBooth's own encoder?",
            (measures.DINO_VITS16_ALIGNMENT,),
            True,
            *_likeness("dino_vits16", "dino_vits16_alignment", "dino_vits16_by_reference"),
        ),
        Score(
            "pickscore",
            "pickscore",
            "which picture would people rather have for this prompt?",
            (measures.PICKSCORE,),
            of_pictures=_asked("pickscore", "pickscore"),
        ),
        Score(
            "vqa",
            "vqa",
            "does a model that answers questions say that the picture shows the prompt?",
            (measures.VQA_SCORE,),
            of_pictures=_asked("vqa", "vqa_score"),
        ),
    )
}
# What CLIP and DINOv2 give.
DEFAULT = tuple(name for name, score in SCORES.items() if score.model in ("clip", "dino"))
ALL_DEFAULT = "default"


def chosen(names: str) -> tuple[Score, ...]:
    """The scores of a list such as "text,concept", in the registry's order; "default" stands for DEFAULT.

    Raises ConfigError for a name that there is not, with those near to it.
    """
    wanted: set[str] = set()
    for name in (part.strip() for part in names.split(",")):
        if name == ALL_DEFAULT:
            wanted.update(DEFAULT)
        elif name in SCORES:
            wanted.add(name)
        else:
            near = difflib.get_close_matches(name, SCORES, n=2)
            meant = f"did you mean {' or '.join(near)}? " if near else ""
            raise ConfigError(
                f"--scores knows no score {quoted(name)}; {meant}there are {', '.join([*SCORES, ALL_DEFAULT])}"
            )
    return tuple(score for name, score in SCORES.items() if name in wanted)
