"""A run goes to the hub and comes back as it was; against a stand-in that speaks the hub's own requests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from coeffdream.errors import HubError, RunError, UserError
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import Part, RunFolder
from coeffdream.report.card import model_card
from coeffdream.sharing.hub import HubName, parse_hub_name
from coeffdream.sharing.publication import adapter_files, photo_files, write_publication
from coeffdream.sharing.pull import fetch, find_run_anywhere
from coeffdream.sharing.push import check_hub, push_folder

REPO = "me/cat"
DOG = Part("dog", "runs/dog", "lora", "dog", "sks", {})


@pytest.fixture
def publish(tmp_path, hub):
    """Write what of a run is published, and push it."""
    count = iter(range(9))

    def call(run: RunFolder, repo: str = REPO, *, photos: bool = False, private: bool = False):
        folder = tmp_path / f"publication-{next(count)}"
        record = run.read()
        files = adapter_files(run, record)
        shown = photo_files(record) if photos else {}
        card = model_card(run, record, repo, files, photos=shown)
        write_publication(folder, record, card.text, {**files, **shown}, card.scores, captions=photos)
        return push_folder(folder, repo, private=private, message="a run")

    return call


def test_there_and_back(publish, trained_run, hub, tmp_path):
    """The adapter to the byte, the record but for what tells of the machine, and where it is from."""
    run = trained_run("coeff-lora")
    pushed = publish(run)
    assert pushed.url == f"{hub.url}/{REPO}"
    here = find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere")
    record, trained = here.read(), run.read()
    assert here.path == tmp_path / "elsewhere" / f"me--cat-{pushed.commit[:8]}"
    assert (record.hub.repo, record.hub.commit) == (REPO, pushed.commit)
    assert record.name == here.path.name
    assert record.adapter == trained.adapter
    assert {file.name: sha256_of_file(file) for file in here.adapter.iterdir()} == trained.adapter
    same = {"name", "config", "base", "concept", "hub"}
    for field in dataclasses.fields(record):
        assert field.name in same or getattr(record, field.name) == getattr(trained, field.name), field.name


def test_only_what_is_needed_is_fetched(publish, trained_run, hub, tmp_path):
    """Neither the card nor the file for other tools; and nothing again once that state of it is here."""
    publish(trained_run("coeff-lora"))
    hub.asked.clear()
    first = find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere")
    fetched = {
        path.rpartition("/")[2] for path in hub.asked if path.startswith("GET") and "/resolve/" in path
    }
    assert fetched == {"run.json", "pytorch_lora_weights.safetensors", "coeff_weights.safetensors"}
    hub.asked.clear()
    assert find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere") == first
    assert not [path for path in hub.asked if "/resolve/" in path]
    assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == [first.path.name]


def test_nothing_tells_of_the_machine(publish, trained_run, hub, tmp_path):
    """No photo, no caption, no folder; but with --photos the photos and their captions."""
    run = trained_run("coeff-lora")
    record = run.read()
    publish(run)
    files = hub.files(REPO)
    places = [record.concept.folder, record.base.source, record.config.runs, str(tmp_path), str(Path.home())]
    for name, data in files.items():
        assert not [place for place in places if place.encode() in data], name
    assert not [name for name in files if name.startswith("photos/")]
    said = json.loads(files["run.json"])
    assert said["concept"]["folder"] == "cat"
    assert [photo["caption"] for photo in said["concept"]["images"]] == [""]
    publish(run, "me/open", photos=True)
    [photo] = Path(record.concept.folder).iterdir()
    assert hub.files("me/open")["photos/0.png"] == photo.read_bytes()
    assert json.loads(hub.files("me/open")["run.json"])["concept"]["images"][0]["caption"]


def test_a_second_push_leaves_nothing_of_the_first(publish, trained_run, hub, tmp_path):
    """Else the head mixing of another run would lie beside a LoRA; what its owner added stays."""
    first = publish(trained_run("coeff-lora"))
    hub.put(REPO, notes__txt=b"mine")
    plain = trained_run("lora")
    second = publish(plain)
    assert set(second.removed) == {"coeff_weights.safetensors", "cat-coeff-lora.safetensors"}
    assert hub.files(REPO).keys() == {
        ".gitattributes",
        "README.md",
        "run.json",
        "notes.txt",
        "pytorch_lora_weights.safetensors",
        "cat-lora.safetensors",
    }
    older = find_run_anywhere(f"hub:{REPO}@{first.commit}", tmp_path / "elsewhere")
    newer = find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere")
    assert (older.read().method, newer.read().method) == ("coeff-lora", "lora")


def test_a_repository_of_something_else_is_left_alone(publish, trained_run, hub):
    hub.put("me/model", model__safetensors=b"seven gigabytes", README__md=b"mine")
    before = dict(hub.files("me/model"))
    with pytest.raises(
        HubError, match=r"holds something else than a run of coeffdream \(model.safetensors\)"
    ):
        publish(trained_run("lora"), "me/model")
    assert hub.files("me/model") == before


def test_a_fetched_run_logs_nowhere_of_its_authors(publish, trained_run, hub, tmp_path):
    """Neither does the pushed record tell of a tracker, nor is one believed that a stranger's names."""
    run = trained_run("lora")
    record = run.read()
    run.write(dataclasses.replace(record, config=dataclasses.replace(record.config, log_with="wandb")))
    publish(run)
    said = json.loads(hub.files(REPO)["run.json"])
    assert said["config"]["log_with"] == "none"
    said["config"]["log_with"] = "wandb"
    hub.put(REPO, run__json=json.dumps(said).encode())
    here = find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere")
    assert here.read().config.log_with == "none"


