"""`coeffdream params`: how many parameters each method trains, from shapes alone."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, get_args

import typer

from coeffdream.cli.options import with_config_options
from coeffdream.cli.terminal import loading, show, show_json
from coeffdream.config import Method, TrainConfig
from coeffdream.resolve import resolve


@with_config_options(
    TrainConfig,
    ("base", "base_config", "revision", "preset", "rank", "lora_targets", "alpha_on", "alpha_layers"),
)
def command(
    typed: dict[str, Any],
    method: Annotated[Method | None, typer.Option(help="Only this method.", show_default="all")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Count the trained parameters of every method on a base's architecture, without its weights."""
    config = resolve(typed).config
    base, preset = config.base, config.preset

    from coeffdream.backbones.base import base_asked

    chosen = base_asked(vars(config))
    with loading("torch", "diffusers"):
        from coeffdream.adapters.count import count_parameters
        from coeffdream.backbones.load import meta_unet

        unet = meta_unet(chosen)
    methods = [method] if method else list(get_args(Method))
    counts = [count_parameters(unet, config, each) for each in methods]
    if as_json:
        shown = [
            {**dataclasses.asdict(each), "trained": each.trained, "percent": each.percent} for each in counts
        ]
        show_json({"base": base, "preset": preset, "rank": config.rank, "methods": shown})
        return

    from coeffdream.cli.next_step import tell_next
    from coeffdream.records.commands import options
    from coeffdream.tables import table

    shares = table(f"{base}, preset {preset}; UNet: {counts[0].unet:,}")
    for column in ("method", "low-rank", "alpha", "trained", "share"):
        shares.add_column(column, justify="left" if column == "method" else "right")
    for each in counts:
        shares.add_row(
            each.method, f"{each.low_rank:,}", f"{each.alpha:,}", f"{each.trained:,}", f"{each.percent:.4f} %"
        )
    show(shares)
    fullest = max(counts, key=lambda each: each.trained)
    layers = table(f"{fullest.method} by part of the UNet")
    for column in ("part", "attention", "layers", "low-rank", "alpha"):
        layers.add_column(column, justify="left" if column in ("part", "attention") else "right")
    order = ("down", "mid", "up")  # as the signal passes, not as the modules are registered
    for name, group in sorted(fullest.groups.items(), key=lambda item: order.index(item[0].split("_")[0])):
        part, kind = name.rsplit(" ", 1)
        layers.add_row(part, kind, *(f"{group[key]:,}" for key in ("layers", "low_rank", "alpha")))
    show(layers)
    tell_next("train", "--concept", "cat", *options(base=base), "--dry-run")
