"""Tiny random CLIP and DINOv2 of the real classes, encoders with known answers, and run folders to score."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coeffdream.config import TrainConfig
from coeffdream.metrics.encoders import Encoders
from coeffdream.metrics.evaluate import evaluate_run
from coeffdream.metrics.feature_cache import FeatureCache
from coeffdream.metrics.options import ScoringOptions
from coeffdream.records.base import BaseRecord
from coeffdream.records.concept import ConceptRecord, PhotoRecord
from coeffdream.records.encoders import EncoderRecord
from coeffdream.records.files import sha256_of_file, sha256_of_json
from coeffdream.records.images import ImageRecord, SetFolder, SetRecord, SetSettings
from coeffdream.records.run import RunFolder, RunRecord

BASE = BaseRecord("tiny", "folder", "/tiny", "a" * 64, [0.5])
SETTINGS = SetSettings(BASE, {"coeff": "ab12"}, 1.0, 1.0, "sks", 0, 20, 5.0, "", 48, "Euler", "float32")
TEMPLATES = ["a <V> CLASS in the snow", "a <V> CLASS on the beach", "a red <V> CLASS"]


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory) -> Path:
    """A local-dir of open_clip: QuickGELU, 32 px, 77 tokens of CLIP's own vocabulary."""
    return build_tiny_clip(tmp_path_factory.mktemp("tiny-clip"))


def build_tiny_clip(folder: Path, *, quick_gelu: bool = True) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 24,
        "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.CLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
    saved = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(saved))
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def tiny_dino(tmp_path_factory) -> Path:
    """A transformers folder of Dinov2Model: 28 px in patches of 7."""
    import torch
    from transformers import Dinov2Config, Dinov2Model

    folder = tmp_path_factory.mktemp("tiny-dino")
    config = Dinov2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=7, mlp_ratio=2
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Dinov2Model(config).save_pretrained(folder)
    return folder


class StubEncoder:
    """Features known beforehand: a picture's by its colour, a text's by a table. Counts what it was asked."""

    name = "CLIP stub"
    context_length = 77

    def __init__(self, by_colour: dict[tuple[int, int, int], Sequence[float]], by_text: dict | None = None):
        self._by_colour = by_colour
        self._by_text = by_text or {}
        self.width = len(next(iter(by_colour.values())))
        self.asked: list[object] = []

    def describe(self) -> EncoderRecord:
        table = sha256_of_json([[list(key), list(row)] for key, row in self._by_colour.items()])
        return EncoderRecord(self.name, "stub", "", table, "", {}, self.width, {})

    def images(self, images):
        colours = [image.getpixel((0, 0)) for image in images]
        self.asked += colours
        return np.array([self._by_colour[colour] for colour in colours], dtype=np.float32)

    def patches(self, images):
        """Each picture is one patch, of its colour."""
        return self.images(images)[:, None]

    def cover(self, mask):
        return np.array([np.asarray(mask).mean() / 255])

    def texts(self, texts):
        self.asked += texts
        return np.array([self._by_text[text] for text in texts], dtype=np.float32)

    def token_counts(self, texts):
        return [len(text.split()) + 2 for text in texts]


@pytest.fixture
def follows(monkeypatch):
    """Whether an encoder's fingerprint changes with the version of a library: another may resize or compute otherwise,
    and features of before must not be taken from the cache."""
    from coeffdream.metrics.encoder import fingerprint

    def follows(encoder, library: str) -> bool:
        before = fingerprint(encoder)
        with monkeypatch.context() as patch:
            patch.setattr(
                "coeffdream.metrics.encoder.version",
                lambda name: "another" if name == library else version(name),
            )
            return fingerprint(encoder) != before

    return follows


@pytest.fixture
def stub_encoder():
    return StubEncoder


