"""The pictures of `study vit`: every label is what its picture shows."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from coeffdream.errors import ConfigError, UserError
from coeffdream.progress import silent
from coeffdream.studies import vit_pictures
from coeffdream.studies.vit_pictures import WORLD, digits_task, folder_task, world_task
from coeffdream.toybox.world import silhouette


@pytest.fixture
def shown(monkeypatch):
    """The scenes of every picture, in the order in which they were drawn."""
    scenes = []
    real = vit_pictures.render

    def spy(scene, side):
        scenes.append(scene)
        return real(scene, side)

    monkeypatch.setattr(vit_pictures, "render", spy)
    return scenes


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kind", lambda scene: scene.individual.subject),
        ("color", lambda scene: scene.individual.body_name),
        ("place", lambda scene: scene.background),
    ],
)
def test_what_is_asked_of_a_subject(shown, name, said):
    """The label is the one thing's own, and more than one answer comes up."""
    task = world_task(name, 32, 12, 4, silent)
    labels = [task.classes[int(label)] for part in (task.train, task.test) for _, label in part]
    assert labels == [said(scene) for scene in shown]
    assert len(set(labels)) > 2


def test_a_count_can_be_counted(shown):
    """As many subjects as the label says, and none covers another."""
    task = world_task("count", 32, 12, 4, silent)
    labels = [int(task.classes[int(label)]) for part in (task.train, task.test) for _, label in part]
    assert len(shown) == sum(labels)
    scenes = iter(shown)
    for count in labels:
        mine = [next(scenes) for _ in range(count)]
        assert len({scene.background for scene in mine}) == 1
        masks = [np.asarray(silhouette(scene, 64)) > 127 for scene in mine]
        assert all(mask.any() for mask in masks)
        assert not any((one & other).any() for one, other in combinations(masks, 2))
    assert set(labels) == {1, 2, 3, 4}


def test_an_orientation_turned_back_is_upright(monkeypatch):
    """A mark at the top left is where the label says it went."""
    marked = Image.new("RGB", (32, 32))
    marked.paste("white", (0, 0, 8, 8))
    monkeypatch.setattr(vit_pictures, "render", lambda scene, side: marked)
    corners = {
        "upright": (0, 0),
        "quarter to the left": (-1, 0),
        "upside down": (-1, -1),
        "quarter to the right": (0, -1),
    }
    task = world_task("orientation", 32, 16, 1, silent)
    for picture, label in task.train:
        assert picture[(0, *corners[task.classes[int(label)]])] == 255
    assert {int(label) for _, label in task.train} == {0, 1, 2, 3}


@pytest.mark.parametrize("name", sorted(WORLD))
def test_pictures_are_equal_again_and_differ_from_each_other(name):
    """More of them begin with the same ones, and none to measure on is among those to learn from."""
    few, more = (world_task(name, 32, count, count, silent) for count in (3, 6))
    assert torch.equal(few.train.tensors[0], more.train.tensors[0][:3])
    assert few.train.tensors[0].dtype == torch.uint8
    everything = torch.cat([more.train.tensors[0], more.test.tensors[0]])
    assert len(torch.unique(everything, dim=0)) == 12


def test_digits_are_scikit_learns_own():
    """Each picture with its own label, a thousand to learn from and the other 797 to measure on."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    answers = {
        np.round(image * 255 / 16).astype(np.uint8).tobytes(): int(label)
        for image, label in zip(images, labels, strict=True)
    }
    task = digits_task(8, 1000, 1000)
    assert (len(task.train), len(task.test)) == (1000, 797)
    for part in (task.train, task.test):
        assert all(answers[picture[0].numpy().tobytes()] == int(label) for picture, label in part)
    with pytest.raises(ConfigError, match="--train-images 1001: of the digits 1,000"):
        digits_task(8, 1001, 10)


def test_digits_without_scikit_learn(monkeypatch):
    """It is another package's dependency, so it may be gone: one line that says what to do."""
    monkeypatch.setitem(__import__("sys").modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="pip install scikit-learn, or leave digits out of --tasks"):
        digits_task(8, 10, 10)


@pytest.fixture
def folder(tmp_path):
    """Two classes, red and blue, oblong; two pictures of each to learn from, one to measure on."""
    for split, count in (("train", 2), ("test", 1)):
        for name in ("blue", "red"):
            (tmp_path / "colors" / split / name).mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 20), name).save(tmp_path / "colors" / split / name / f"{number}.png")
    return tmp_path / "colors"


def test_a_folder_of_pictures(folder):
    """Classes by their folders, pictures cut to the square that the backbone wants."""
    task = folder_task(folder, 16, 3, 100)
    assert (task.name, task.classes, len(task.train), len(task.test)) == ("colors", ("blue", "red"), 3, 2)
    for picture, label in [task.test[number] for number in range(2)]:
        assert picture.shape == (3, 16, 16)
        assert picture[0 if task.classes[label] == "red" else 2].min() == 255


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        (("test",), "has no test/"),
        (("train/red", "test/red"), "has one class, 'blue'"),
        (("test/red",), "differ in their classes: red"),
        (("train/red/0.png", "train/red/1.png"), "red"),
    ],
)
def test_a_folder_that_is_no_data_set(folder, remove, message):
    """One line that names what is wrong."""
    import shutil

    for each in remove:
        path = folder / each
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(ConfigError, match=message) as refused:
        folder_task(folder, 16, 3, 3)
    assert "\n" not in str(refused.value)
