"""What each command prints, where, and with which exit status."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from coeffdream.backbones.base import OF_TRAINING, BaseSettings
from coeffdream.cli import terminal
from coeffdream.cli.terminal import ProgressDisplay
from coeffdream.config import TrainConfig
from coeffdream.errors import UserError


class TestHelp:
    """The way in."""

    def test_no_arguments(self, cli):
        """`coeffdream` alone shows what there is."""
        answer = cli()
        assert answer.status == 0
        assert "Usage: coeffdream" in answer.out
        for command in ("train", "generate", "eval", "params", "inspect", "doctor"):
            assert command in answer.out

    @pytest.mark.parametrize("command", ["train", "generate", "eval", "params", "inspect", "doctor"])
    def test_of_each_command(self, command, cli):
        """Every command explains itself on standard output."""
        answer = cli(command, "--help")
        assert answer.status == 0
        assert f"Usage: coeffdream {command}" in answer.out
        assert answer.err == ""

    def test_every_train_option_of_the_issue(self, cli):
        """The options that the README and people's scripts rely on."""
        shown = cli("train", "--help").out
        promised = (
            "base class token steps rank lr coeff-lr coeff-dropout alpha-on alpha-layers lora-targets preset "
            "batch-size grad-accum resolution precision gradient-checkpointing seed prior min-snr noise-offset "
            "sample-every checkpoint-every resume config name dry-run method concept base-config revision prediction"
        )
        spelt = shown.replace("[no-]", "")
        assert [name for name in promised.split() if f"--{name}" not in spelt] == []

    def test_80_columns_hold_every_name_whole(self, cli, monkeypatch):
        """What is cut cannot be typed."""
        monkeypatch.setenv("COLUMNS", "80")
        for command in ("train", "generate", "eval", "export", "report"):
            shown = cli(command, "--help").out
            assert "…" not in shown
            assert max(map(len, shown.splitlines())) <= 80
        assert "--[no-]gradient-checkpointing" in cli("train", "--help").out

    def test_defaults_that_a_base_sets_are_said_to_be_its_own(self):
        """A number in the help that no base uses would be a lie; what is said of SDXL is what SDXL recommends."""
        fields = {field.name: field for field in dataclasses.fields(TrainConfig)}
        sdxl = BaseSettings().training
        for name in OF_TRAINING:
            shown = fields[name].metadata["shown"]
            assert shown.startswith("the base's")
            if "SDXL: " in shown:
                said = {"on": True, "off": False}.get(shown.split("SDXL: ")[1], shown.split("SDXL: ")[1])
                assert str(sdxl[name]) == str(said)
            elif fields[name].default is not None:
                assert name not in sdxl
                assert shown == f"the base's, else {fields[name].default}"

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            (["train", "--learning-rate", "1"], "--lr"),
            (["train", "--lernrate", "1"], "--lr"),
            (["train", "--step", "1"], "--steps"),
            (["train", "--instance_data_dir", "x"], "--concept"),
            (["train", "--no-gradient-checkpoint"], "--no-gradient-checkpointing"),
            (["generate", "--num-images-per-prompt", "1"], "--images-per-prompt"),
            (["train", "concepts/cat"], "--concept concepts/cat"),
            (["params", "toybox"], "--base toybox"),
        ],
    )
    def test_near_misses(self, typed, meant, cli):
        """Other trainers' names, misspellings and bare words lead to the option that was meant."""
        answer = cli(*typed)
        assert answer.status == 2
        assert f"(did you mean {meant}?)" in answer.complaint[0]

    def test_nothing_is_suggested_for_what_is_near_nothing(self, cli):
        """A wrong hint is worse than none."""
        assert "did you mean" not in cli("train", "--frobnicate").complaint[0]

    def test_tab_completion(self):
        """Typer's own: the shell asks through the environment, and gets options and runs."""
        environment = {**os.environ, "_COEFFDREAM_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
        environment["COMP_WORDS"] = "coeffdream train --gradi"
        asked = [sys.executable, "-m", "coeffdream"]
        done = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=120)
        assert done.stdout.split() == ["--gradient-checkpointing"]

    def test_version(self, cli):
        """--version prints it alone."""
        from coeffdream import __version__

        assert cli("--version").out == f"coeffdream {__version__}\n"


