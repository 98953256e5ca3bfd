"""Every phase's forecast, held against what PyTorch's CPU allocator gave out while it really ran."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from coeffdream.adapters.install import install, spec_for
from coeffdream.attention.checkpointing import checkpoint_keeping_attention
from coeffdream.backbones.base import find_base
from coeffdream.backbones.encode import Conditioning, LatentPosterior, decode_latents, encode_image
from coeffdream.backbones.footprint import weight_bytes
from coeffdream.backbones.frozen import check_form, freeze_linears, keep_linears_away
from coeffdream.backbones.load import PARTS, Components, load_components
from coeffdream.backbones.sampling import Sampling, draw
from coeffdream.backbones.source import SDXL
from coeffdream.diffusion.noise import normal
from coeffdream.generation.forecast import forecast_drawing
from coeffdream.generation.request import GenerateRequest
from coeffdream.resolve import resolve
from coeffdream.training.encoded import TrainingSample
from coeffdream.training.forecast import Forecast
from coeffdream.training.optimizer import new_optimizer
from coeffdream.training.samples import TEMPLATES
from coeffdream.training.step import Draw, losses

CPU = torch.device("cpu")
WITHIN = 0.15


def allocated(work: Callable[[], Any]) -> int:
    """The most bytes that were given out at once during `work`, beside what was there before."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        work()
    events, waiting = [], list(profiler.profiler.kineto_results.experimental_event_tree())
    while waiting:
        event = waiting.pop()
        waiting += event.children
        kind, fields = event.typed
        if kind.name == "Allocation":
            events.append((event.start_time_ns, fields.alloc_size))
    return int(max(np.cumsum([size for _, size in sorted(events, key=lambda each: each[0])])))


def drawing(*given: Any) -> int:
    """`allocated` of `draw` without the decoding at its end."""
    with patch("coeffdream.backbones.sampling.decode_latents", lambda components, latents: []):
        return allocated(lambda: draw(*given))


def weights(*parts: torch.nn.Module) -> int:
    return sum(weight_bytes(part) for part in parts)


def measured(components: Components, config: Any, encode: Callable[[], Any] | None) -> dict[str, int]:
    """The peak of each phase, by the calls of a real run. encode: a prompt, where there is a tokenizer."""
    unet, vae, size = components.unet, components.vae, config.resolution
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8))
    all_parts = weights(unet, vae, components.text_encoder, components.text_encoder_2)
    posterior = encode_image(components, photo)
    encoded = allocated(lambda: encode_image(components, photo))
    tokens, wide = components.text_encoder.config.max_position_embeddings, unet.config.cross_attention_dim
    pooled = torch.zeros(
        unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
    )
    embeds = torch.zeros(tokens, wide)
    conditioning = Conditioning(embeds, pooled, embeds, pooled)
    one, sampling = [conditioning], Sampling(1, 3.0, size)
    latents = posterior.mean[None]
    decoded = allocated(lambda: decode_latents(components, latents))
    drawn = drawing(components, one, [0], sampling)
    found = {
        "encode": all_parts + max(encoded, allocated(encode) if encode else 0),
        "prior pictures": all_parts + max(drawn, decoded, encoded),
    }
    adapter = install(unet, spec_for(config, unet))
    optimizer = new_optimizer(adapter, config)
    if config.gradient_checkpointing:
        unet.enable_gradient_checkpointing(checkpoint_keeping_attention)
    noise = normal(tuple(posterior.mean.shape), 0, "noise")
    sample = TrainingSample(
        "photo", LatentPosterior(latents[0], latents[0]), (size, size, 0, 0, size, size), conditioning
    )
    batch = [Draw(sample, 500, latents[0], noise, 1.0)] * (2 * config.batch_size)

    def step() -> None:
        unet.train()
        losses(unet, batch, unet.device, unet.dtype).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    step()  # after which Adam has its moments
    moments = sum(v.nbytes for state in optimizer.state.values() for v in state.values())
    trained = weights(unet, vae) + moments
    at_once = min(components.base.settings.sampling_batch_size, len(TEMPLATES))
    drawn = drawing(components, one * at_once, [0] * at_once, sampling)
    found["draw"], found["decode"] = trained - moments + drawn, trained - moments + decoded
    found["sample pictures"] = trained + max(drawn, decoded)
    found["step"] = trained + allocated(step)
    return found


def forecast(base: Any, config: Any) -> dict[str, int]:
    training = Forecast(base, config).phases(config)
    request = GenerateRequest(
        size=config.resolution,
        batch_size=min(base.settings.sampling_batch_size, len(TEMPLATES)),
        device="cpu",
    )
    drawing = forecast_drawing(request, base, config).phases
    return {each.name: each.total for each in training} | {
        each.name: each.total for each in drawing if each.name in ("draw", "decode")
    }


