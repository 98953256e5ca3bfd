"""The arms of a study: methods with training options of their own, under names of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coeffdream.config import flag_of, train_option
from coeffdream.errors import ConfigError, quoted, together
from coeffdream.limits import RUN_NAME
from coeffdream.methods import method_problems
from coeffdream.records.settings import read_toml
from coeffdream.resolve import resolve

# Of each arm: {option: value}, "method" among them.
Arms = Mapping[str, Mapping[str, Any]]

AGAINST = "against"
# What the study itself decides for every cell.
OF_THE_STUDY = ("concept", "class_noun", "base", "base_config", "revision", "seed", "name", "runs", "device")
_EXAMPLE = "write for example [lora-rank-4] and below it rank = 4"


def read_arms(file: Path) -> dict[str, dict[str, Any]]:
    """The arms that a TOML file describes, in its order: a table each, and above them options of all of them.

    An arm has the options of a training, by their long names, and may say `against = "ARM"`: the one that it is
    compared with. One without `method` is called like its method.

    Raises ConfigError with everything that is wrong.
    """
    read = read_toml(file, ConfigError, _EXAMPLE, option="--arms")
    tables = {name: value for name, value in read.items() if isinstance(value, dict)}
    common = {name: value for name, value in read.items() if name not in tables}
    arms = {
        name: {_field(key): value for key, value in {"method": name, **common, **table}.items()}
        for name, table in tables.items()
    }
    problems = [] if arms else [f"--arms {file} has no arm; {_EXAMPLE}"]
    for name in arms:
        problems += check_arm(name, arms)
    if problems:
        raise ConfigError(together(f"{file} holds no arms of a study", problems))
    return arms


def check_arm(name: str, arms: Arms) -> list[str]:
    """What is wrong with one of these arms, one line each."""
    arm = arms[name]
    if parted := [f"{name}.{key}" for key, value in arm.items() if isinstance(value, dict)]:
        return [f'arm {quoted(parted[0])} has a dot in its name, which TOML wants in quotes: ["{parted[0]}"]']
    found = []
    if not RUN_NAME.fullmatch(name):
        found.append(f"arm {quoted(name)} must be named by letters, digits, '.', '-' and '_'")
    if problems := method_problems(str(arm.get("method")), []):
        found.append(f"arm {quoted(name)}: {problems[0]}")
    against = arm.get(AGAINST, name)
    if AGAINST in arm and (against == name or against not in arms):
        found.append(f"arm {quoted(name)}: against {quoted(str(against))}, which is no other arm")
    taken = [flag_of(option) for option in arm if option in OF_THE_STUDY]
    found += [f"arm {quoted(name)} sets {flag}, which the study decides for every cell" for flag in taken]
    if not found:
        try:
            resolve({}, {option: value for option, value in arm.items() if option != AGAINST})
        except ConfigError as problem:
            found.append(f"arm {quoted(name)}: {problem}")
    return found


def options_of(arm: Mapping[str, Any]) -> list[str]:
    """The arm as `train` takes it on its command line."""
    given = [train_option(name, value) for name, value in arm.items() if name != AGAINST]
    return [word for words in given for word in words]


def _field(key: str) -> str:
    name = key.replace("-", "_")
    return "class_noun" if name == "class" else name
