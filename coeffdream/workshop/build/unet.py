"""The UNet: SDXL's UNet2DConditionModel in small, taught on the VAE's latents with the towers frozen.

v-prediction on a schedule with zero terminal SNR; one caption in ten is the empty prompt, which is what guidance
starts from (so `force_zeros_for_empty_prompt` is off). SDXL's size ids are true for each picture.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from coeffdream.records.files import replacing
from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, run_loop
from coeffdream.workshop.build.shards import SHARD, draw_shard, normalised, shard
from coeffdream.workshop.build.text import PROJECTION, encoded, tokenized, trained_towers
from coeffdream.workshop.build.vae import LATENT_CHANNELS, new_vae, sheet

RECIPE = Recipe(
    "unet", learning_rate=1e-3, batch_size=32, ema=0.999, betas=(0.9, 0.99), warmup=200, save_every=180
)
SHARDS = 12
DETAIL_FROM = (
    5000  # steps; from here on half of each batch has a caption that names a pattern or something worn
)
DETAIL = re.compile(r"\b(wearing|striped|spotted|dipped|stripes|spots)\b")
STEPS_PER_SHARD = 300  # a new shard joins this often, so that training starts before all are encoded
SHOWN = (
    "a photo of sks cat",
    "a red cat in the snow",
    "an orange dog on the beach",
    "a brown teddy wearing a blue hat in a room",
    "a yellow duck in the water",
    "a gray robot in the city",
    "a pink teapot in the mountains",
    "a green backpack in the jungle",
    "a white sneaker in the desert",
    "a red car at night",
    "a blue clock on the grass",
    "a striped cat wearing red glasses on a yellow backdrop",
)


# The noise that the UNet is taught on.
NOISE = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
}


def new_scheduler() -> DDIMScheduler:
    """What the UNet is taught and looked at with: its last alpha-bar is exactly zero."""
    return DDIMScheduler(**NOISE, clip_sample=False, set_alpha_to_one=True, steps_offset=0)


def new_unet() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        block_out_channels=(128, 128),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1),
        attention_head_dim=(4, 4),  # diffusers' old name for the number of heads
        cross_attention_dim=192,
        use_linear_projection=True,
        norm_num_groups=8,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + PROJECTION,
    )


def trained_vae(out: Path) -> AutoencoderKL:
    """The EMA VAE of the newest checkpoint, frozen, its scaling factor measured on pictures of shard 0. Where the
    decoder was trained further, that decoder."""
    weights = ema_of(out, "vae")
    if (out / "decoder").exists():
        weights |= ema_of(out, "decoder")
    vae = new_vae()
    vae.load_state_dict(weights)
    vae.eval().requires_grad_(False)
    with torch.no_grad():
        latents = vae.encode(normalised(draw_shard(0, 256).pixels)).latent_dist.mode()
    return _with_scale(vae, 1 / float(latents.std()))


def _with_scale(vae: AutoencoderKL, scale: float) -> AutoencoderKL:
    vae.register_to_config(scaling_factor=round(scale, 5))
    return vae


@torch.no_grad()
def latents_of(out: Path, index: int, vae: AutoencoderKL, size: int = SHARD) -> torch.Tensor:
    """Scaled latents of shard `index`, float16 [n, 32, 8, 8], encoded once."""
    path = out / "latents" / f"{_encoder_mark(vae)}-{index:04d}-{size}.safetensors"
    if not path.exists():
        parts = []
        for pixels in shard(out, index, size).pixels.split(64):
            with torch.autocast("cpu", torch.bfloat16):
                mode = vae.encode(normalised(pixels)).latent_dist.mode()
            parts.append(mode.float() * vae.config.scaling_factor)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            save_file({"latents": torch.cat(parts).half()}, temporary)
    return load_file(path)["latents"]


def _encoder_mark(vae: AutoencoderKL) -> str:
    """Latents belong to one encoder: another one's are never taken for its own."""
    digest = hashlib.sha256()
    for part in (vae.encoder, vae.quant_conv):
        for value in part.state_dict().values():
            digest.update(value.float().numpy().tobytes())
    return digest.hexdigest()[:12]


