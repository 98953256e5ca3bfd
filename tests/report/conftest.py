"""Runs as the stages leave them on disk, written from records alone, and a real browser to read their pages."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import os
import select
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from coeffdream.config import TrainConfig
from coeffdream.records.base import BaseRecord
from coeffdream.records.concept import ConceptRecord, PhotoRecord
from coeffdream.records.encoders import EncoderRecord, EncoderRecords
from coeffdream.records.environment import Machine
from coeffdream.records.fields import record_to_json
from coeffdream.records.files import sha256_of_file, write_json, write_jsonl
from coeffdream.records.images import ImageRecord, SetFolder, SetRecord, SetSettings
from coeffdream.records.run import COEFF_FILE, Parameters, RunFolder, RunRecord
from coeffdream.records.scores import (
    EMBEDDED_LABEL,
    Drift,
    DriftImage,
    ImageScore,
    PhotoHash,
    PromptScore,
    ScoredSet,
    ScoresRecord,
    Source,
    Summary,
    write_scores,
)
from coeffdream.records.study import StudyFolder
from coeffdream.records.study_plan import Cell, Study
from coeffdream.report.page import write_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 120  # seconds for an answer: a busy machine starts a browser slowly

TEMPLATES = (
    "a <V> CLASS in the snow",
    "a <V> CLASS on the beach",
    "a red <V> CLASS",
    "a <V> CLASS in a forest",
)


BASE = BaseRecord("toybox", "toybox", "embedded", "ab" * 32, [0.5])
ADAPTER = {"pytorch_lora_weights.safetensors": "cd" * 32}
SETTINGS = SetSettings(BASE, ADAPTER, 1.0, 1.0, "sks", 0, 20, 3.0, "", 64, "Euler", "float32")
UNTOUCHED = dataclasses.replace(SETTINGS, adapter=None, lora_scale=None, alpha_scale=None)
ENCODERS = EncoderRecords(
    EncoderRecord("toybox CLIP", "clip", "", "c" * 64, "", {}, 96, {}),
    EncoderRecord("toybox DINO", "dino", "", "d" * 64, "", {}, 96, {}),
)


def draw_picture(file: Path, seed: int, size: int = 48, across: int = 1) -> None:
    """Smooth colours that differ from seed to seed; across: how many times as wide as high."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    file.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((across * size, size), Image.Resampling.BICUBIC).save(file)


