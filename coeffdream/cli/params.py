"""`coeffdream params`: how many parameters each method trains, from shapes alone."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_args

import typer

from coeffdream.cli.methods import check_methods
from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import loading, say, show, show_json
from coeffdream.config import Method, TrainConfig
from coeffdream.errors import UserError
from coeffdream.methods import LOW_RANK, OURS
from coeffdream.resolve import resolve


@with_config_options(
    TrainConfig,
    (
        "base",
        "base_config",
        "revision",
        "preset",
        "method_option",
        "rank",
        "lora_targets",
        "alpha_on",
        "alpha_layers",
    ),
)
def command(
    typed: dict[str, Any],
    method: Annotated[
        str | None,
        typer.Option(
            help="Only this method; 'all': every one of PEFT's, too, with PEFT's own defaults.",
            show_default="the paper's",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Count the trained parameters of methods on a base's architecture, without its weights."""
    everything = method == "all"
    config = resolve({**typed, **({"method": method} if method and not everything else {})}).config
    check_methods([config])
    base, preset = config.base, config.preset

    from coeffdream.backbones.base import base_asked

    chosen = base_asked(vars(config))
    with loading("torch", "diffusers"):
        from coeffdream.adapters.count import count_parameters
        from coeffdream.backbones.load import meta_unet

        unet = meta_unet(chosen)
        methods = [method] if method and not everything else list(get_args(Method))
        if everything:
            from coeffdream.adapters.peft_types import method_names

            methods += [*OURS, *(name for name in method_names() if name not in LOW_RANK)]
    counts, refused = [], {}
    for each in methods:
        try:
            counts.append(count_parameters(unet, config, each))
        except UserError as why:
            if not everything:
                raise
            refused[each] = str(why)
    if as_json:
        shown = [
            {**dataclasses.asdict(each), "trained": each.trained, "percent": each.percent} for each in counts
        ]
        show_json(
            {"base": base, "preset": preset, "rank": config.rank, "methods": shown, "not_counted": refused}
        )
        return

    from coeffdream.cli.next_step import tell_next
    from coeffdream.records.commands import options
    from coeffdream.tables import table

    beside = "low-rank" if set(methods) <= set(get_args(Method)) else "beside alpha"
    shares = table(f"{base}, preset {preset}; UNet: {counts[0].unet:,}")
    for column in ("method", beside, "alpha", "trained", "share"):
        shares.add_column(column, justify="left" if column == "method" else "right")
    for each in counts:
        shares.add_row(
            each.method, f"{each.low_rank:,}", f"{each.alpha:,}", f"{each.trained:,}", f"{each.percent:.4f} %"
        )
    show(shares)
    for name, reason in refused.items():
        say(f"{name}: {reason}")
    fullest = max(counts, key=lambda each: each.trained)
    layers = table(f"{fullest.method} by part of the UNet")
    for column in ("part", "attention", "layers", beside, "alpha"):
        layers.add_column(column, justify="left" if column in ("part", "attention") else "right")
    order = ("down", "mid", "up")  # as the signal passes, not as the modules are registered
    for name, group in sorted(fullest.groups.items(), key=lambda item: order.index(item[0].split("_")[0])):
        part, kind = name.rsplit(" ", 1)
        layers.add_row(part, kind, *(f"{group[key]:,}" for key in ("layers", "low_rank", "alpha")))
    show(layers)
    tell_next("train", "--concept", "cat", *options(base=base), "--dry-run")
