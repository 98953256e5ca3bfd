"""Every mistake a person can make ends in one line that names it and the remedy, and leaves no trace."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
from PIL import Image

from coeffdream.records.run import COEFF_FILE, LORA_FILE


@pytest.fixture
def refused(cli, contents, tmp_path):
    """Call, and check all that is common to bad input; returns the complaint for the test's own words."""

    def check(*arguments, says=(), status=2):
        runs = tmp_path / "runs"
        before = contents(runs)
        answer = cli(*arguments)
        heading, *problems = answer.complaint
        text = "\n".join([heading, *problems])
        assert answer.status == status, answer.err
        assert "Traceback" not in answer.err
        assert answer.out == ""
        assert all(line.startswith("  - ") for line in problems), text
        for part in says:
            assert part in text
        assert contents(runs) == before
        if not before:
            assert not runs.exists()
        return heading, problems

    return check


@pytest.fixture
def photo():
    """A good photo at the given path."""

    def saved(path, size=(64, 48), **options):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise(size, 60).convert("RGB").save(path, **options)
        return path

    return saved


class TestConceptFolders:
    """The folder of photos."""

    @pytest.fixture
    def learning(self, refused, tiny_base, tmp_path):
        """Train on tmp_path/cat."""
        return lambda says: refused(
            "train", "--concept", tmp_path / "cat", "--base", tiny_base, "--steps", 1, says=says
        )

    def test_absent(self, learning):
        """A folder that is not there."""
        learning(["cat does not exist", "give a folder"])

    def test_empty(self, learning, tmp_path):
        """A folder with nothing in it."""
        (tmp_path / "cat").mkdir()
        learning(["cat is empty", "put three to six photos"])

    def test_no_images(self, learning, tmp_path):
        """A folder with other things in it."""
        (tmp_path / "cat").mkdir()
        (tmp_path / "cat" / "notes.md").write_text("soon")
        learning(["cat holds no photos (there: notes.md)", "put in photos"])

    def test_file_in_place_of_a_folder(self, learning, photo, tmp_path):
        """One photo given as the folder."""
        photo(tmp_path / "one.png").rename(tmp_path / "cat")
        learning(["cat is a file", "give the folder"])

    def test_text_file_among_the_photos(self, learning, photo, tmp_path):
        """A text file that calls itself a photo."""
        photo(tmp_path / "cat" / "good.jpg")
        (tmp_path / "cat" / "list.jpg").write_text("not a photo\n")
        learning(["list.jpg is a text file, not an image", "remove it"])

    def test_all_problems_of_a_folder_together(self, learning, photo, tmp_path):
        """A truncated JPEG, a tiny picture, an empty file and a caption without <V> are told in one go."""
        for name in ("a.jpg", "cut.jpg", "good.jpg"):
            photo(tmp_path / "cat" / name, size=(200, 160))
        cut = tmp_path / "cat" / "cut.jpg"
        cut.write_bytes(cut.read_bytes()[:1500])
        photo(tmp_path / "cat" / "tiny.png", size=(16, 16))
        (tmp_path / "cat" / "nothing.png").write_bytes(b"")
        (tmp_path / "cat" / "a.txt").write_text("a cat on a sofa")
        heading, problems = learning(
            [
                "cut.jpg is damaged or cut short",
                "tiny.png: 16 x 16 pixels is too small",
                "nothing.png is empty (0 bytes)",
                "a.txt lacks <V>",
            ]
        )
        assert heading.endswith("4 problems")
        assert len(problems) == 4

    def test_caption_over_77_tokens(self, learning, photo, tmp_path):
        """A caption whose end would never be read."""
        photo(tmp_path / "cat" / "a.jpg")
        (tmp_path / "cat" / "a.txt").write_text("<V> cat " + "on a sofa " * 30)
        learning(["tokens long where the text encoders read 77", "shorten it"])