def test_private_is_private(publish, trained_run, hub, tmp_path, monkeypatch):
    """A new repository is; one that is public already is not written to; without a token it is not there."""
    run = trained_run("lora")
    assert publish(run, private=True).private
    assert hub.repositories[REPO].private
    hub.put("me/open", run__json=b"{}")
    with pytest.raises(HubError, match="me/open is there already and public"):
        publish(run, "me/open", private=True)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(HubError, match="me/cat is not on the hub, or it is private"):
        fetch(HubName(REPO))


def test_without_a_network_the_cache_is_taken(publish, trained_run, hub, tmp_path, monkeypatch):
    """HF_HUB_OFFLINE in silence; a hub that does not answer with a word."""
    commit = publish(trained_run("lora")).commit
    fetch(HubName(REPO))
    warnings: list[str] = []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    folder, record = fetch(HubName(REPO), warn=warnings.append)
    assert (folder.name, record.hub.commit, warnings) == (commit, commit, [])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    hub.close()
    assert fetch(HubName(REPO), warn=warnings.append)[0] == folder
    assert len(warnings) == 1
    assert "cannot be reached" in warnings[0]
    with pytest.raises(
        HubError, match=r"hub:me/dog was not fetched before, and cannot be now \(the hub cannot be"
    ):
        fetch(HubName("me/dog"))


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        ("hub:me/dog", "me/dog is not on the hub, or it is private"),
        (f"hub:{REPO}@v9", "me/cat has no revision 'v9'; name a branch, a tag or a commit"),
        ("hub:me/other", "holds no run of coeffdream"),
        ("hub:cat", "names no repository of the hub; write OWNER/NAME"),
        ("hub:me/../cat", "names no repository of the hub"),
        (f"hub:{REPO}@", "names no revision after @"),
    ],
)
def test_what_is_not_there(publish, trained_run, hub, tmp_path, typed, complaint):
    """One line, and no folder of runs."""
    publish(trained_run("lora"))
    hub.put("me/other", lora__safetensors=b"another tool's")
    with pytest.raises(HubError, match=complaint) as refused:
        find_run_anywhere(typed, tmp_path / "elsewhere")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()