def check(wanted: dict[str, int], found: dict[str, int]) -> None:
    for name, size in found.items():
        print(
            f"{name:<16} forecast {wanted[name] / 2**20:9.2f}  measured {size / 2**20:9.2f} MiB  {wanted[name] / size:.3f}"
        )
    assert wanted.keys() == found.keys()
    for name, size in found.items():
        assert wanted[name] == pytest.approx(size, rel=WITHIN), name


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_toybox(checkpointing):
    """All phases, with a prior, whose step is as large as it becomes."""
    from coeffdream.backbones.encode import encode_prompt

    base = find_base("toybox")
    given = {"device": "cpu", "prior": True, "gradient_checkpointing": checkpointing}
    config = resolve(given, None, base.settings.training).config
    loaded: list[Components] = []
    load = allocated(lambda: loaded.append(load_components(base, device=CPU, dtype=torch.float32)))
    [components] = loaded
    found = measured(components, config, lambda: encode_prompt(components, "a photo of sks cat"))
    check(forecast(base, config), {"load": load, **found})


def test_the_toybox_in_fewer_bits():
    """Loading too, which begins with the whole UNet."""
    base, form = find_base("toybox"), "nf4"
    given = {"device": "cpu", "prior": True, "base_precision": form}
    config = resolve(given, None, base.settings.training).config
    check_form(form, CPU)
    loaded: list[Components] = []
    load = allocated(
        lambda: loaded.append(load_components(base, device=CPU, dtype=torch.float32, base_precision=form))
    )
    [components] = loaded
    found = measured(components, config, None)
    check(forecast(base, config), {"load": load, **found})


def test_the_toybox_with_blocks_away():
    """As on a card, but that on a CPU what is away lies in the same memory, where it is not counted."""
    base = find_base("toybox")
    given = {"device": "cpu", "prior": True, "offload": "blocks"}
    config = resolve(given, None, base.settings.training).config
    components = load_components(base, device=CPU, dtype=torch.float32)
    keep_linears_away(components.unet)
    found = measured(components, config, None)
    check({"step": Forecast(base, config).step(config).total}, {"step": found["step"]})


@pytest.mark.slow
@pytest.mark.parametrize(("form", "away"), [("int8", False), ("nf4", False), ("nf4", True)])
def test_sdxl_of_half_its_width_in_fewer_bits(form, away, tmp_path):
    """The same topology with checkpointing: its step and its drawing."""
    base = find_base(str(half_width(tmp_path)))
    given = {"device": "cpu", "resolution": 256, "gradient_checkpointing": True, "precision": "fp32"}
    given |= {"base_precision": form, "prior": True, "offload": "blocks" if away else "none"}
    config = resolve(given, None, base.settings.training).config
    check_form(form, CPU)
    components = of_random_weights(base)
    freeze_linears(components.unet, form, CPU)
    if away:
        keep_linears_away(components.unet)
    found, wanted = measured(components, config, None), forecast(base, config)
    names = ("step",) if away else found.keys()  # on a CPU models do not take turns
    check({name: wanted[name] for name in names}, {name: found[name] for name in names})


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [True, False])
def test_sdxl_of_half_its_width(checkpointing, tmp_path):
    """SDXL's own topology at half the channels and 256 pixels, random weights in float32: about 4 GB, minutes."""
    base = find_base(str(half_width(tmp_path)))
    given = {
        "device": "cpu",
        "prior": True,
        "resolution": 256,
        "gradient_checkpointing": checkpointing,
        "precision": "fp32",
    }
    config = resolve(given, None, base.settings.training).config
    wanted = forecast(base, config)
    del wanted["load"]  # there is nothing on the disk
    check(wanted, measured(of_random_weights(base), config, None))


def half_width(folder: Path) -> Path:
    """SDXL's configs with all widths halved; no weights."""
    changes = {
        "unet": {
            "block_out_channels": [160, 320, 640],
            "cross_attention_dim": 1024,
            "projection_class_embeddings_input_dim": 640 + 6 * 256,
        },
        "vae": {"block_out_channels": [64, 128, 256, 256]},
        "text_encoder": {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6},
        "text_encoder_2": {
            "hidden_size": 640,
            "intermediate_size": 2560,
            "num_attention_heads": 10,
            "projection_dim": 640,
        },
        "scheduler": {},
    }
    for part, changed in changes.items():
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part).mkdir()
        (folder / part / name).write_text(json.dumps(json.loads((SDXL / part / name).read_text()) | changed))
    (folder / "model_index.json").write_text((SDXL / "model_index.json").read_text())
    return folder


def of_random_weights(base: Any) -> Components:
    from coeffdream.backbones.load import meta_parts
    from coeffdream.backbones.source import look_at

    parts: dict[str, Any] = dict.fromkeys(PARTS)
    for name, part in meta_parts(base, torch.float32).items():
        parts[name] = part.to_empty(device="cpu")
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.normal_(std=0.02)
    parts["scheduler"] = look_at(base).scheduler
    return Components(
        base=base,
        **parts,
        force_zeros_for_empty_prompt=True,
        device=CPU,
        architecture="",
        sketch=[],
        parameters=0,
    )