class TestTrainOptions:
    """The options of train."""

    @pytest.fixture
    def training(self, refused, tiny_base, cat_folder):
        """Train on good photos with bad options."""

        def check(*options, says):
            base = () if "--base" in options else ("--base", tiny_base)
            return refused("train", "--concept", cat_folder, *base, *options, says=says)

        return check

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--method", "LoRA!"], ["--method 'LoRA!' is no method", "coeff-oft"]),
            (["--preset", "best"], ["--preset", "'best' is not one of", "table3"]),
            (["--base", "nosuch"], ["--base 'nosuch' is neither sdxl, toybox, a hub id"]),
            (["--base", "."], ["--base . is a folder without model_index.json", "diffusers' layout"]),
            (["--alpha-layers", "mid("], ["--alpha-layers 'mid(' is not a regular expression"]),
            (["--alpha-layers", "nowhere"], ["'nowhere'", "matches none of the", "called like"]),
            (["--lora-targets", "cross.q,both.v"], ["--lora-targets 'both.v'", "such as cross.q"]),
            (["--resolution", "33"], ["--resolution 33 must be a multiple of 8"]),
            (["--caption", "a photo of a cat"], ["lacks <V>", "write for example"]),
            (["--token", "two words"], ["--token 'two words' must be one word"]),
            (["--name", "../up"], ["--name '../up' must be letters"]),
            (["--name", "latest"], ["--name latest is taken"]),
            (["--device", "abacus"], ["--device 'abacus' is no device", "use auto, cpu"]),
            (["--device", "cuda:99"], ["--device cuda:99", "--device cpu"]),
            (["--steps", "many"], ["--steps", "valid integer", "train --help"]),
            (["--stepz", "3"], ["--stepz", "--steps"]),
            (["--class", "<V>"], ["class noun", "plain words"]),
            (["--config", "absent.toml"], ["--config absent.toml does not exist"]),
        ],
    )
    def test_one(self, options, says, training):
        """Each bad value is named with its option and a remedy."""
        training(*options, says=says)

    def test_all_together(self, training):
        """Several bad values are told in one go."""
        heading, problems = training(
            "--steps", 0, "--lr", "nan", "--coeff-dropout", 1, "--rank", -2, "--seed", -1, says=[]
        )
        assert heading.endswith("5 problems")
        assert len(problems) == 5

    def test_missing_concept(self, refused, tiny_base):
        """Nothing to learn from."""
        refused("train", "--base", tiny_base, says=["no concept to learn", "give --concept FOLDER"])

    def test_unknown_command(self, refused):
        """A command that is not there."""
        refused("tarin", says=["No such command 'tarin'", "coeffdream --help"])

    @pytest.mark.parametrize(
        ("toml", "says"),
        [
            ("steps = = 3", ["is not valid TOML"]),
            ("stepps = 3", ["'stepps', which is no option", "did you mean steps"]),
            ('steps = "three"', ["--steps 'three' is not a whole number"]),
            ('method = "LoRA!"', ["--method 'LoRA!' is no method"]),
            ("[train]\nsteps = 3", ["'train', which is no option"]),
            ("steps = 0\nlr = -1.0", ["--steps 0 must be at least 1", "--lr -1.0 must be a positive"]),
        ],
    )
    def test_config_file(self, toml, says, training, tmp_path):
        """A config file is checked like the command line."""
        (tmp_path / "options.toml").write_text(toml)
        training("--config", tmp_path / "options.toml", says=says)

    def test_config_file_that_is_no_text(self, training, tmp_path):
        """A binary file as --config."""
        (tmp_path / "options.toml").write_bytes(b"\xff\xfe\x00")
        training("--config", tmp_path / "options.toml", says=["is UTF-16, not UTF-8 text"])

    def test_hub_out_of_reach(self, training):
        """Without the weights of SDXL there is still something to do, and it is said."""
        training("--base", "nobody/nothing-here", says=["--base toybox", "--base PATH"])

    def test_dry_run_is_checked_too(self, training):
        """--dry-run finds what the run would stumble over."""
        training("--dry-run", "--alpha-layers", "nowhere", says=["matches none"])

    def test_resume_of_nothing(self, refused):
        """A run that is not there."""
        refused("train", "--resume", "nosuch", says=["no run called 'nosuch'"])

    def test_resume_with_other_options(self, refused, run_of):
        """All that would make it another run is listed; the run stays as it is."""
        run = run_of()
        arguments = ("train", "--resume", run.path.name, "--lr", "0.5", "--rank", 7, "--steps", 9)
        refused(
            *arguments, says=["--lr was 0.0003 and is now 0.5", "--rank was 2 and is now 7", "2 problems"]
        )
        refused("train", "--resume", run.path.name, "--config", "x.toml", says=["leave --config out"])