@dataclasses.dataclass
class RunBuilder:
    """Each method adds what one stage leaves; `folder` is the run's."""

    root: Path
    name: str = "cat-coeff-lora"
    class_noun: str = "cat"
    templates: tuple[str, ...] = TEMPLATES
    per_prompt: int = 4

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.root / "runs" / self.name)

    def trained(self, *, photos: int = 3, steps: int = 60, **changes: Any) -> RunBuilder:
        concept = self.root / "photos" / self.class_noun
        images = []
        for index in range(photos):
            file = concept / f"{index:02d}.png"
            draw_picture(file, 900 + index, 64)
            images.append(
                PhotoRecord(file.name, sha256_of_file(file), 64, 64, f"a photo of <V> {self.class_noun}")
            )
        config = TrainConfig(concept=str(concept), base="toybox", steps=steps, lr=1e-3, resolution=64)
        record = RunRecord(
            name=self.name,
            status="complete",
            created="2026-11-21T05:00:00.000000+00:00",
            method="coeff-lora",
            config=config,
            base=BASE,
            class_noun=self.class_noun,
            token="sks",
            concept=ConceptRecord(
                self.class_noun, str(concept), self.class_noun, "folder name", True, images
            ),
            parameters=Parameters(trained=1152, percent=0.44),
            versions={"python": "3.11.7", "torch": "2.15.0"},
            machine=Machine(system="Linux", cores=2, device="cpu"),
            steps_done=steps,
        )
        self.folder.write(dataclasses.replace(record, **changes))
        return self

    def logged(self, steps: int = 60, **more: Any) -> RunBuilder:
        rng = np.random.default_rng(0)
        rows = [
            {"step": step, "loss": 0.3 + 0.5 * math.exp(-step / 30) + 0.1 * float(rng.random()),
             "prior_loss": 0.0, "lr": 1e-3, "coeff_lr": 1e-3, **more}
            for step in range(1, steps + 1)
        ]  # fmt: skip
        write_jsonl(self.folder.log, rows)
        return self

    def mixed(self, layers: int = 6, heads: int = 4, where: str = "adapter") -> RunBuilder:
        from safetensors.numpy import save_file

        rng = np.random.default_rng(1)
        tensors = {
            f"mid_block.attentions.0.transformer_blocks.{layer}.attn{1 + layer % 2}.alpha": rng.normal(
                0, 0.05, (heads, heads)
            ).astype(np.float32)
            for layer in range(layers)
        }
        file = self.folder.path / where / COEFF_FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, file, {"coeffdream.parametrisation": "residual"})
        return self

    def sampled(self, *steps: int) -> RunBuilder:
        for step in steps:
            draw_picture(self.folder.samples / f"step_{step:06d}.png", step, across=4)
        return self

    def drawn(
        self, name: str = "benchmark", *, adapter: bool = True, missing: int = 0, **changes: Any
    ) -> RunBuilder:
        folder = SetFolder(self.folder.images / name)
        record = SetRecord(
            name=name,
            kind="benchmark",
            created=f"2026-11-21T05:0{int(adapter)}:00.000000+00:00",
            prompts="live",
            templates=list(self.templates),
            class_noun=self.class_noun,
            images_per_prompt=self.per_prompt,
            settings=SETTINGS if adapter else UNTOUCHED,
        )
        write_json(folder.set_file, record_to_json(dataclasses.replace(record, **changes)))
        rows = []
        for prompt_index, template in enumerate(self.templates):
            for image_index in range(self.per_prompt):
                seed = len(rows)
                file = folder.path / f"{prompt_index:02d}-{image_index}.png"
                draw_picture(file, seed + 500 * (not adapter))
                prompt = template.replace("CLASS", self.class_noun)
                text = prompt.replace("<V>", "sks")
                rows.append(
                    ImageRecord(
                        seed,
                        prompt_index,
                        image_index,
                        template,
                        prompt,
                        text,
                        seed,
                        file.name,
                        sha256_of_file(file),
                    )
                )
        write_jsonl(folder.manifest, map(record_to_json, rows[: len(rows) - missing]))
        return self

    def scored(self, name: str = "benchmark", *, floor: str | None = "benchmark-base") -> RunBuilder:
        """Scores that follow from the index: the last picture has the best text, the first the best concept."""
        folder = SetFolder(self.folder.images / name)
        images = folder.read_images()
        per_image = [
            ImageScore(
                row.index, row.prompt_index, row.image_index, row.seed, row.file, row.sha256,
                text_alignment=0.2 + row.index / 1000, concept_alignment=0.8 - row.index / 1000,
                dino_alignment=0.5, nearest=0.6,
            )
            for row in images
        ]  # fmt: skip
        per_prompt = [
            PromptScore(index, template, template, self.per_prompt, 0.25, 0.75, 0.5, 0.6, 1.5, 3.0)
            for index, template in enumerate(self.templates)
        ]
        n = len(images)
        overall = summary(n, text=0.311, concept=0.744, diversity=9.87)
        write_scores(
            folder.path / "scores.json",
            ScoresRecord(
                created="2026-11-21T05:10:00.000000+00:00",
                source=Source("run", self.name, self.class_noun),
                set=scored_set(n, name, self.class_noun),
                score_text="class",
                embedded=True,
                label=EMBEDDED_LABEL,
                encoders=ENCODERS,
                references=[],
                overall=overall,
                floor=summary(n, text=0.322, concept=0.61, diversity=11.2) if floor else None,
                floor_set=floor,
                ceiling=summary(3, text=None, concept=0.82, diversity=1.9),
                per_prompt=per_prompt,
                per_image=per_image,
                warnings=["one photo is small"],
            ),
        )
        return self


def scored_set(n: int, name: str, class_noun: str) -> ScoredSet:
    return ScoredSet(
        n, "ef" * 32, "23" * 32, "01" * 32, name, "benchmark", class_noun, prompts="live", settings=SETTINGS
    )


def summary(n: int, *, text: float | None, concept: float, diversity: float) -> Summary:
    return Summary(n, 4, 4, 3, text, concept, diversity, 1, 1.8, 0.52, 0.58, 0.66, 0.71)