def test_altered_files_are_refused(publish, trained_run, hub, tmp_path):
    """An adapter that was changed, or is gone; a record that names another folder, or is none."""
    publish(trained_run("coeff-lora"))
    good = dict(hub.files(REPO))
    record = json.loads(good["run.json"])
    lora = good["pytorch_lora_weights.safetensors"]
    attacks = {
        "is not the one that was trained": {"pytorch_lora_weights__safetensors": lora[:-1] + b"\1"},
        "lacks coeff_weights.safetensors": {"coeff_weights__safetensors": None},
        "holds no finished adapter": {
            "run__json": {**record, "adapter": {"../../evil.safetensors": "0" * 64}}
        },
        "holds no finished adapter; ": {"run__json": {**record, "status": "failed"}},
        "is damaged, or of another version": {"run__json": b"{"},
        "has 4,194,305 bytes, above the limit": {"run__json": b" " * ((4 << 20) + 1)},
    }
    for complaint, changes in attacks.items():
        written = {k: json.dumps(v).encode() if isinstance(v, dict) else v for k, v in changes.items()}
        hub.put(REPO, **written)
        with pytest.raises(HubError, match=complaint):
            find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere")
        hub.repositories[REPO].commit(good)
    assert not (tmp_path / "elsewhere").exists()
    assert find_run_anywhere(f"hub:{REPO}", tmp_path / "elsewhere").read().method == "coeff-lora"


def test_a_push_that_breaks_off_changes_nothing(publish, trained_run, hub, monkeypatch):
    """The commit comes last; until then the repository is as it was."""
    publish(trained_run("lora"))
    before = dict(hub.files(REPO))
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    hub.broken = "/commit/"
    with pytest.raises(HubError, match=r"the hub refused hub:me/cat \(.*500.*\); try again later"):
        publish(trained_run("coeff-lora"))
    assert hub.files(REPO) == before


def test_a_push_needs_a_token_and_a_network(hub, monkeypatch):
    """Said before any work."""
    check_hub()
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        HubError, match="needs a token to be written to, and there is none; log in with: hf auth"
    ):
        check_hub()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="nothing can be pushed: HF_HUB_OFFLINE is set; --to FOLDER"):
        check_hub()


def test_a_token_without_rights(publish, trained_run, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody_else")
    with pytest.raises(
        HubError, match=r"the token may not do that with me/cat \(HTTP 403\); log in with one"
    ):
        publish(trained_run("lora"))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"status": "interrupted"}, "is interrupted; only a finished run"),
        ({"status": "base"}, "holds pictures of the untouched base; name a trained run"),
        (
            {"status": "several", "parts": [DOG]},
            r"only draws with other runs \(dog\); each of them can be pushed",
        ),
        ({"method": "imported-LoRA"}, "was trained by another tool"),
        ({"adapter": {}}, "names no adapter"),
        ({"adapter": {"pytorch_lora_weights.safetensors": "0" * 64}}, "is not the one that was trained"),
    ],
)
def test_what_cannot_be_published(trained_run, changes, complaint):
    run = trained_run("lora")
    with pytest.raises(RunError, match=complaint):
        adapter_files(run, dataclasses.replace(run.read(), **changes))


def test_photos_that_are_gone_cannot_be_published(trained_run, tmp_path):
    record = trained_run("lora").read()
    moved = dataclasses.replace(record.concept, folder=str(tmp_path / "nowhere"))
    with pytest.raises(
        RunError, match=r"no longer holds 0.png as they were learned from; leave --photos out"
    ):
        photo_files(dataclasses.replace(record, concept=moved))


def test_a_folder_that_is_not_empty_is_not_written_into(tmp_path, trained_run):
    (tmp_path / "look").mkdir()
    (tmp_path / "look" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        write_publication(tmp_path / "look", trained_run("lora").read(), "", {}, None, captions=False)
    assert [each.name for each in (tmp_path / "look").iterdir()] == ["mine.txt"]


def test_names_of_repositories():
    assert parse_hub_name("hub:me/cat") == HubName("me/cat")
    assert parse_hub_name("hub:me/cat@refs/pr/1") == HubName("me/cat", "refs/pr/1")
    assert str(parse_hub_name("hub:me/cat@v1")) == "hub:me/cat@v1"