class TestTrain:
    """`coeffdream train`."""

    def test_run_folder(self, teach, tmp_path):
        """A run has its record, log, adapter and pictures; the next command is suggested."""
        answer = teach("--sample-every", 1, "--name", "mine")
        assert answer.status == 0
        assert answer.out == ""
        assert "next: coeffdream generate '<V> cat in snow'" in answer.err
        run = tmp_path / "runs" / "mine"
        assert (tmp_path / "runs" / "latest").resolve() == run
        assert json.loads((run / "run.json").read_text())["status"] == "complete"
        assert len((run / "train.jsonl").read_text().splitlines()) == 2
        assert [path.name for path in sorted((run / "samples").iterdir())] == [
            "step_000000.png",
            "step_000001.png",
            "step_000002.png",
        ]
        with Image.open(run / "samples" / "step_000002.png") as samples:
            assert samples.size == (4 * 32, 32)
        assert {path.name for path in run.iterdir()} == {
            "run.json",
            "train.jsonl",
            "adapter",
            "checkpoints",
            "samples",
            "report.html",
        }

    def test_its_page_is_there_to_watch(self, teach, tmp_path):
        """Named before the first step; when the training is over it is the finished page."""
        answer = teach("--name", "mine")
        lines = answer.err.splitlines()
        [watch] = [
            index for index, line in enumerate(lines) if line.startswith("watch it: runs/mine/report.html")
        ]
        assert watch < min(index for index, line in enumerate(lines) if line.startswith("training "))
        html = (tmp_path / "runs" / "mine" / "report.html").read_text(encoding="utf-8")
        assert "complete, 2 steps" in html
        assert "data-refresh=" not in html

    def test_name_taken(self, teach, tmp_path):
        """A second run of the same name does not touch the first."""
        teach("--name", "mine")
        before = (tmp_path / "runs" / "mine" / "run.json").read_bytes()
        teach("--name", "mine", "--seed", 1)
        assert (tmp_path / "runs" / "mine" / "run.json").read_bytes() == before
        assert (tmp_path / "runs" / "mine-2" / "run.json").is_file()

    def test_plain_lines_in_a_pipe(self, teach):
        """Without a terminal progress is plain lines on standard error."""
        answer = teach()
        assert "encoding photos 3/3" in answer.err
        assert any(line.startswith("training 2/2") for line in answer.err.splitlines())
        assert "\x1b" not in answer.err
        assert "\r" not in answer.err

    def test_photos_of_every_kind(self, cli, tiny_base, tmp_path):
        """EXIF-rotated, RGBA, 16-bit, CMYK, palette and grey photos are trained on."""
        import numpy as np

        folder = tmp_path / "teapot"
        folder.mkdir()
        rng = np.random.default_rng(1)
        colour = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        rotated = Image.Exif()
        rotated[0x0112] = 6
        colour.save(folder / "exif.jpg", exif=rotated)
        colour.convert("RGBA").save(folder / "rgba.png")
        Image.fromarray(rng.integers(0, 65536, (48, 64)).astype(np.uint16)).save(folder / "sixteen.png")
        colour.convert("CMYK").save(folder / "cmyk.jpg")
        colour.convert("P").save(folder / "palette.png")
        colour.convert("L").save(folder / "grey.webp")
        answer = cli("train", "--concept", folder, "--base", tiny_base, "--steps", 6, "--sample-every", 0)
        assert answer.status == 0
        run = tmp_path / "runs" / "latest"
        seen = [json.loads(line)["photos"][0] for line in (run / "train.jsonl").read_text().splitlines()]
        assert sorted(seen) == [
            "cmyk.jpg",
            "exif.jpg",
            "grey.webp",
            "palette.png",
            "rgba.png",
            "sixteen.png",
        ]
        images = json.loads((run / "run.json").read_text())["concept"]["images"]
        sizes = {image["file"]: (image["width"], image["height"]) for image in images}
        assert sizes["exif.jpg"] == (48, 64)
        assert sizes["cmyk.jpg"] == (64, 48)

    def test_dry_run_writes_nothing(self, teach, tmp_path, contents):
        """--dry-run says what would be done."""
        before = contents(tmp_path)
        answer = teach("--dry-run")
        assert answer.status == 0
        assert "dry run: nothing was written" in answer.err
        assert "would train 1,152 parameters" in answer.err
        assert contents(tmp_path) == before
        assert not (tmp_path / "runs").exists()

    def test_precedence(self, cli, cat_folder, tiny_base, tmp_path):
        """Command line over config file over preset over base over defaults; run.json has what was in force."""
        (tmp_path / "options.toml").write_text(
            f'concept = "{cat_folder}"\nbase = "{tiny_base}"\npreset = "quality"\nclass = "tom cat"\n'
            'steps = 9\nlr = 1e-3\nlora-targets = "self.q"\nsample-every = 0\ncheckpoint_every = 0\n'
        )
        answer = cli(
            "train", "--config", tmp_path / "options.toml", "--steps", 1, "--no-gradient-checkpointing"
        )
        assert answer.status == 0
        record = json.loads((tmp_path / "runs" / "latest" / "run.json").read_text())
        config = record["config"]
        assert config["steps"] == 1  # command line over file
        assert config["lora_targets"] == "self.q"  # file over preset
        assert config["min_snr"] == 5.0  # preset over default
        assert config["resolution"] == 32  # base over default
        assert config["gradient_checkpointing"] is False  # command line over base
        assert (config["lr"], config["rank"]) == (1e-3, 2)
        assert record["class_noun"] == "tom cat"
        assert "from config file:" in answer.err
        assert "from preset quality:" in answer.err
        assert f"from the base {tiny_base}: --resolution 32" in answer.err

    def test_ctrl_c_and_resume(self, teach, cli, monkeypatch, tmp_path):
        """Ctrl-C finishes the step, writes a checkpoint, ends with 130 and says how to go on; that works."""
        original = ProgressDisplay.__call__

        def pressing(self, stage, done, total, note=""):
            original(self, stage, done, total, note)
            if stage == "training" and done == 2:
                signal.raise_signal(signal.SIGINT)

        with monkeypatch.context() as patch:
            patch.setattr(ProgressDisplay, "__call__", pressing)
            answer = teach("--steps", 4, "--name", "mine")
        assert answer.status == 130
        assert "stopped after 2 of 4 steps; go on with: coeffdream train --resume mine" in answer.err
        run = tmp_path / "runs" / "mine"
        assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
        assert [path.name for path in (run / "checkpoints").iterdir()] == ["000002"]
        resumed = cli("train", "--resume", "mine")
        assert resumed.status == 0
        record = json.loads((run / "run.json").read_text())
        assert (record["status"], record["steps_done"]) == ("complete", 4)
        assert [json.loads(line)["step"] for line in (run / "train.jsonl").read_text().splitlines()] == [
            1,
            2,
            3,
            4,
        ]

    def test_sigterm(self, teach, monkeypatch, tmp_path):
        """What a batch system sends: the same, and 143."""
        original = ProgressDisplay.__call__

        def ended(self, stage, done, total, note=""):
            original(self, stage, done, total, note)
            if stage == "training" and done == 2:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(ProgressDisplay, "__call__", ended)
        answer = teach("--steps", 4, "--name", "mine")
        assert answer.status == 143
        assert "stopped after 2 of 4 steps; go on with: coeffdream train --resume mine" in answer.err
        assert [path.name for path in (tmp_path / "runs" / "mine" / "checkpoints").iterdir()] == ["000002"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_stopped_while_loading(self, number, teach, monkeypatch, tmp_path):
        """Before there is a run there is nothing to keep, and nothing is left."""

        def ended(self, stage, done, total, note=""):
            signal.raise_signal(number)

        monkeypatch.setattr(ProgressDisplay, "__call__", ended)
        answer = teach("--name", "mine")
        assert answer.status == 128 + number
        assert answer.complaint[0].endswith("; what was finished is kept")
        assert not (tmp_path / "runs").exists()

    def test_a_folder_called_latest(self, teach, tmp_path):
        """It is somebody's own: said before the work, left alone, and no reason not to train."""
        own = tmp_path / "runs" / "latest" / "notes.txt"
        own.parent.mkdir(parents=True)
        own.write_text("mine")
        answer = teach("--name", "mine")
        assert answer.status == 0
        assert answer.err.index("latest is a folder of its own") < answer.err.index("encoding photos")
        assert own.read_text() == "mine"

    def test_finished_run_can_be_extended(self, teach, cli, tmp_path):
        """--resume with more --steps goes on; without, there is nothing to do."""
        teach("--name", "mine")
        assert cli("train", "--resume", "mine").status == 0
        assert cli("train", "--resume", "mine", "--steps", 3).status == 0
        record = json.loads((tmp_path / "runs" / "mine" / "run.json").read_text())
        assert (record["steps_done"], record["config"]["steps"]) == (3, 3)

    def test_resume_from_another_folder(self, teach, cli, tmp_path, monkeypatch):
        """A run started with a relative --concept is resumed from anywhere."""
        assert teach("--concept", "cat2", "--name", "mine").status == 0
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        answer = cli("train", "--resume", tmp_path / "runs" / "mine", "--steps", 3)
        assert answer.status == 0, answer.err


class TestGenerate:
    """`coeffdream generate`."""

    def test_ctrl_c(self, cli, run_of, monkeypatch):
        """Ctrl-C ends with 130 and one line; the same command completes the set."""
        run = run_of()

        def pressing(self, stage, done, total, note=""):
            if stage == "drawing" and done == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ProgressDisplay, "__call__", pressing)
            answer = cli("generate", "<V> cat", "--images-per-prompt", 2)
        assert answer.status == 130
        assert answer.complaint == ["error: interrupted; what was finished is kept"]
        again = cli("generate", "<V> cat", "--images-per-prompt", 2)
        assert "2 images (1 were already there)" in again.err
        assert len(list((run.images / "cat").glob("*.png"))) == 2

    def test_another_noun_is_warned_about(self, cli, run_of):
        """The run learned a cat; asked for a dog, it is told before anything is drawn. The untouched base may draw it."""
        run_of()
        asked = ("generate", "<V> dog", "--images-per-prompt", 1, "--no-grid")
        assert "prompts speak of <V> dog, but what this run learned is a cat" in cli(*asked).err
        assert "this run learned" not in cli(*asked, "--no-adapter").err
        assert "this run learned" not in cli("generate", "<V> cat", *asked[2:]).err

    def test_sigterm(self, cli, run_of, monkeypatch):
        """What is drawn is kept; the status says what ended it."""
        run_of()

        def ended(self, stage, done, total, note=""):
            if stage == "drawing" and done == 1:
                signal.raise_signal(signal.SIGTERM)

        monkeypatch.setattr(ProgressDisplay, "__call__", ended)
        answer = cli("generate", "<V> cat", "--images-per-prompt", 2, "--batch-size", 1)
        assert (answer.status, answer.complaint) == (143, ["error: terminated; what was finished is kept"])

    def test_without_a_sheet(self, cli, run_of):
        """--no-grid makes no contact sheet; without it there is one."""
        run = run_of()
        assert cli("generate", "<V> cat", "--images-per-prompt", 1, "--no-grid").status == 0
        assert not (run.images / "cat" / "sheet.jpg").exists()
        assert cli("generate", "<V> cat", "--images-per-prompt", 1).status == 0
        assert (run.images / "cat" / "sheet.jpg").exists()

    def test_untouched_base(self, cli, run_of, tiny_base, tmp_path):
        """--no-adapter --base needs no run at all."""
        answer = cli(
            "generate",
            "<V> CLASS",
            "--no-adapter",
            "--base",
            tiny_base,
            "--class",
            "cat",
            "--images-per-prompt",
            1,
        )
        assert answer.status == 0
        assert [path.name for path in (tmp_path / "runs").iterdir()] != []
        assert not (tmp_path / "runs" / "latest").exists()