@pytest.fixture
def builder(tmp_path) -> RunBuilder:
    return RunBuilder(tmp_path)


@pytest.fixture
def whole_run(builder) -> RunFolder:
    """A run with everything: trained, logged, coefficients, samples, floor, scores."""
    builder.trained().logged().mixed().sampled(0, 30, 60)
    builder.drawn("benchmark-base", adapter=False).drawn().scored()
    return builder.folder


class Browser:
    """One tab of a headless Chromium. `events` keeps what it reported without being asked."""

    def __init__(self, profile: Path) -> None:
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()

        def at_3_and_4() -> None:  # where --remote-debugging-pipe listens and answers
            os.dup2(to_browser, 100)
            os.dup2(from_browser, 101)
            os.dup2(100, 3)
            os.dup2(101, 4)

        self._process = subprocess.Popen(
            [
                str(CHROMIUM),
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
            ],
            pass_fds=(3, 4),
            preexec_fn=at_3_and_4,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._buffer = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[dict] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters):
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next(PATIENCE)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def _next(self, patience: float) -> dict:
        end = time.monotonic() + patience
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, "Chromium does not answer"
            part = os.read(self._read, 1 << 20)
            assert part, "Chromium ended"
            self._buffer += part
        first, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(first)

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.ask("Emulation.setEmulatedMedia", features=scheme)
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.events.clear()
        self.ask("Page.navigate", url=file.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next(PATIENCE))

    def value(self, expression: str):
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        code = {"Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowRight": 39}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        self.ask("Input.insertText", text=text)

    def screenshot(self, file: Path, *, whole: bool = False, quality: int = 80) -> None:
        shot = self.ask("Page.captureScreenshot", format="jpeg", quality=quality, captureBeyondViewport=whole)
        file.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Exceptions, errors on the console, and whatever Chromium logs as an error or a refused action."""
        found = []
        for event in self.events:
            parameters = event.get("params", {})
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            if event["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning"):
                found.append(str(parameters["args"]))
            if event["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(parameters["entry"]["text"])
        return found

    def requests(self) -> set[str]:
        """Schemes of everything that was asked for."""
        return {
            event["params"]["request"]["url"].split(":")[0]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        }

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """A real browser, one for all tests; without one the tests that need it are skipped."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt-get install chromium)")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


CONCEPTS, METHODS = ("cat", "mug", "fox"), ("lora", "coeff-lora", "dora")
# What each method adds to the scores of the first one: text, concept, DINO, diversity.
EFFECTS = {"lora": (0, 0, 0, 0), "coeff-lora": (0, 0.02, 0, -0.5), "dora": (-0.03, 0, 0, 0)}


