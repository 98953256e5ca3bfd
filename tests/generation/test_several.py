"""Sets drawn with several runs together: whose they are, what they are told by, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from coeffdream.errors import ConfigError, InUseError, PromptError, RunError
from coeffdream.generation.request import GenerateRequest
from coeffdream.generation.several import run_of_several
from coeffdream.records.images import find_set
from coeffdream.records.run import RunFolder, held_run

PAIR = "<V1> cat beside <V2> dog"


@pytest.fixture
def cat_and_dog(run_of):
    """A run of a cat, sks, and one of a dog, zwx, by another method."""
    cat, dog = run_of("coeff-lora"), run_of("coeff-dora")
    dog.write(dataclasses.replace(dog.read(), class_noun="dog", token="zwx"))
    for run, name in ((cat, "cat"), (dog, "dog")):
        run.path.rename(run.path.with_name(name))
    return [RunFolder(cat.path.with_name(name)) for name in ("cat", "dog")]


@pytest.fixture
def drawn(draw_set, tiny_base):
    """Draw with several runs; the set."""

    def draw(runs, *prompts, weights=(1.0, 0.7), warn=lambda _: None, **options):
        from coeffdream.backbones.base import find_base
        from coeffdream.generation import run as generation
        from coeffdream.progress import silent

        request = GenerateRequest(prompts=prompts, weights=weights, device="cpu", **options)
        folder, record = run_of_several(runs, runs[0].path.parent, warn)
        base = find_base(str(tiny_base))
        return generation.generate(request, folder, record, base, grid=False, progress=silent, warn=warn)

    return draw


def test_the_order_changes_no_picture(cat_and_dog, drawn, pixels):
    """The placeholders follow the order asked for, and nothing else does."""
    cat, dog = cat_and_dog
    one = drawn([cat, dog], PAIR, images_per_prompt=2)
    other = drawn([dog, cat], "<V2> cat beside <V1> dog", images_per_prompt=2, weights=(0.7, 1.0))
    assert [image.text for image in one.images] == ["sks cat beside zwx dog"] * 2
    assert [image.sha256 for image in one.images] == [image.sha256 for image in other.images]
    third = drawn([cat, dog], PAIR, images_per_prompt=2, weights=(1.0, 1.0))
    assert np.abs(pixels(third) - pixels(one)).max() > 0


def test_a_set_says_whose_adapters_drew_it_and_how_much_of_each(cat_and_dog, drawn):
    """The files' hashes by run, and the weights: equal settings are equal pictures."""
    cat, dog = cat_and_dog
    made = drawn([cat, dog], PAIR, images_per_prompt=1)
    settings = made.folder.read_set().settings
    assert settings.adapter == {
        f"{run.path.name}/{name}": sha256 for run in (cat, dog) for name, sha256 in run.read().adapter.items()
    }
    assert settings.weights == {"cat": 1.0, "dog": 0.7}
    assert settings.token == "sks zwx"
    assert drawn([cat, dog], PAIR, images_per_prompt=1).already_there == 1
    second = drawn([cat, dog], PAIR, images_per_prompt=1, weights=(1.0, 0.5))
    assert (second.already_there, second.folder.path.name) == (0, "cat-beside-dog-2")


def test_the_run_of_the_pair_is_one_of_its_own(cat_and_dog, drawn):
    """Found by its name, the same one each time, and another once a part was trained anew; the parts get no set."""
    cat, dog = cat_and_dog
    run = RunFolder(drawn([cat, dog], PAIR, images_per_prompt=1).folder.path.parents[1])
    record = run.read()
    assert (run.path.name, record.status, record.method) == (
        "cat-and-dog",
        "several",
        "coeff-lora+coeff-dora",
    )
    assert [(part.name, part.token, part.class_noun) for part in record.parts] == [
        ("cat", "sks", "cat"),
        ("dog", "zwx", "dog"),
    ]
    assert record.parameters.trained == sum(each.read().parameters.trained for each in (cat, dog))
    assert not cat.images.exists()
    assert find_set(run.images, None).path.name == "cat-beside-dog"
    again, _ = run_of_several([cat, dog], cat.path.parent, lambda _: None)
    assert again == run
    shutil.copytree(cat.path, cat.path.with_name("kept"))
    (cat.adapter / "coeff_weights.safetensors").unlink()
    anew, _ = run_of_several([cat, dog], cat.path.parent, lambda _: None)
    assert anew.path.name == "cat-and-dog-2"


def test_the_benchmark_speaks_of_all_of_them(cat_and_dog, drawn, monkeypatch):
    """A listed "<V> CLASS" becomes both, and the set is a benchmark like any other."""
    made = drawn(cat_and_dog, images_per_prompt=1, no_adapter=True)
    record = made.folder.read_set()
    assert (record.kind, record.name) == ("benchmark", "benchmark-base")
    assert record.templates[0] == "a <V1> cat and a <V2> dog in a bamboo forest"
    assert len(record.templates) == 25
    assert record.settings.adapter is None
    assert record.settings.weights == {}


def test_beside_another_tools_adapter(cat_and_dog, drawn, pixels, tmp_path):
    """--lora goes on top of the sum."""
    import torch
    from safetensors.torch import save_file

    from coeffdream.interop.choice import LoraChoice

    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_v"
    peer = tmp_path / "peer.safetensors"
    up, down = (torch.randn(shape, generator=torch.manual_seed(0)) for shape in ((32, 1), (1, 32)))
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, peer)
    plain = drawn(cat_and_dog, PAIR, images_per_prompt=1)
    beside = drawn(cat_and_dog, PAIR, images_per_prompt=1, loras=(LoraChoice(peer, 0.5),))
    assert np.abs(pixels(plain) - pixels(beside)).max() > 0
    assert "peer.safetensors" in beside.folder.read_set().settings.adapter
    assert list(beside.folder.read_set().settings.loras.values()) == [0.5]