class TestJson:
    """--json: standard output is one JSON document and nothing else."""

    def test_train(self, teach):
        """The result of a training."""
        result = json.loads(teach("--json").out)
        assert (result["steps"], result["method"], result["trained"]) == (2, "coeff-lora", 1152)
        assert result["loss"] > 0

    def test_dry_run(self, teach):
        """What a training would do."""
        result = json.loads(teach("--json", "--dry-run").out)
        assert result["config"]["steps"] == 2
        assert result["parameters"]["trained"] == 1152

    def test_generate(self, cli, run_of):
        """Where the pictures are."""
        run = run_of()
        result = json.loads(cli("generate", "<V> cat", "--images-per-prompt", 1, "--json").out)
        assert (result["images"], result["already_there"]) == (1, 0)
        assert result["set"] == str(run.images / "cat")

    def test_inspect(self, cli, run_of, tmp_path):
        """The numbers of every layer."""
        run_of()
        result = json.loads(cli("inspect", "--json", "--picture", tmp_path / "alpha.png").out)
        assert len(result["layers"]) == 8
        assert {"path", "heads", "norm", "low", "high", "negative", "pairs"} <= result["layers"][0].keys()
        assert (tmp_path / "alpha.png").is_file()

    def test_params(self, cli, tiny_base):
        """The counts of every method."""
        result = json.loads(cli("params", "--base", tiny_base, "--json").out)
        assert {each["method"]: each["trained"] for each in result["methods"]} == {
            "lora": 1024,
            "dora": 1280,
            "coeff": 128,
            "coeff-lora": 1152,
            "coeff-dora": 1408,
        }

    def test_doctor(self, cli):
        """What was found."""
        result = json.loads(cli("doctor", "--json").out)
        assert result["versions"]["torch"]
        assert set(result["bases"]) == {"base toybox", "base sdxl"}


