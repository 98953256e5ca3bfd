"""`study vqa`: the paper's count, what each arm trains, that answers are greedy decoding's, and that a study goes on."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from coeffdream.adapters.hosts.coefficients import coefficients_of
from coeffdream.errors import BaseModelError, ConfigError, NonFiniteLossError, RunError
from coeffdream.metrics.dino import DinoEncoder
from coeffdream.progress import silent
from coeffdream.studies import vqa
from coeffdream.studies.vqa import by_question, install, study
from coeffdream.studies.vqa_backbone import IGNORED, PictureBart, answered, keep, named, seen, small
from coeffdream.studies.vqa_options import ARMS, WITHOUT, VqaOptions
from coeffdream.studies.vqa_questions import Question, about_pictures
from coeffdream.toybox.paths import DINO_SCORER

TINY = {
    "arms": "projection,coeff",
    "seeds": 1,
    "epochs": 1,
    "batch_size": 4,
    "train_pictures": 2,
    "test_pictures": 3,
    "pretrain_pictures": 2,
    "pretrain_epochs": 1,
    "device": "cpu",
}
TRAINED = {
    "projection": (),
    "coeff": (),
    "lora": (".lora_A.", ".lora_B."),
    "dora": (".lora_A.", ".lora_B.", ".lora_magnitude_vector."),
    "full": ("bart.",),
}
QUESTIONS = [
    Question("color", "what color is the cat ?", "red", 0),
    Question("where", "where is the cat ?", "top left", 1),
    Question("read count", "red cat top left . how many things are there ?", "one"),
]


@pytest.fixture(scope="module")
def reader():
    return small(8)


@pytest.fixture(scope="module")
def data(reader):
    features = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    return reader.dataset(features, QUESTIONS)


def test_bart_base_has_the_papers_count():
    """18 attention layers of 12 heads: 2,592 coefficients, Table 4's 2.6K; and r = 128."""
    from transformers import BartConfig, BartForConditionalGeneration

    base = {"d_model": 768, "vocab_size": 50_265}
    for part in ("encoder", "decoder"):
        base |= {f"{part}_layers": 6, f"{part}_attention_heads": 12, f"{part}_ffn_dim": 3072}
    with torch.device("meta"):
        bart = BartForConditionalGeneration(BartConfig(**base))
        model = PictureBart(bart, torch.nn.Linear(768, 768))
    assert VqaOptions().rank_of(768) == 128
    groups = install(model, "coeff", VqaOptions(), 0)
    assert len(groups["alpha"].parameters) == 18
    assert sum(each.numel() for each in groups["alpha"].parameters) == 18 * 12 * 12 == 2592
    assert round(2592 / 1000, 1) == 2.6


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_trains_what_it_says(reader, data, arm):
    """Of all parameters exactly those get a gradient, the picture's layer among them, and each is in one group."""
    model = reader.copied()
    groups = install(model, arm, VqaOptions(), seed=0)
    model(**reader.batch(data)).loss.backward()
    moved = {name for name, each in model.named_parameters() if each.grad is not None}
    parts = ("picture.", *TRAINED[arm.removeprefix("coeff-")], *((".alpha",) if "coeff" in arm else ()))
    expected = {name for name, _ in model.named_parameters() if any(part in name for part in parts)}
    assert moved == expected
    grouped = [id(each) for group in groups.values() for each in group.parameters]
    assert sorted(grouped) == sorted(id(each) for name, each in model.named_parameters() if name in expected)


@pytest.mark.parametrize("arm", sorted(WITHOUT))
def test_step_0_with_alpha_is_step_0_without(reader, data, arm):
    said = []
    for each in (arm, WITHOUT[arm]):
        model = reader.copied()
        install(model, each, VqaOptions(), seed=1)
        with torch.no_grad():
            said.append(model.eval()(**reader.batch(data)).logits)
    assert torch.equal(*said)


