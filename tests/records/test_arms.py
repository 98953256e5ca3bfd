"""The arms of a study: what the file says, what it may not say, and what `train` is given."""

from __future__ import annotations

import pytest

from coeffdream.errors import ConfigError
from coeffdream.records.arms import options_of, read_arms
from coeffdream.records.study_plan import Study

TEXT = """
holdout = 2

[lora]

[lora-rank-4]
method = "lora"
rank = 4

[mixed-fast]
method = "coeff-lora"
coeff-lr = 0.01
alpha-on = "cross"
min-snr = 5.0
against = "lora-rank-4"
"""


@pytest.fixture
def arms(tmp_path):
    def made(text):
        file = tmp_path / "arms.toml"
        file.write_text(text)
        return read_arms(file)

    return made


def test_each_table_is_an_arm(arms):
    """In the order of the file; what stands above them is of all; one without a method is called like it."""
    found = arms(TEXT.replace("holdout = 2", "rank = 3"))
    assert list(found) == ["lora", "lora-rank-4", "mixed-fast"]
    assert found["lora"] == {"method": "lora", "rank": 3}
    assert found["lora-rank-4"] == {"method": "lora", "rank": 4}
    assert found["mixed-fast"]["coeff_lr"] == 0.01


def test_an_arm_is_typed_as_a_person_would(arms):
    """Options by their flags, a bool by its flag or the opposite, and what it is compared with left out."""
    found = arms(TEXT.replace("holdout = 2", "gradient-checkpointing = false"))
    words = options_of(found["mixed-fast"])
    assert words[:2] == ["--method", "coeff-lora"]
    assert "--no-gradient-checkpointing" in words
    assert words[words.index("--coeff-lr") + 1] == "0.01"
    assert "lora-rank-4" not in words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", r"has no arm; write for example \[lora-rank-4\]"),
        ("rank = 4", "has no arm"),
        ("[Fast]\nrank = 4", "arm 'Fast': --method 'Fast' is no method; write coeff"),
        ("[lora]\nrnak = 4", "arm 'lora': .*'rnak'.*rank"),
        ("[lora]\nrank = 'four'", "arm 'lora': .*--rank"),
        ("[lora]\nrank = -4", "arm 'lora': .*--rank -4"),
        ("[lora]\nseed = 4", "arm 'lora' sets --seed, which the study decides"),
        ("[lora]\nagainst = 'dora'", "arm 'lora': against 'dora', which is no other arm"),
        ("[lora]\nagainst = 'lora'", "which is no other arm"),
        ("['a/b']\nmethod = 'lora'", "arm 'a/b' must be named by letters"),
        ("[lora-0.5]\nmethod = 'lora'", r"arm 'lora-0.5' has a dot .* quotes: \[\"lora-0.5\"\]"),
        ("[lora", "is not valid TOML"),
    ],
)
def test_what_is_no_arm(arms, text, says):
    """Wrong by hand, it is named before the first hour is spent."""
    with pytest.raises(ConfigError, match=says) as caught:
        arms(text)
    assert "arms.toml" in str(caught.value)


def test_the_arm_stands_over_the_study(arms):
    """--lr of the study goes for the arms that have none of their own."""
    described = arms("[lora]\n[lora-slow]\nmethod = 'lora'\nlr = 0.1")
    plan = Study(["cat"], list(described), described, lr=0.5)
    assert [plan.options_of(arm)["lr"] for arm in plan.methods] == [0.5, 0.1]


def test_a_plan_of_unknown_arms_is_none(arms):
    """study.json changed by hand names an arm that nothing describes."""
    with pytest.raises(ConfigError, match="'lora-fast' is neither a method nor one of the arms"):
        Study(["cat"], ["lora", "lora-fast"]).check()
