"""Several runs together on the command line: drawn, drawn again, shown; and refused in one line."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shlex
from pathlib import Path

import pytest

from coeffdream.data.prompts import load_prompts
from coeffdream.records.run import RunFolder

# The file is there, so neither the spec nor its loader is None.
spec = importlib.util.spec_from_file_location("peers", Path(__file__).parents[1] / "sharing" / "peers.py")
peers = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
spec.loader.exec_module(peers)  # type: ignore[union-attr]

PAIR = "<V1> cat beside <V2> dog"
FEW = ("--images-per-prompt", 1)


@pytest.fixture
def cat_and_dog(run_of, tmp_path):
    """runs/cat and runs/dog, of two tokens and two nouns."""
    for method, name, token in (("coeff-lora", "cat", "sks"), ("coeff-dora", "dog", "zwx")):
        run = run_of(method)
        run.write(dataclasses.replace(run.read(), name=name, class_noun=name, token=token))
        run.path.rename(tmp_path / "runs" / name)
    return tmp_path / "runs"


def pictures(folder: Path) -> list[bytes]:
    found = [file.read_bytes() for file in sorted(folder.glob("*.png"))]
    assert found
    return found


def test_one_alone_is_that_run(cli, cat_and_dog):
    """--adapter RUN:WEIGHT is --run RUN at that strength, to the last byte, in the run itself."""
    images = cat_and_dog / "dog" / "images"
    for name, options in {
        "run": ("--run", "dog"),
        "one": ("--adapter", "dog:1.0"),
        "scaled": ("--run", "dog", "--lora-scale", 0.5, "--alpha-scale", 0.25),
        "half": ("--adapter", "dog:0.5", "--alpha-scale", 0.5),
    }.items():
        answer = cli("generate", "<V> dog", *FEW, "--set", name, *options)
        assert answer.status == 0, answer.err
    assert pictures(images / "run") == pictures(images / "one")
    assert pictures(images / "scaled") == pictures(images / "half")
    assert pictures(images / "one") != pictures(images / "half")


def test_drawn_and_drawn_again_by_the_line_that_the_page_has(cli, cat_and_dog):
    """The command names both adapters and their weights, and finds every picture there."""
    from coeffdream.records.commands import generate_command

    made = cli("generate", "--adapter", "cat", "--adapter", "dog:0.7", PAIR, *FEW, "--json")
    assert made.status == 0, made.err
    assert json.loads(made.out)["run"] == str(cat_and_dog / "cat-and-dog")
    run = RunFolder(cat_and_dog / "cat-and-dog")
    [folder] = run.images.iterdir()
    from coeffdream.records.images import SetFolder

    line = generate_command(run, run.read(), SetFolder(folder).read_set())
    again = cli("generate", "--json", *shlex.split(line)[2:])
    assert json.loads(again.out)["already_there"] == 1
    assert json.loads(again.out)["set"] == str(folder)
    assert cli("report", "cat-and-dog").status == 0
    assert "--adapter dog:0.7" in (run.path / "report.html").read_text()


def test_the_untouched_base_is_drawn_into_the_run_of_the_pair(cli, cat_and_dog):
    """--no-adapter is the floor of the pair's own prompts, by --adapter or by the run's name."""
    untouched = ("--no-adapter", PAIR, *FEW)
    assert cli("generate", "--adapter", "cat", "--adapter", "dog", PAIR, *FEW, "--set", "pair").status == 0
    assert cli("generate", "--adapter", "cat", "--adapter", "dog", *untouched, "--set", "base").status == 0
    again = cli("generate", "--run", "cat-and-dog", *untouched, "--set", "base", "--json")
    assert json.loads(again.out)["already_there"] == 1
    images = cat_and_dog / "cat-and-dog" / "images"
    assert pictures(images / "base") != pictures(images / "pair")


def test_the_unrelated_prompts_of_a_pair(cli, cat_and_dog, monkeypatch):
    """With both adapters and with none; what names either class is left out, and said."""
    listed = dataclasses.replace(
        load_prompts("unrelated", class_noun="cat"), templates=("a cat", "two dogs at night", "a red car")
    )
    monkeypatch.setattr("coeffdream.generation.request.load_prompts", lambda *_, **__: listed)
    answer = cli("generate", "--adapter", "cat", "--adapter", "dog", "--unrelated")
    assert answer.status == 0, answer.err
    assert "left out, because they name the class 'cat' or 'dog': a cat; two dogs at night" in answer.err
    images = cat_and_dog / "cat-and-dog" / "images"
    assert pictures(images / "unrelated") != pictures(images / "unrelated-base")


def test_an_imported_run_is_one_of_them(cli, cat_and_dog, cat_folder, tiny_base, tmp_path):
    """Its text encoders' part too: at weight 0 the other draws alone, at weight 1 both do."""
    peer = peers.kohya_file(tmp_path / "peer.safetensors", trigger="ohwx owl")
    made = cli(
        "import", peer, "--concept", cat_folder, "--base", tiny_base, "--name", "owl", "--class", "owl"
    )
    assert made.status == 0, made.err
    prompt = ("<V1> cat and <V2> owl", *FEW, "--adapter", "cat")
    for name, weight in (("none", 0), ("both", 1)):
        answer = cli("generate", *prompt, "--adapter", f"owl:{weight}", "--set", name)
        assert answer.status == 0, answer.err
    images = cat_and_dog / "cat-and-owl" / "images"
    assert pictures(images / "none") != pictures(images / "both")
    settings = json.loads((images / "both" / "set.json").read_text())["settings"]
    assert "owl/imported.safetensors" in settings["adapter"]
    alone = cli("generate", "sks cat and ohwx owl", "--plain", *FEW, "--run", "cat", "--set", "alone")
    assert alone.status == 0, alone.err
    assert pictures(images / "none") == pictures(cat_and_dog / "cat" / "images" / "alone")