class TestTables:
    """The same results for people."""

    def test_inspect(self, cli, run_of):
        """One row a layer, and where the picture is."""
        run = run_of()
        answer = cli("inspect")
        assert answer.status == 0
        assert "alpha' in 8 attention layers" in answer.out
        assert answer.out.count("cross") == answer.out.count("self") == 4 or "attn2" in answer.out
        assert (run.path / "alpha.png").is_file()

    def test_inspect_on_a_plain_terminal(self, cli, run_of, monkeypatch):
        """80 columns hold every number whole, a line for each layer."""
        run_of()
        monkeypatch.setenv("COLUMNS", "80")
        answer = cli("inspect")
        assert "…" not in answer.out
        assert sum("←" in line for line in answer.out.splitlines()) == 1 + 8  # the heading, and the layers

    def test_params(self, cli, tiny_base):
        """One row a method, and the shares of the paper's table on SDXL."""
        answer = cli("params", "--base", tiny_base)
        assert answer.status == 0
        assert "1,152" in answer.out
        table3 = cli("params", "--preset", "table3", "--method", "coeff-dora")
        assert "2,567,463,684" in table3.out
        assert "0.0374 %" in table3.out

    def test_doctor(self, cli):
        """Everything that could be missing is mentioned."""
        answer = cli("doctor")
        assert answer.status == 0
        for part in ("machine", "device", "versions", "cache", "base toybox", "base sdxl", "DINOv2 base"):
            assert part in answer.out


