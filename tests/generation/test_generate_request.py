"""The request of `generate` is checked as a whole before a model is loaded."""

from __future__ import annotations

import pytest

from coeffdream.errors import ConfigError, PromptError
from coeffdream.generation.plan import SetPlan, slug
from coeffdream.generation.request import GenerateRequest


def test_all_problems_together():
    """Every wrong value is named with its flag in one message."""
    request = GenerateRequest(
        prompts=("<V> cat",),
        prompt_list="live",
        images_per_prompt=0,
        seed=-1,
        steps=0,
        guidance=float("nan"),
        size=-8,
        batch_size=0,
        lora_scale=float("inf"),
        set_name="../elsewhere",
    )
    with pytest.raises(ConfigError) as caught:
        request.check()
    message = str(caught.value)
    flags = "--images-per-prompt --seed --steps --guidance --size --batch-size --lora-scale --set --prompts"
    assert [flag for flag in flags.split() if flag not in message] == []
    assert "9 problems" in message


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("", "the prompt is empty"),
        ("   ", "the prompt is empty"),
        ("a cat in the snow", "lacks <V>"),
        ("a sks cat in the snow", "'sks', which is not the placeholder"),
        ("a <v> cat", "'<v>', which is not the placeholder"),
        ("a <V>cat", "inside a word"),
    ],
)
def test_prompts_that_cannot_be_drawn(prompt, said):
    """Each gets one line with what is wrong and what to write."""
    with pytest.raises(PromptError, match=said):
        GenerateRequest(prompts=("<V> cat", prompt)).templates("cat", True, toybox=False)


def test_plain_allows_prompts_without_the_placeholder():
    """--plain is for drawing what the base knows."""
    GenerateRequest(prompts=("a cat in the snow",), plain=True).templates("cat", True, toybox=False)
    with pytest.raises(PromptError, match="empty"):
        GenerateRequest(prompts=("",), plain=True).templates("cat", True, toybox=False)


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (GenerateRequest(), "benchmark"),
        (GenerateRequest(prompt_list="object"), "benchmark"),
        (GenerateRequest(no_adapter=True), "benchmark-base"),
        (GenerateRequest(prompt_list="my/list.txt"), "list"),
        (GenerateRequest(prompts=("<V> cat in snow",)), "cat-in-snow"),
        (GenerateRequest(prompts=("<V> кот",)), "image"),
    ],
)
def test_default_set_names(request_, name):
    """Folder names people can guess."""
    assert request_.default_set_name == name


def test_plan():
    """One seed per image in the order of the prompts; file names are unique even for equal prompts."""
    jobs = SetPlan(
        ["<V> CLASS", "<V> CLASS", "a CLASS beside <V>"],
        class_noun="dog",
        token="xyz",
        images_per_prompt=2,
        seed=40,
    )
    assert [job.seed for job in jobs] == [40, 41, 42, 43, 44, 45]
    assert [(job.prompt_index, job.image_index) for job in jobs] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
    ]
    assert jobs[-1].text == "a dog beside xyz"
    assert jobs[-1].prompt == "a dog beside <V>"
    assert len({job.file for job in jobs}) == 6
    assert jobs[-1].file == "02-1-a-dog-beside.png"


def test_slug_is_a_safe_file_name():
    """No prompt can leave the set's folder or make a name too long for a file system."""
    assert slug("../../etc/<V> passwd") == "etc-passwd"
    assert len(slug("word " * 100)) <= 48
    assert slug("…") == "image"