class TestGenerate:
    """Prompts, runs and adapters."""

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            ([""], ["the prompt is empty", "write for example"]),
            (["a cat in snow"], ["lacks <V>", "--plain"]),
            (["a sks cat"], ["it has 'sks', which is not the placeholder"]),
            (["<V> cat " + "in deep snow " * 30], ["77", "shorten it"]),
            (["<V> cat", "--size", "20"], ["a size of 20 pixels", "multiple of 8"]),
            (["<V> cat", "--steps", "0"], ["--steps 0 must be at least 1"]),
            (["<V> cat", "--precision", "int4"], ["'--precision': 'int4' is not one of"]),
            (["<V> cat", "--prompts", "live"], ["give prompts or --prompts, not both"]),
            (["--prompts", "absent.txt"], ["no prompts at 'absent.txt'", "one prompt a line"]),
            (["<V> cat", "--class", "dog"], ["--class goes with --no-adapter"]),
            (["<V> cat", "--run", "nosuch"], ["no run called 'nosuch'", "runs there: cat-coeff-lora"]),
            (["<V> cat", "--base", "nosuch"], ["--base 'nosuch' is neither"]),
            (["<V> cat", "--device", "abacus"], ["--device 'abacus' is no device"]),
            (["--no-adapter", "--base", "."], ["needs --class"]),
        ],
    )
    def test_request(self, arguments, says, refused, run_of):
        """Each is refused in one line, and the run is left as it is."""
        run_of()
        refused("generate", *arguments, says=says)

    def test_without_a_run(self, refused):
        """Nothing was trained yet."""
        refused("generate", says=["no run in runs yet", "coeffdream train --concept FOLDER"])

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            (["--prompts", "absent.txt"], ["no prompts at"]),
            (["<V> cat " + "in deep snow " * 30], ["shorten it"]),
            (["<V> cat", "--size", "20"], ["multiple of 8"]),
        ],
    )
    def test_base_alone(self, options, says, refused, tiny_base):
        """A request for the untouched base that fails leaves no run folder behind."""
        refused("generate", "--no-adapter", "--base", tiny_base, "--class", "cat", *options, says=says)

    @pytest.mark.parametrize(("lost", "left"), [(LORA_FILE, COEFF_FILE), (COEFF_FILE, LORA_FILE)])
    def test_half_an_adapter(self, lost, left, refused, run_of):
        """A LoRA file without its coefficients, and the reverse."""
        run = run_of()
        (run.adapter / lost).unlink()
        refused("generate", "<V> cat", says=[f"{left} without the {lost}", "put that file back"])

    def test_no_adapter_at_all(self, refused, run_of):
        """An adapter folder that was emptied."""
        run = run_of()
        shutil.rmtree(run.adapter)
        refused("generate", "<V> cat", says=["holds no adapter"])

    def test_damaged_adapter(self, refused, run_of):
        """A truncated adapter file."""
        run = run_of()
        file = run.adapter / COEFF_FILE
        file.write_bytes(file.read_bytes()[:-10])
        refused("generate", "<V> cat", says=["is not a readable safetensors file", "copy it again"])

    def test_other_architecture(self, refused, run_of, tiny_base, tmp_path):
        """An adapter with a base it does not fit."""
        from diffusers import UNet2DConditionModel

        base = tmp_path / "deeper"
        shutil.copytree(tiny_base, base)
        config = {**UNet2DConditionModel.load_config(base / "unet"), "layers_per_block": 2}
        shutil.rmtree(base / "unet")
        UNet2DConditionModel.from_config(config).save_pretrained(base / "unet")
        run_of()
        refused("generate", "<V> cat", "--base", base, says=["trained on another architecture", "--base"])

    def test_unfinished_run(self, refused, run_of):
        """A run that was interrupted is finished first."""
        run = run_of()
        run.write(dataclasses.replace(run.read(), status="interrupted"))
        refused("generate", "<V> cat", says=["is interrupted", "coeffdream train --resume cat-coeff-lora"])