def test_alpha_has_the_papers_rates(reader):
    """Appendix B.4: beside LoRA's 5e-4 2e-4, beside DoRA's 1e-3 5e-4; the small backbone all of them 20 times. With a
    weight decay of 1e-6 and a dropout of .2."""
    for arm, own, alpha in (("coeff-lora", 5e-4, 2e-4), ("coeff-dora", 1e-3, 5e-4)):
        assert VqaOptions(backbone="facebook/bart-base").rates(arm) == (own, alpha)
        model = reader.copied()
        groups = install(model, arm, VqaOptions(), 0)
        rates = [groups[kind].lr for kind in ("picture", "own", "alpha")]
        assert rates == pytest.approx([20 * own, 20 * own, 20 * alpha])
        assert groups["alpha"].weight_decay == 1e-6
        assert {each.dropout for each in coefficients_of(model).values()} == {0.2}
        assert VqaOptions().rates(WITHOUT[arm])[0] == groups["own"].lr
    typed = VqaOptions(lr=0.25, coeff_lr=0.125)
    assert {typed.rates(arm) for arm in ARMS} == {(0.25, 0.125)}


def test_an_answer_counts_when_greedy_decoding_gives_it(reader):
    """Also of several words; taught by heart, the taught ones are right and no others."""
    features = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(0))
    data = reader.dataset(features, QUESTIONS)
    model = reader.copied()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(**reader.batch(data[:2])).loss.backward()
        optimizer.step()
    right = answered(model, data, reader, 2)
    assert right == [True, True, False]
    batch = reader.batch(data)
    asked = model.bart.get_input_embeddings()(batch["input_ids"])
    generated = model.bart.generate(
        inputs_embeds=torch.cat([model.picture(batch["features"]), asked], 1),
        attention_mask=torch.cat([batch["shown"][:, None].expand(-1, 16), batch["attention_mask"]], 1),
        max_new_tokens=5,
        do_sample=False,
    )
    decoded = reader.tokenizer.batch_decode(generated, skip_special_tokens=True)
    assert [said == each.answer for said, each in zip(decoded, QUESTIONS, strict=True)] == right


def test_without_a_picture_none_is_looked_at(reader, data):
    """The features of a question about a sentence do not matter, those of a question about a picture do."""
    model = reader.copied().eval()
    batch = reader.batch(data)
    assert (batch["labels"] == IGNORED).any()
    with torch.no_grad():
        before = model(**batch).logits
        after = model(**{**batch, "features": batch["features"] + 1}).logits
    torch.testing.assert_close(before[2], after[2])
    assert not torch.allclose(before[:2], after[:2])


def test_features_are_those_of_the_regions():
    """First the whole, then of 8 x 8 patches each 2 x 2, in reading order, at unit scale."""
    pictures, _ = about_pictures("test", 1, silent)
    encoder = DinoEncoder(str(DINO_SCORER))
    features = seen(pictures.__getitem__, 1, encoder, silent)
    assert features.shape == (1, 17, 96)
    patches = torch.from_numpy(encoder.patches(pictures))
    corner = patches[0, [8 * 6 + 6, 8 * 6 + 7, 8 * 7 + 6, 8 * 7 + 7]].mean(0)
    whole = torch.from_numpy(encoder.images(pictures))[0]
    for mine, raw in ((features[0, -1], corner), (features[0, 0], whole)):
        torch.testing.assert_close(mine, torch.nn.functional.layer_norm(raw, (96,)))


@pytest.fixture
def trained(monkeypatch):
    """The trainings that were made; `stop_at`: which one a person interrupts."""
    calls = {"made": [], "stop_at": 0}
    real = vqa.train_one

    def call(arm, seed, *rest):
        calls["made"].append((arm, seed))
        if len(calls["made"]) == calls["stop_at"]:
            raise KeyboardInterrupt
        return real(arm, seed, *rest)

    monkeypatch.setattr(vqa, "train_one", call)
    return calls


def test_a_study_that_was_interrupted_goes_on(tmp_path, trained):
    """Nothing is trained twice, the backbone neither; the result is that of a study left alone."""
    out = tmp_path / "out"
    trained["stop_at"] = 2
    with pytest.raises(KeyboardInterrupt):
        study(out, VqaOptions(**TINY), silent)
    before = (out / "backbone" / "model.safetensors").stat().st_mtime_ns
    made = study(out, VqaOptions(**TINY), silent)
    assert trained["made"] == [("projection", 0), ("coeff", 0), ("coeff", 0)]
    assert (out / "backbone" / "model.safetensors").stat().st_mtime_ns == before
    assert study(tmp_path / "other", VqaOptions(**TINY), silent) == made
    assert [(each.parameters, each.coefficients, each.layers) for each in made] == [(0, 0, 0), (96, 96, 6)]
    results = by_question(made)
    assert [(each.task, each.arm) for each in results[:3]] == [
        (kind, "projection") for kind in ("color", "count", "where")
    ]
    with pytest.raises(RunError, match="--epochs 1, and this one has --epochs 2"):
        study(out, VqaOptions(**{**TINY, "epochs": 2}), silent)