def test_unrelated_prompts_leave_out_every_class(cat_and_dog):
    """With two things learned, pictures of either are related."""
    request = GenerateRequest(unrelated=True, weights=(1.0, 1.0))
    _, record = run_of_several(cat_and_dog, cat_and_dog[0].path.parent, lambda _: None)
    _, templates = request.templates(record.class_noun, None, toybox=True, parts=record.parts)
    alone = request.templates("cat", None, toybox=True)[1]
    assert set(templates) < set(alone)
    assert not [each for each in templates if "dog" in each or "cat" in each]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("<V> cat", r"has <V>, which may be any of them; <V1> is cat \(cat\), <V2> is dog \(dog\)"),
        ("<V3> cat beside <V1> cat", "has <V3>, which stands for nothing; <V1> is cat"),
        ("a cat beside a dog", "lacks <V1> and <V2>; <V1> is cat"),
        ("a<V1> cat", "has <V1> inside a word"),
        ("", "the prompt is empty"),
    ],
)
def test_a_placeholder_must_be_one_of_them(cat_and_dog, drawn, prompt, said):
    with pytest.raises(PromptError, match=said):
        drawn(cat_and_dog, prompt)
    assert not (cat_and_dog[0].path.parent / "cat-and-dog").exists()


class TestCollisions:
    """What may come out mixed is said; what no prompt can tell apart is refused."""

    def heard(self, runs) -> list[str]:
        said: list[str] = []
        run_of_several(runs, runs[0].path.parent, said.append)
        return said

    def change(self, run, **changes) -> None:
        run.write(dataclasses.replace(run.read(), **changes))

    def test_two_of_their_own(self, cat_and_dog):
        assert self.heard(cat_and_dog) == []

    def test_one_token(self, cat_and_dog, drawn):
        """The nouns tell them apart, so a prompt must name them."""
        self.change(cat_and_dog[1], token="sks")
        [line] = self.heard(cat_and_dog)
        assert "share the token 'sks'" in line
        assert "--token zwx" in line
        with pytest.raises(PromptError, match=r"does not name the dog that <V2> is.*write <V2> dog"):
            drawn(cat_and_dog, "<V1> cat beside <V2>")
        assert drawn(cat_and_dog, PAIR, images_per_prompt=1).count == 1

    def test_one_noun(self, cat_and_dog):
        self.change(cat_and_dog[1], class_noun="cat")
        [line] = self.heard(cat_and_dog)
        assert "cat and dog are both a cat" in line

    def test_one_token_and_one_noun(self, cat_and_dog):
        self.change(cat_and_dog[1], token="sks", class_noun="cat")
        with pytest.raises(
            RunError, match=r"both learned 'sks cat', so no prompt can tell them apart; train .*--token zwx"
        ):
            self.heard(cat_and_dog)

    def test_one_run_twice(self, cat_and_dog):
        with pytest.raises(RunError, match="names cat twice"):
            self.heard([cat_and_dog[0], cat_and_dog[0]])

    def test_two_folders_of_one_name(self, cat_and_dog, tmp_path):
        shutil.copytree(cat_and_dog[1].path, tmp_path / "far" / "cat")
        with pytest.raises(RunError, match=r"have one name.*rename one"):
            self.heard([cat_and_dog[0], RunFolder(tmp_path / "far" / "cat")])

    def test_two_architectures(self, cat_and_dog):
        dog = cat_and_dog[1]
        base = dataclasses.replace(dog.read().base, name="other", architecture="f" * 64)
        self.change(dog, base=base)
        with pytest.raises(RunError, match="different architectures"):
            self.heard(cat_and_dog)

    @pytest.mark.parametrize(
        ("status", "said"), [("interrupted", "finish it with"), ("diverged", "diverged")]
    )
    def test_a_part_that_is_not_trained(self, cat_and_dog, status, said):
        self.change(cat_and_dog[1], status=status)
        with pytest.raises(RunError, match=said):
            self.heard(cat_and_dog)

    def test_a_part_in_training(self, cat_and_dog):
        self.change(cat_and_dog[1], status="training")
        with (
            held_run(cat_and_dog[1], "train"),
            pytest.raises(InUseError, match="draw when that has ended"),
        ):
            self.heard(cat_and_dog)


def test_a_part_that_changes_meanwhile(cat_and_dog, drawn, learned):
    """Between planning and drawing another adapter came: nothing is filed under the old one's name."""
    cat, dog = cat_and_dog

    def swapped(_):
        shutil.rmtree(dog.adapter)
        shutil.copytree(learned("coeff-lora") / "adapter", dog.adapter)

    dog.write(dataclasses.replace(dog.read(), class_noun="cat", adapter={}))  # so that a warning is heard
    with pytest.raises(InUseError, match="draw again when that has ended"):
        drawn([cat, dog], "<V1> cat beside <V2> cat", warn=swapped)
    assert not (cat.path.parent / "cat-and-dog").exists()


def test_weights_are_numbers():
    with pytest.raises(ConfigError, match="the weight inf must be a finite number"):
        GenerateRequest(weights=(1.0, float("inf"))).check()


def test_other_weights_of_the_base_are_warned_about(cat_and_dog, drawn):
    """As of one run, by the name of each."""
    dog = cat_and_dog[1]
    base = dog.read().base
    dog.write(
        dataclasses.replace(dog.read(), base=dataclasses.replace(base, sketch=[9.0 for _ in base.sketch]))
    )
    said: list[str] = []
    drawn(cat_and_dog, PAIR, images_per_prompt=1, warn=said.append)
    assert [line for line in said if "other weights" in line and line.startswith(dog.read().name)]