@pytest.mark.parametrize("command", [["generate", "<V> cat"], ["eval"], ["train", "--resume", "latest"]])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: "[]", "expected object, got array"),
        (lambda text: "{}", "lacks name"),
        (lambda text: json.dumps({**json.loads(text), "format": 99}), "has format 99"),
        (lambda text: json.dumps({**json.loads(text), "extra": 1}), "has unknown extra"),
    ],
)
def test_damaged_run_json(command, damage, says, refused, run_of):
    """A run.json that cannot be believed is named by every command that reads it."""
    run = run_of()
    run.record_file.write_text(damage(run.record_file.read_text()))
    refused(*command, says=["run.json", says])


class TestEval:
    """Scores are given for whole sets only."""

    def test_without_a_set(self, refused, run_of):
        """Nothing was generated yet."""
        run_of()
        refused("eval", says=["no generated set", "coeffdream generate"])

    def test_without_a_run(self, refused):
        """Nothing was trained yet."""
        refused("eval", says=["no run in runs yet"])

    def test_incomplete_set(self, refused, run_of, cli):
        """A set of which an image is missing or altered."""
        run = run_of()
        assert cli("generate", "<V> cat", "--images-per-prompt", 2).status == 0
        refused("eval", "--set", "dog", says=["no set called 'dog'", "there: cat"])
        image = run.images / "cat" / "00-1-cat.png"
        image.write_bytes(image.read_bytes() + b"x")
        refused("eval", says=["00-1-cat.png was altered", "coeffdream generate"])
        image.unlink()
        refused("eval", says=["00-1-cat.png is missing", "coeffdream generate"])
        manifest = run.images / "cat" / "images.jsonl"
        manifest.write_text(manifest.read_text().splitlines()[0] + "\n")
        refused("eval", says=["holds 1 of 2 images", "coeffdream generate"])

    def test_options_of_foreign_folders(self, refused, run_of):
        """--prompts and --class of eval belong to --images."""
        run_of()
        refused("eval", "--class", "cat", says=["--class goes with --images FOLDER"])


class TestInspectAndParams:
    """The commands that only look."""

    def test_method_without_alpha(self, refused, run_of):
        """A LoRA run has no coefficients to look at."""
        run_of("lora")
        refused("inspect", says=[f"holds no {COEFF_FILE}", "no alpha"])

    def test_unknown_run(self, refused, run_of):
        """A misspelled run."""
        run_of()
        refused("inspect", "cat-cofe-lora", says=["no run called 'cat-cofe-lora'", "cat-coeff-lora"])

    def test_params(self, refused, tiny_base):
        """Counting is checked like training."""
        refused("params", "--base", "nosuch", says=["--base 'nosuch'"])
        refused("params", "--base", tiny_base, "--rank", 0, says=["--rank 0 must be at least 1"])


def test_a_folder_that_cannot_be_written(cli, tiny_base, cat_folder, tmp_path):
    """What the system refuses is one line that names the place, not a traceback."""
    (tmp_path / "occupied").write_text("a file where runs should go")
    answer = cli("train", "--concept", cat_folder, "--base", tiny_base, "--steps", 1, "--runs", "occupied")
    assert answer.status == 2
    [line] = answer.complaint
    assert "occupied" in line