def test_a_training_that_diverges_is_told(tmp_path, monkeypatch, reader):
    monkeypatch.setattr(vqa, "fit", lambda *_, **__: float("nan"))
    features = torch.zeros(1, 16, 8)
    asked = (features, QUESTIONS[:1])
    with pytest.raises(NonFiniteLossError, match=r"coeff, seed 3: the loss is nan; .* lower --lr"):
        vqa.train_one("coeff", 3, reader, asked, asked, VqaOptions(**TINY), lambda step, steps: None)


def test_a_backbone_is_kept_and_named(tmp_path, reader, data):
    """Whole, with the layer for pictures; one of other width, of another kind or absent is told in a line."""
    keep(reader, tmp_path / "net")
    loaded = named(str(tmp_path / "net"), 8)
    with torch.no_grad():
        said = [each.model.eval()(**each.batch(data)).logits for each in (reader, loaded)]
    torch.testing.assert_close(*said)
    with pytest.raises(
        BaseModelError, match=r"its layer for pictures takes 8 features, and --vision gives 9"
    ):
        named(str(tmp_path / "net"), 9)
    with pytest.raises(BaseModelError, match="--backbone nobody/nothing was not loaded"):
        named("nobody/nothing", 8)
    layer = tmp_path / "net" / "picture.safetensors"
    save_file({"weight": torch.zeros(2, 2)}, layer)
    for _ in ("another layer's", "no safetensors"):
        with pytest.raises(BaseModelError, match=r"was not loaded \(.+\); fetch it"):
            named(str(tmp_path / "net"), 8)
        layer.write_text("{")
    (tmp_path / "net" / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(BaseModelError, match="is a t5; name a BART"):
        named(str(tmp_path / "net"), 8)


def test_questions_of_ones_own(tmp_path, trained):
    """Pictures from files, accuracies by the kind of question, a backbone by name with a new layer for pictures."""
    keep(small(96), tmp_path / "net")
    (tmp_path / "net" / "picture.safetensors").unlink()
    for number, color in enumerate(("red", "blue", "green")):
        Image.new("RGB", (50, 40), color).save(tmp_path / f"{number}.png")
    for split in ("train", "test"):
        rows = [
            {"image": f"{n}.png", "question": "what color is it ?", "answer": answer, "kind": kind, "id": n}
            for n, answer, kind in (
                (0, "red", "color"),
                (1, "blue", "color"),
                (0, "red", "again"),
                (2, "green", "color"),
            )
        ]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = {**TINY, "arms": "coeff", "test_pictures": 2}
    options |= {"data": str(tmp_path), "backbone": str(tmp_path / "net")}
    [made] = study(tmp_path / "out", VqaOptions(**options), silent)
    assert (made.tested, list(made.accuracy)) == (3, ["color", "again"])  # of two pictures
    (tmp_path / "test.jsonl").write_text('{"image": "0.png", "question": ""}\n')
    with pytest.raises(ConfigError, match=r"test.jsonl, row 1: .*; each line has image, question and answer"):
        study(tmp_path / "other", VqaOptions(**options), silent)
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(ConfigError, match=r"test.jsonl holds no question"):
        study(tmp_path / "other", VqaOptions(**options), silent)
    (tmp_path / "test.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"has no test.jsonl"):
        study(tmp_path / "other", VqaOptions(**options), silent)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": 0},
        {"epochs": 10**6},
        {"rank": 0},
        {"lr": -1.0},
        {"coeff_lr": float("nan")},
        {"coeff_dropout": 1.0},
        {"coeff_weight_decay": -1.0},
        {"arms": "lora,adalora"},
        {"data": "photos"},
    ],
)
def test_what_makes_no_study(change):
    """Each by the name of its option."""
    flag = next(iter(change)).replace("_", "-")
    with pytest.raises(ConfigError, match=f"--{flag}"):
        VqaOptions(**change).check()