def test_debug_shows_the_traceback(cli):
    """--debug, anywhere on the line, adds the traceback to the one line; the status stays."""
    for arguments in (("--debug", "generate"), ("generate", "--debug")):
        answer = cli(*arguments)
        assert answer.status == 2
        assert "Traceback (most recent call last)" in answer.err
        assert "RunError" in answer.err
        assert answer.complaint == [
            "error: no run in runs yet; start with: coeffdream train --concept FOLDER"
        ]


def test_module_is_the_same_program(tmp_path):
    """`python -m coeffdream` in a process of its own: status, streams, and no traceback."""
    command = [sys.executable, "-m", "coeffdream", "generate"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == UserError.exit_status
    assert ended.stdout == ""
    assert ended.stderr == "error: no run in runs yet; start with: coeffdream train --concept FOLDER\n"


class TestNextStep:
    """Every command ends with the one that comes next, as it is to be typed, down to the report."""

    @pytest.fixture
    def following(self, cli):
        """Run a command; the words of the next one. Errors and a missing last line fail."""

        def follow(*arguments):
            answer = cli(*arguments)
            assert answer.status == 0, answer.err
            last = answer.err.splitlines()[-1]
            assert last.startswith("next: coeffdream "), answer.err
            return shlex.split(last)[2:]

        return follow

    def test_down_to_the_report(self, following, cli, run_of, tmp_path):
        """Pictures of one prompt ask for the benchmark, the benchmark for scores, scores for the report."""
        run_of("lora")
        (tmp_path / "one.txt").write_text("a <V> CLASS\n")
        small = ("--images-per-prompt", 2, "--steps", 1)
        assert following("generate", "<V> cat", *small) == ["generate", "--run", "cat-lora"]
        assert following("generate", "--prompts", "one.txt", "--no-adapter", *small)[0] == "generate"
        assert following("generate", "--prompts", "one.txt", *small) == ["eval"]
        assert following("generate", "<V> cat in snow", *small) == ["eval"]
        report = cli("report")
        assert "report of cat-lora: runs/cat-lora/report.html" in report.err

    def test_of_another_run_than_the_latest(self, following, run_of, tmp_path):
        """It is named, as an argument where the command takes one."""
        run_of("lora")
        run_of("coeff-lora")
        (tmp_path / "one.txt").write_text("a <V> CLASS\n")
        small = ("--images-per-prompt", 2, "--steps", 1)
        drawn = following("generate", "--run", "cat-lora", "--prompts", "one.txt", *small)
        assert drawn == ["eval", "cat-lora"]
        assert following("inspect", "cat-coeff-lora") == ["report"]

    def test_of_a_dry_run(self, following, cat_folder, tiny_base):
        """The same without --dry-run."""
        typed = ["train", "--concept", str(cat_folder), "--base", str(tiny_base)]
        assert following(*typed, "--dry-run") == typed

    def test_eval_takes_a_run_once(self, cli, run_of):
        """As an argument; --run is understood, but two runs are one too many."""
        run_of()
        assert cli("eval", "nowhere").complaint[0].startswith("error: no run called 'nowhere'")
        assert cli("eval", "--run", "nowhere").complaint[0].startswith("error: no run called 'nowhere'")
        assert "name one run" in cli("eval", "one", "--run", "two").complaint[0]


class TestSignsOfLife:
    """What is going on is said before it takes long, and never on standard output."""

    def test_a_line_in_a_pipe(self, capsys):
        """It stays."""
        with terminal.doing("counting"):
            assert capsys.readouterr() == ("", "counting ...\n")

    def test_what_is_loaded_already_is_not_said_to_be_loading(self, capsys):
        """Else every command in one process would say so."""
        with terminal.loading("json", "no_such_library"):
            assert capsys.readouterr().err == "loading no_such_library ...\n"
        with terminal.loading("json"):
            assert capsys.readouterr().err == ""

    def test_a_terminal_gets_a_line_that_goes_again(self, monkeypatch):
        """And a path that can be clicked; the link is no part of what is read."""
        screen = io.StringIO()
        monkeypatch.setattr(screen, "isatty", lambda: True)
        monkeypatch.setattr(sys, "stderr", screen)
        monkeypatch.setenv("TERM", "xterm-256color")
        with terminal.doing("counting"):
            pass
        assert "counting ..." in screen.getvalue()
        assert screen.getvalue().endswith("\x1b[2K") or "\x1b[?25h" in screen.getvalue()
        terminal.say_file("report", Path("a page.html"), "1 kB")
        assert "\x1b]8;id=" in screen.getvalue()
        assert Path("a page.html").absolute().as_uri() in screen.getvalue()
        assert "a page.html" in screen.getvalue()

    def test_the_last_line_of_a_log(self, tmp_path, capsys):
        """What a ProgressDisplay prints is what a study reads in the logs of its cells."""
        log = tmp_path / "cell.log"
        assert terminal.last_progress(log) is None
        ProgressDisplay()("loading the base", 1, 1, "toybox")
        printed = capsys.readouterr().err
        log.write_text(f"$ coeffdream train\n{printed}training 20/200 (4.20/s, 43 s left) loss 0.1\n")
        assert terminal.last_progress(log) == ("training", 20, 200)
        log.write_text(f"$ coeffdream train\n{printed}")
        assert terminal.last_progress(log) == ("loading the base", 1, 1)
        log.write_text("training 20/200\n$ coeffdream generate --run 1/2\n")
        assert terminal.last_progress(log) is None
