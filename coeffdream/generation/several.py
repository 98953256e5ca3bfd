"""The run that holds pictures drawn with the adapters of several runs together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

from coeffdream.config import TrainConfig
from coeffdream.errors import RunError
from coeffdream.generation.adapted import hashes_of, trained
from coeffdream.generation.base_run import place_of
from coeffdream.generation.together import NO_SUM
from coeffdream.methods import takes_loras_place
from coeffdream.records.environment import now
from coeffdream.records.run import Parameters, Part, RunFolder, RunRecord


def run_of_several(
    chosen: Sequence[RunFolder], runs: Path, warn: Callable[[str], None]
) -> tuple[RunFolder, RunRecord]:
    """The run of these runs in this order, which <V1>, <V2>, ... follow; the same one each time.

    It is a run of its own so that `eval`, `report` and `compare` find its pictures, and none of its parts'
    benchmarks is overtaken by them. Nothing is written: its folder is made with its first pictures.

    Raises RunError, InUseError for a run that cannot be drawn with, and for runs that do not go together; `warn`
    hears what may come out mixed.
    """
    records = [trained(folder, folder.read()) for folder in chosen]
    parts = [
        Part(
            name=folder.path.name,
            folder=str(folder.path.resolve()),
            method=record.method,
            class_noun=record.class_noun,
            token=record.token,
            adapter=hashes_of(folder),
            concept=record.concept,
        )
        for folder, record in zip(chosen, records, strict=True)
    ]
    _check_collisions(parts, warn)
    for record in records:
        if takes_loras_place(record.method):
            raise RunError(f"{record.name} learned {record.method}, {NO_SUM}")
    first = records[0]
    for record in records[1:]:
        if record.base.architecture != first.base.architecture:
            raise RunError(
                f"{first.name} was trained on {first.base.name} and {record.name} on {record.base.name}, which are of "
                "different architectures; adapters of one picture need one"
            )
    methods = list(dict.fromkeys(part.method for part in parts))
    record = RunRecord(
        name="several",
        status="several",
        created=now(),
        method="+".join(methods),
        config=TrainConfig(base=first.base.name),
        base=first.base,
        class_noun=" and ".join(part.class_noun for part in parts),
        token=" ".join(part.token for part in parts),
        parameters=_sum_of([each.parameters for each in records]),
        parts=parts,
    )
    return place_of(record, runs)


def _check_collisions(parts: Sequence[Part], warn: Callable[[str], None]) -> None:
    for one, other in combinations(parts, 2):
        if one.folder == other.folder:
            raise RunError(f"--adapter names {one.name} twice; give it once, with the weight it is to have")
        if one.name == other.name:
            raise RunError(
                f"{one.folder} and {other.folder} have one name, by which a set tells its adapters apart; rename one "
                "of the folders"
            )
        again = f"train one of them again with another token, as in --token {_other_token(parts)}"
        if one.token == other.token and one.class_noun == other.class_noun:
            raise RunError(
                f"{one.name} and {other.name} both learned '{one.token} {one.class_noun}', so no prompt can tell them "
                f"apart; {again}"
            )
        if one.token == other.token:
            warn(
                f"{one.name} and {other.name} share the token {one.token!r}: their class nouns alone tell them apart, "
                f"and each may take from the other; {again}"
            )
        if one.class_noun == other.class_noun:
            warn(
                f"{one.name} and {other.name} are both a {one.class_noun}: what one learned of the noun changes what "
                "the other draws"
            )


def _other_token(parts: Sequence[Part]) -> str:
    return next(token for token in ("zwx", "ohwx", "sks") if token not in [part.token for part in parts])


def _sum_of(each: Sequence[Parameters]) -> Parameters:
    added = ("lora", "alpha", "trained", "percent", "lora_modules")
    total = {name: sum(getattr(one, name) for one in each) for name in added}
    return Parameters(unet=each[0].unet, alpha_layers=max(one.alpha_layers for one in each), **total)