@dataclasses.dataclass
class StudyBuilder:
    """A study as `bench concepts` leaves it; every cell is a run of RunBuilder with scores that are known."""

    root: Path
    concepts: tuple[str, ...] = CONCEPTS
    methods: tuple[str, ...] = METHODS
    seeds: int = 1
    drifting: bool = False

    @property
    def folder(self) -> StudyFolder:
        return StudyFolder(self.root / "study")

    @property
    def plan(self) -> Study:
        folders = [str(self.root / "study" / "photos" / concept) for concept in self.concepts]
        return Study(folders, list(self.methods), base="toybox", seeds=self.seeds, images_per_prompt=2)

    def finish(self, *left_out: str, floor: bool = True) -> StudyBuilder:
        """Write the plan, and every cell but those named."""
        write_json(self.folder.record_file, record_to_json(self.plan))
        for cell in self.plan.cells:
            if cell.name not in left_out:
                self.cell(cell, floor=floor)
        return self

    def cell(self, cell: Cell, *, floor: bool = True) -> None:
        builder = RunBuilder(self.folder.path, cell.name, cell.concept_name, per_prompt=2)
        builder.trained(photos=2, method=cell.arm, base=BASE).logged()
        if cell.arm.startswith("coeff"):
            builder.mixed()
        if floor:
            builder.drawn("benchmark-base", adapter=False)
        builder.drawn()
        self.scored(builder, cell, floor=floor)

    def scored(self, builder: RunBuilder, cell: Cell, *, floor: bool) -> None:
        folder = SetFolder(builder.folder.images / "benchmark")
        images = folder.read_images()
        shared = np.random.default_rng([sum(cell.concept_name.encode()), cell.seed])
        own = np.random.default_rng([sum(cell.name.encode()), 7])
        values = 0.5 + 0.05 * shared.normal(size=(len(images), 4)) + 0.001 * own.normal(size=(len(images), 4))
        text, concept, _, diversity = EFFECTS[cell.arm]
        per_image = [
            ImageScore(
                row.index, row.prompt_index, row.image_index, row.seed, row.file, row.sha256,
                text_alignment=float(value[0] + text), concept_alignment=float(value[1:3].mean() + concept),
                dino_alignment=float(value[3]), nearest=0.6,
                concept_by_reference=(value[1:3] + concept).tolist(), dino_by_reference=[float(value[3])] * 2,
            )
            for row, value in zip(images, values, strict=True)
        ]  # fmt: skip
        vendi = float(3 + diversity + 0.01 * own.normal())
        per_prompt = [
            PromptScore(index, template, template, 2, 0.5, 0.5, 0.5, 0.6, 1.5, vendi - 0.1 + 0.01 * index)
            for index, template in enumerate(builder.templates)
        ]
        n = len(images)
        means = {name: float(np.mean([getattr(row, name) for row in per_image])) for name in NAMES}
        overall = dataclasses.replace(summary(n, text=0, concept=0, diversity=vendi), **means)
        record = ScoresRecord(
            created="2026-11-21T05:10:00.000000+00:00",
            source=Source("run", cell.name, cell.concept_name, BASE, cell.concept_name, cell.arm, cell.seed,
                          Parameters(trained=9, percent=0.11)),
            set=scored_set(n, "benchmark", cell.concept_name),
            score_text="class",
            embedded=True,
            label=EMBEDDED_LABEL,
            encoders=ENCODERS,
            references=[PhotoHash(f"{index:02d}.png", str(index) * 64) for index in range(2)],
            overall=overall,
            floor=summary(n, text=0.322, concept=0.41, diversity=3.9) if floor else None,
            floor_set="benchmark-base" if floor else None,
            ceiling=summary(2, text=None, concept=0.82, diversity=1.9),
            per_prompt=per_prompt,
            per_image=per_image,
            drift=drift(0.1 if cell.arm == "lora" else 0.2, own) if self.drifting else None,
        )  # fmt: skip
        for file in (folder.path / "scores.json", builder.folder.scores):
            write_scores(file, record)


def drift(mean: float, rng: np.random.Generator) -> Drift:
    """Of three unrelated prompts with two pictures each."""
    rows = [
        DriftImage(
            p, i, i, f"{p}-{i}.png", f"{p}-{i}.png", mean + 0.001 * float(rng.normal()), 0.05, 0.3, 0.31
        )
        for p in range(3)
        for i in range(2)
    ]
    dino = float(np.mean([row.dino for row in rows]))
    hashes = {"prompts_sha256": "4" * 64, "seeds_sha256": "5" * 64}
    return Drift(
        "unrelated",
        "unrelated-base",
        "unrelated",
        6,
        2,
        dino,
        0.05,
        0.3,
        0.31,
        **hashes,
        settings=SETTINGS,
        per_image=rows,
    )


NAMES = ("text_alignment", "concept_alignment", "dino_alignment")


@pytest.fixture
def studies(tmp_path) -> StudyBuilder:
    return StudyBuilder(tmp_path)


@pytest.fixture
def whole_study(studies) -> StudyFolder:
    """Three concepts, three methods, one training seed: nine cells, each with its floor."""
    return studies.finish().folder


class Reading(HTMLParser):
    """The page's text, and its elements with their attributes, in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._silent = False
        self.feed(html)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._silent = tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.words.append(data)

    def all(self, tag: str, of_class: str = "") -> list[dict[str, str | None]]:
        return [
            a for t, a in self.elements if t == tag and (not of_class or of_class in (a.get("class") or ""))
        ]

    @property
    def sections(self) -> set[str | None]:
        return {attributes["id"] for attributes in self.all("section") if "id" in attributes}


@pytest.fixture
def reading() -> type[Reading]:
    """A parser of pages: its text, its elements, its sections."""
    return Reading


@pytest.fixture
def page(reading):
    """The page of a run, made and read."""

    def read(run, **options):
        return reading(write_report(run, **options)[0].read_text(encoding="utf-8"))

    return read