@pytest.fixture
def cache(tmp_path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


@pytest.fixture(scope="session")
def tiny_encoders(tiny_clip, tiny_dino) -> Encoders:
    from coeffdream.metrics.encoder_choice import encoders_for

    named = ScoringOptions(clip_model=f"local-dir:{tiny_clip}", dino_model=str(tiny_dino), device="cpu")
    return encoders_for("folder", named)


class RunMaker:
    """Writes run folders as train and generate would, with pictures made of noise around one colour."""

    def __init__(self, root: Path):
        self.root = root

    def run(self, name: str = "one", *, photos: int = 3, base: BaseRecord = BASE) -> RunFolder:
        folder = RunFolder(self.root / "runs" / name)
        concept = None
        if photos:
            where = self.root / "photos"
            where.mkdir(parents=True, exist_ok=True)
            images = []
            for index in range(photos):
                path = where / f"{index:02d}.png"
                picture((200, 40 * index, 30), seed=index).save(path)
                images.append(PhotoRecord(path.name, sha256_of_file(path), 48, 48, "a photo of <V> cat"))
            concept = ConceptRecord("photos", str(where), "cat", "--class", True, images)
        folder.write(
            RunRecord(
                name=name,
                status="complete" if photos else "base",
                created="2026-01-01T00:00:00+00:00",
                method="coeff-lora",
                config=TrainConfig(concept="photos", base=base.name),
                base=base,
                class_noun="cat",
                token="sks",
                concept=concept,
            )
        )
        return folder

    def set(
        self,
        run: RunFolder,
        name: str = "live",
        *,
        adapter: dict | None = None,
        untouched: bool = False,
        templates: Sequence[str] = TEMPLATES,
        per_prompt: int = 2,
        kind: str = "benchmark",
        created: str = "2026-01-02T00:00:00+00:00",
        colours: Sequence[tuple[int, int, int]] | None = None,
        settings: dict | None = None,
        first_seed: int = 0,
    ) -> SetFolder:
        folder = SetFolder(run.images / name)
        folder.path.mkdir(parents=True)
        rows = []
        for index in range(len(templates) * per_prompt):
            prompt_index, image_index = divmod(index, per_prompt)
            path = folder.path / f"{prompt_index:02d}-{image_index}.png"
            if colours is None:
                picture((20 * index % 256, 90 + 70 * untouched, 160), seed=index).save(path)
            else:
                Image.new("RGB", (48, 48), colours[index]).save(path)
            prompt = templates[prompt_index].replace("CLASS", "cat")
            rows.append(
                ImageRecord(
                    index=index,
                    prompt_index=prompt_index,
                    image_index=image_index,
                    template=templates[prompt_index],
                    prompt=prompt,
                    text=prompt.replace("<V>", "sks"),
                    seed=first_seed + index,
                    file=path.name,
                    sha256=sha256_of_file(path),
                )
            )
        folder.append_images(rows)
        folder.create(
            SetRecord(
                name=name,
                kind=kind,
                created=created,
                prompts="live",
                templates=list(templates),
                class_noun="cat",
                images_per_prompt=per_prompt,
                settings=dataclasses.replace(
                    SETTINGS,
                    **({"adapter": None} if untouched else {"adapter": adapter} if adapter else {}),
                    **(settings or {}),
                ),
            )
        )
        return folder


def picture(colour: tuple[int, int, int], *, seed: int, size: tuple[int, int] = (48, 48)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(-20, 21, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def make(tmp_path) -> RunMaker:
    return RunMaker(tmp_path)


@pytest.fixture
def scored(make, tiny_encoders, cache):
    """A run with a set of 3 prompts x 2 pictures, 3 photos, and its scores."""
    run = make.run()
    make.set(run)
    return run, evaluate_run(run, encoders=tiny_encoders, cache=cache)


@pytest.fixture
def stubs():
    """Red is snow and green is beach to CLIP; DINO tells all colours apart. The photos are all-purpose."""
    red, green, blue = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    texts = {"a cat in the snow": [1, 0, 0], "a cat on the beach": [0, 1, 0]}
    clip = StubEncoder({red: [1, 0, 0], green: [0, 1, 0]}, texts)
    dino = StubEncoder({red: [1, 0, 0, 0], green: [0, 1, 0, 0], blue: [0, 0, 1, 0]})
    return Encoders(clip, dino, embedded=False)


@pytest.fixture
def same():
    """Whether two records of scores are equal but for the moment at which they were made."""
    return lambda one, other: vars(one) | {"created": ""} == vars(other) | {"created": ""}


@pytest.fixture(scope="session")
def draw():
    """A noisy picture around a colour."""
    return picture


@pytest.fixture(scope="session")
def build_clip():
    return build_tiny_clip
