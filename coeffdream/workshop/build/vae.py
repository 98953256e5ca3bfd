"""The VAE: SDXL's AutoencoderKL, factor 8, 32 latent channels (64 x 64 pixels become 8 x 8 latents)."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from PIL import Image
from torch import nn

from coeffdream.workshop.build.loop import Budget, Recipe, Trained, ema_of, overlay, run_loop
from coeffdream.workshop.build.shards import SHARD, Shard, normalised, shards

LATENT_CHANNELS = 32
HELD_OUT_SHARD = 9000  # pictures that no part trains on
RECIPE = Recipe("vae", learning_rate=2e-3, batch_size=8, ema=0.998, weight_decay=0.0)
DECODER_RECIPE = Recipe("decoder", learning_rate=1e-3, batch_size=8, ema=0.998, weight_decay=0.0)


def new_vae(scaling_factor: float = 1.0) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 128),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
        scaling_factor=scaling_factor,
        force_upcast=False,
    )


@torch.no_grad()
def start_near_identity(vae: AutoencoderKL) -> None:
    """Residual branches at zero, samplers near a box filter: colours and large shapes pass from the first step on,
    which saves the first thousand steps."""
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            if module.conv_shortcut is not None:
                nn.init.orthogonal_(module.conv_shortcut.weight)
        elif isinstance(module, Downsample2D | Upsample2D):
            weight = module.conv.weight
            weight.mul_(0.5)
            here = torch.arange(len(weight))
            if isinstance(module, Downsample2D):
                weight[here, here, :2, :2] += 0.25
            else:
                weight[here, here, 1, 1] += 1.0


def edges(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def train_vae(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 12, size: int = SHARD
) -> Trained:
    torch.manual_seed(seed)
    fold_decoder(out)
    vae = new_vae().to(device)
    start_near_identity(vae)
    data = shards(out, 0, count, size)
    held = shards(out, HELD_OUT_SHARD, 1, min(size, 256))

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randint(len(data.pixels), (RECIPE.batch_size,), generator=generator)
        images = normalised(data.pixels[rows]).to(device)
        posterior = vae.encode(images).latent_dist
        mean, std = posterior.mean.float(), posterior.std.float()
        latents = mean + std * torch.randn(mean.shape, generator=generator).to(device)
        loss, error = reconstruction(vae.decode(latents).sample.float(), images)
        kl = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log()).mean()
        parts = {"mse": error, "kl": float(kl.detach()), "std": float(mean.detach().std())}
        return loss + 1e-3 * kl, parts

    def peek(step: int, ema: dict[str, torch.Tensor]) -> None:
        shown = new_vae().to(device)
        shown.load_state_dict(ema)
        report(shown, held, out / "vae", step)

    return run_loop(vae, loss_of, RECIPE, budget, out, seed, peek)


def fold_decoder(out: Path) -> None:
    """A VAE that is trained on after its decoder's second pass starts from that decoder."""
    if (out / "decoder").exists():
        overlay(out, "decoder", onto="vae")
        shutil.rmtree(out / "decoder")


def train_decoder(
    out: Path, budget: Budget, device: torch.device, seed: int = 0, count: int = 12, size: int = SHARD
) -> Trained:
    """More training for the decoder alone: the encoder, and so every latent and the UNet, stays as it is."""
    vae = new_vae().to(device)
    vae.load_state_dict(ema_of(out, "vae"))
    frozen = {name: value.clone() for name, value in vae.state_dict().items()}
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    data = shards(out, 0, count, size)
    held = shards(out, HELD_OUT_SHARD, 1, min(size, 256))

    def loss_of(step: int, generator: torch.Generator) -> tuple[torch.Tensor, dict[str, float]]:
        rows = torch.randint(len(data.pixels), (DECODER_RECIPE.batch_size,), generator=generator)
        images = normalised(data.pixels[rows]).to(device)
        with torch.no_grad():
            posterior = vae.encode(images).latent_dist
            mean, std = posterior.mean.float(), posterior.std.float()
        latents = mean + std * torch.randn(mean.shape, generator=generator).to(device)
        loss, error = reconstruction(vae.decode(latents).sample.float(), images)
        return loss, {"mse": error}

    def peek(step: int, ema: dict[str, torch.Tensor]) -> None:
        shown = new_vae().to(device)
        shown.load_state_dict(frozen | ema)
        report(shown, held, out / "decoder", step)

    return run_loop(vae, loss_of, DECODER_RECIPE, budget, out, seed, peek)


def reconstruction(decoded: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, float]:
    """L1, squared and edge error, summed; and the squared one by itself."""
    error = decoded - images
    sharp = sum((a - b).abs().mean() for a, b in zip(edges(decoded), edges(images), strict=True))
    return error.abs().mean() + error.square().mean() + sharp, float(error.detach().square().mean())


def report(vae: AutoencoderKL, held: Shard, folder: Path, step: int) -> None:
    """Prints the fidelity on held-out pictures and writes originals above their reconstructions."""
    images, decoded = _round_trip(vae, held, next(vae.parameters()).device)
    print(
        f"{folder.name} step {step}: {psnr(images, decoded):.2f} dB on {len(images)} held-out pictures",
        flush=True,
    )
    pairs = [torch.cat([images[i : i + 12], decoded[i : i + 12]]) for i in range(0, min(60, len(images)), 12)]
    sheet(torch.cat(pairs), 12).save(folder / "sheet.png")


@torch.no_grad()
def _round_trip(vae: AutoencoderKL, held: Shard, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    images = normalised(held.pixels).to(device)
    decoded = torch.cat([vae.decode(vae.encode(part).latent_dist.mode()).sample for part in images.split(32)])
    return images, decoded.clamp(-1, 1)


def psnr(first: torch.Tensor, second: torch.Tensor) -> float:
    """Mean over pictures in [-1, 1], in dB."""
    return float((10 * torch.log10(4 / F.mse_loss(first, second, reduction="none").mean((1, 2, 3)))).mean())


def sheet(images: torch.Tensor, columns: int) -> Image.Image:
    """Pictures [n, 3, h, w] in [-1, 1] as one contact sheet."""
    n, _, height, width = images.shape
    page = Image.new("RGB", (columns * width, -(-n // columns) * height))
    for index, image in enumerate(((images.clamp(-1, 1) + 1) * 127.5).round().byte().cpu()):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy())
        page.paste(tile, (index % columns * width, index // columns * height))
    return page