LINES = {
    "no such run": (["--adapter", "cat", "--adapter", "cow"], "no run called 'cow' (runs there: cat, dog)"),
    "no weight": (["--adapter", "cat", "--adapter", "dog:much"], "'much' is no weight; write --adapter RUN"),
    "an infinite weight": (["--adapter", "cat", "--adapter", "dog:inf"], "'inf' is no weight"),
    "one run twice": (["--adapter", "cat", "--adapter", "cat:0.5"], "names cat twice; give it once"),
    "a run beside": (["--adapter", "cat", "--adapter", "dog", "--run", "cat"], "leave out --run"),
    "a class": (["--adapter", "cat", "--adapter", "dog", "--class", "cat"], "a run has its own class noun"),
    "another list": (
        ["--adapter", "cat", "--adapter", "dog", "--prompts", "live"],
        "give prompts or --prompts",
    ),
}


@pytest.mark.parametrize("case", LINES)
def test_one_line_says_what_is_wrong(cli, cat_and_dog, case):
    options, complaint = LINES[case]
    answer = cli("generate", PAIR, *options)
    assert answer.status == 2
    [line] = answer.complaint
    assert complaint in line
    assert not (cat_and_dog / "cat-and-dog").exists()


def test_the_run_of_a_pair_has_nothing_of_its_own_to_draw_with(cli, cat_and_dog):
    """The line that draws with its parts is in the message."""
    assert cli("generate", "--adapter", "cat", "--adapter", "dog", PAIR, *FEW).status == 0
    for command in (
        ("generate", PAIR, "--run", "cat-and-dog"),
        ("generate", PAIR, "--adapter", "cat-and-dog"),
    ):
        answer = cli(*command)
        assert answer.status == 2
        assert answer.complaint[0].endswith("draw with: coeffdream generate --adapter cat --adapter dog")
    nested = cli("generate", PAIR, "--adapter", "cat-and-dog", "--adapter", "cat")
    assert nested.status == 2
    assert "--adapter cat --adapter dog" in nested.complaint[0]
    for command in (
        ("train", "--resume", "cat-and-dog"),
        ("export", "cat-and-dog"),
        ("inspect", "cat-and-dog"),
    ):
        assert cli(*command).status == 2, command


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("cat", ("cat", 1.0)),
        ("cat:0.7", ("cat", 0.7)),
        ("hub:me/cat", ("hub:me/cat", 1.0)),
        ("hub:me/cat@v1:-0.5", ("hub:me/cat@v1", -0.5)),
    ],
)
def test_what_is_the_run_and_what_the_weight(typed, found):
    """A run on the hub has a colon in its name."""
    from coeffdream.interop.choice import weighted

    assert weighted("--adapter", "RUN", typed) == found
