"""`coeffdream doctor`: what is here, and what is missing."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from coeffdream.cli.terminal import loading, show, show_json
from coeffdream.errors import ConfigError


def command(
    attention: Annotated[
        bool,
        typer.Option(
            "--attention", help="Which way to mixed attention is right and fastest here, by SDXL's layers."
        ),
    ] = False,
    renew: Annotated[bool, typer.Option("--renew", help="With --attention: measure it again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Say what machine, device, versions, caches and base models were found, and what is missing."""
    if renew and not attention:
        raise ConfigError("--renew measures attention again; write --attention --renew")
    if attention:
        from coeffdream.cli.doctor_attention import tell

        tell(renew=renew, as_json=as_json)
        return
    with loading("torch"):
        found = examine()
    if as_json:
        show_json(found)
        return

    from rich.table import Table

    from coeffdream.cli.next_step import tell_next

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    machine, device = found["machine"], found["device"]
    table.add_row(
        "machine", f"{machine['system']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB memory"
    )
    gpu = (
        f"{device['gpu']}, {device['gpu_memory_gb']:.0f} GB"
        if device["gpu"]
        else "no GPU: the toybox runs well, SDXL slowly"
    )
    table.add_row("device", f"{device['name']} ({gpu}); base in {device['precision']}")
    table.add_row("versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    table.add_row("cache", f"{found['cache']['folder']} ({found['cache']['megabytes']:.1f} MB)")
    for name, state in {**found["bases"], **found["scorers"]}.items():
        mark = "[green]here[/]" if state["here"] else "[yellow]missing[/]"
        table.add_row(name, f"{mark}  {state['note']}")
    show(table)
    tell_next("train", "--concept", "cat", "--base", "sdxl" if found["device"]["gpu"] else "toybox")


def examine() -> dict[str, Any]:
    """Everything `doctor` prints, as plain values."""
    import psutil
    import torch

    from coeffdream.backbones.device import pick_device, pick_dtype
    from coeffdream.records.environment import cache_folder, machine, versions
    from coeffdream.toybox.paths import CLIP_SCORER, DINO_SCORER, WEIGHTS

    device = pick_device("auto")
    cuda = device.type == "cuda"
    cache = cache_folder()
    size = sum(file.stat().st_size for file in cache.rglob("*") if file.is_file()) if cache.exists() else 0
    return {
        "machine": {**machine(), "memory_gb": psutil.virtual_memory().total / 2**30},
        "device": {
            "name": str(device),
            "gpu": torch.cuda.get_device_name(device) if cuda else None,
            "gpu_memory_gb": torch.cuda.get_device_properties(device).total_memory / 2**30 if cuda else 0.0,
            "precision": str(pick_dtype("auto", device)).removeprefix("torch."),
        },
        "versions": versions(),
        "cache": {"folder": str(cache), "megabytes": size / 1e6},
        "bases": {
            "base toybox": _embedded(WEIGHTS / "model_index.json"),
            "base sdxl": _on_the_hub("sdxl", pick_dtype("auto", device)),
        },
        "scorers": {
            "scorers of the toybox": _embedded(
                CLIP_SCORER / "open_clip_config.json", DINO_SCORER / "config.json"
            ),
            "CLIP ViT-B/32": _cached("timm/vit_base_patch32_clip_224.openai", "open_clip_model.safetensors"),
            "DINOv2 base": _cached("facebook/dinov2-base", "model.safetensors"),
        },
    }


def _embedded(*files: Any) -> dict[str, Any]:
    here = all(file.is_file() for file in files)
    return {
        "here": here,
        "note": "embedded" if here else "this installation lacks it; install coeffdream again",
    }


def _on_the_hub(name: str, dtype: Any) -> dict[str, Any]:
    """Whether a base on the hub is in the cache, whole and in any precision; else what of it would be fetched."""
    from rich.filesize import decimal

    from coeffdream.backbones import hub
    from coeffdream.backbones.base import find_base
    from coeffdream.backbones.source import cached, to_fetch
    from coeffdream.errors import BaseModelError

    base = find_base(name)
    try:
        source = cached(base)
        if source is not None and source.weights_here(dtype):
            return {"here": True, "note": str(source.folder)}
        there = hub.listing(base.source, base.revision)
        missing = there.missing(to_fetch(base, there, dtype))
    except BaseModelError as error:
        return {"here": False, "note": str(error)}
    note = (
        f"{decimal(there.size_of(missing))} in {len(missing)} files, fetched at the first train into "
        f"{hub.cache_place()} ({decimal(hub.free_disk())} free); or give --base PATH"
    )
    return {"here": False, "note": note}


def _cached(repository: str, file: str) -> dict[str, Any]:
    from huggingface_hub import try_to_load_from_cache
    from rich.filesize import decimal

    from coeffdream.backbones import hub
    from coeffdream.errors import BaseModelError

    found = try_to_load_from_cache(repository, file)
    if isinstance(found, str):
        return {"here": True, "note": found}
    try:
        size = decimal(hub.listing(repository, None).sizes[file])
    except (BaseModelError, KeyError):
        size = "how much only the hub knows, which does not answer"
    return {
        "here": False,
        "note": f"{repository} is not in the hub's cache; fetched at the first eval ({size})",
    }
