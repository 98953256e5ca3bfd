"""`python -m coeffdream.workshop.judge`: a second opinion on the base, or with --runs on what was learned."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from coeffdream.errors import UserError
from coeffdream.records.files import write_json
from coeffdream.toybox.paths import WEIGHTS
from coeffdream.toybox.world.grammar import read_caption
from coeffdream.workshop.build.loop import Budget
from coeffdream.workshop.build.vae import sheet
from coeffdream.workshop.judge.base import fulfilled, grammar_captions, painted
from coeffdream.workshop.judge.classifier import own_accuracy, readings, train_judge, trained_judge
from coeffdream.workshop.judge.personal import as_json, as_text, find_runs, judge_runs
from coeffdream.workshop.judge.sweeps import as_text as sweeps_as_text
from coeffdream.workshop.judge.sweeps import judge_sweeps


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m coeffdream.workshop.judge", description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="the diffusers folder to judge")
    parser.add_argument("--count", type=int, default=500, help="captions to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=Path, help="judge these drawn and scored runs of concepts/ instead")
    parser.add_argument("--sweeps", type=Path, help="judge what the sweeps of these runs keep instead")
    parser.add_argument("--steps", type=int, default=1500, help="of the judge's own training, done once")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--out", type=Path, default=Path(".coeffdream/toybox-build"), help="where the judge's training lies"
    )
    options = parser.parse_args()
    try:
        # Before the minutes of the judge's training: a wrong folder is told at once.
        runs = None if options.runs is None else find_runs(options.runs)
    except UserError as problem:
        parser.exit(2, f"error: {problem}\n")
    if not (options.out / "judge" / "summary.json").exists():
        train_judge(options.out, Budget(steps=options.steps), torch.device(options.device))
    judge = trained_judge(options.out)
    accuracy = own_accuracy(judge, options.out)
    print(
        "the judge itself on 512 fresh renders:",
        " ".join(f"{name} {value:.1%}" for name, value in accuracy.items()),
    )
    if options.sweeps is not None:
        try:
            print(sweeps_as_text(judge_sweeps(judge, options.sweeps)))
        except UserError as problem:
            parser.exit(2, f"error: {problem}\n")
        return
    if runs is not None:
        verdicts = judge_runs(judge, runs)
        print(as_text(verdicts))
        write_json(options.out / "judge" / "runs.json", as_json(verdicts))
        return
    captions = grammar_captions(options.count)
    pictures = painted(options.weights, captions, options.seed, options.device)
    sheet(pictures[:100], 10).save(options.out / "judge" / "sheet.png")
    counts = fulfilled(readings(judge, pictures), [read_caption(caption) for caption in captions])
    for kind, (right, asked) in counts.items():
        print(f"{kind:12} {right:4} of {asked:4} asked  {right / max(1, asked):.1%}")
    write_json(
        options.out / "judge" / "result.json", {"captions": options.count, "seed": options.seed, **counts}
    )


if __name__ == "__main__":
    main()