def train_unet(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = SHARDS, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    tokenizer, small, large = trained_towers(out)
    small, large = small.to(device), large.to(device)
    vae = trained_vae(out)
    scheduler = new_scheduler()
    signal = scheduler.alphas_cumprod.to(device).sqrt()
    noise_share = (1 - scheduler.alphas_cumprod.to(device)).sqrt()
    unet = new_unet().to(device, memory_format=torch.channels_last)
    empty = tokenized(tokenizer, [""])
    # Per shard: latents, tokens [size, captions, positions], size ids, and the (picture, caption) pairs with a detail.
    cache: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def grow(wanted: int) -> None:
        while len(cache) < wanted:
            index = len(cache)
            data = shard(out, index, size)
            tokens = tokenized(tokenizer, [caption for row in data.captions for caption in row])
            tokens = tokens.reshape(size, -1, tokens.shape[1])
            detailed = torch.tensor(
                [[bool(DETAIL.search(caption)) for caption in row] for row in data.captions]
            )
            cache.append((latents_of(out, index, vae, size), tokens, data.sizes, detailed.nonzero()))

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        grow(min(count, 2 + step // STEPS_PER_SHARD))
        n = RECIPE.batch_size
        which = torch.randint(len(cache), (n,), generator=generator)
        rows = torch.randint(size, (n,), generator=generator)
        said = torch.randint(cache[0][1].shape[1], (n,), generator=generator)
        silent = torch.rand(n, generator=generator) < 0.1
        if step >= DETAIL_FROM:
            # Small things come last, and few captions ask for them.
            for item in range(0, n, 2):
                pairs = cache[which[item]][3]
                rows[item], said[item] = pairs[int(torch.randint(len(pairs), (), generator=generator))]
        picked = [
            (cache[shard_index], row) for shard_index, row in zip(which.tolist(), rows.tolist(), strict=True)
        ]
        latents = torch.stack([part[0][row].float() for part, row in picked]).to(device)
        tokens = torch.stack(
            [part[1][row, say] for (part, row), say in zip(picked, said.tolist(), strict=True)]
        )
        tokens = torch.where(silent[:, None], empty, tokens).to(device)
        sizes = torch.stack([part[2][row] for part, row in picked]).float().to(device)
        # One timestep from each of n equal strata: the same law with less variance.
        timesteps = (
            ((torch.arange(n) + torch.rand(n, generator=generator)) / n * 1000)
            .long()
            .clamp_max(999)
            .to(device)
        )
        noise = torch.randn(latents.shape, generator=generator).to(device)
        a, b = signal[timesteps].view(-1, 1, 1, 1), noise_share[timesteps].view(-1, 1, 1, 1)
        states, pooled = encoded(tokens, small, large)
        noisy = (a * latents + b * noise).contiguous(memory_format=torch.channels_last)
        predicted = unet(
            noisy, timesteps, states, added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes}
        ).sample
        return F.mse_loss(predicted.float(), a * noise - b * latents), {}

    def peek(step: int, ema: dict[str, torch.Tensor]) -> None:
        shown = new_unet()
        shown.load_state_dict({name: value.cpu() for name, value in ema.items()})
        pictures = generate(shown.eval(), trained_towers(out), vae, list(SHOWN) * 2, seed=1)
        sheet(pictures, 12).save(out / "unet" / f"sheet-{step:06d}.png")

    return run_loop(unet, loss_of, RECIPE, budget, out, seed, peek)


@torch.no_grad()
def generate(
    unet, towers, vae: AutoencoderKL, prompts: list[str], seed: int, steps: int = 20, guidance: float = 3.0
):
    """Pictures [n, 3, 64, 64] in [-1, 1]: the pipeline's own arithmetic without the pipeline, for contact sheets."""
    tokenizer, small, large = towers
    n = len(prompts)
    states, pooled = encoded(tokenized(tokenizer, [""] * n + prompts), small, large)
    sizes = torch.tensor([[64, 64, 0, 0, 64, 64]]).expand(2 * n, -1).float()
    scheduler = new_scheduler()
    scheduler.set_timesteps(steps)
    latents = torch.randn((n, LATENT_CHANNELS, 8, 8), generator=torch.Generator().manual_seed(seed))
    for timestep in scheduler.timesteps:
        both = unet(
            torch.cat([latents] * 2),
            timestep,
            states,
            added_cond_kwargs={"text_embeds": pooled, "time_ids": sizes},
        ).sample
        free, asked = both.chunk(2)
        latents = scheduler.step(free + guidance * (asked - free), timestep, latents).prev_sample
    return vae.decode(latents / vae.config.scaling_factor).sample.clamp(-1, 1)
