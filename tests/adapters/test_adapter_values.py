"""What an adapter file says inside: keys, metadata and values that do not fit are refused, with the UNet left as it was."""

from __future__ import annotations

import json
import tracemalloc

import pytest
import torch
from safetensors.torch import save_file

from coeffdream.adapters.files import load_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.config import TrainConfig
from coeffdream.errors import AdapterError
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import open_tensors

LORA_KEY = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q.lora_B.weight"
ALPHA_KEY = "mid_block.attentions.0.transformer_blocks.0.attn1.alpha"


def swap_shape(tensors):
    tensors[LORA_KEY] = tensors[LORA_KEY].T.contiguous()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(LORA_KEY), "attn2.to_q.lora_B.weight is missing"),
        (
            lambda tensors: tensors.update({"unet.conv_in.lora_A.weight": torch.zeros(2)}),
            "conv_in.lora_A.weight is not",
        ),
        (swap_shape, "attn2.to_q.lora_B.weight has shape [2, 32] where [32, 2] is needed"),
        (
            lambda tensors: tensors[LORA_KEY].fill_(torch.nan),
            "lora_B.weight holds values that are not finite",
        ),
    ],
    ids=["missing", "extra", "mis-shaped", "NaN"],
)
def test_a_lora_with_keys_that_do_not_fit(saved, refuse, change, said, rewrite):
    """Each is named; diffusers itself would skip some of them in silence."""
    folder = saved("lora")
    rewrite(folder / LORA_FILE, tensors=change)
    refuse(folder, str(folder), "does not fit", said)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop(ALPHA_KEY), f"{ALPHA_KEY} is missing"),
        (lambda tensors: tensors.update({"conv_in.alpha": torch.zeros(4, 4)}), "conv_in.alpha is not part"),
        (lambda tensors: tensors.update({ALPHA_KEY: torch.zeros(5, 5)}), f"{ALPHA_KEY} has shape [5, 5]"),
        (
            lambda tensors: tensors[ALPHA_KEY].fill_(torch.inf),
            f"{ALPHA_KEY} holds values that are not finite",
        ),
    ],
    ids=["missing", "extra", "mis-shaped", "infinite"],
)
def test_coefficients_with_keys_that_do_not_fit(saved, refuse, change, said, rewrite):
    """The metadata says which layers have an alpha, so that a missing one is noticed."""
    folder = saved("coeff")
    rewrite(folder / COEFF_FILE, tensors=change)
    refuse(folder, said)


@pytest.mark.parametrize(("broken", "end"), [(5, " not finite"), (8, "; and 3 more")])
def test_all_keys_that_do_not_fit_are_counted(saved, unet, architecture, broken, end, rewrite):
    """The first five by name, the rest by number, and no rest of none."""
    folder = saved("coeff")
    rewrite(
        folder / COEFF_FILE,
        tensors=lambda tensors: [tensor.fill_(torch.nan) for tensor in list(tensors.values())[:broken]],
    )
    with pytest.raises(AdapterError, match=rf"{end}$") as caught:
        load_adapter(unet, folder, architecture)
    assert str(caught.value).count("not finite") == 5


@pytest.mark.parametrize(
    ("file", "key", "value", "said"),
    [
        (LORA_FILE, "coeffdream.format", "3", "has coeffdream format 3 where this coeffdream reads 1 and 2"),
        (LORA_FILE, "coeffdream.format", None, "has coeffdream format unknown"),
        (COEFF_FILE, "coeffdream.format", None, "has coeffdream format unknown"),
        (COEFF_FILE, "coeffdream.architecture", None, "was trained on another architecture (unknown"),
        (COEFF_FILE, "coeffdream.parametrisation", "softmax", "is damaged"),
        (COEFF_FILE, "coeffdream.dropout", "1.5", "is damaged"),
        (COEFF_FILE, "coeffdream.dropout", "some", "is damaged"),
        (COEFF_FILE, "coeffdream.dropout", None, "is damaged"),
        (COEFF_FILE, "coeffdream.heads", "20", "is damaged"),
        (COEFF_FILE, "coeffdream.heads", '{"conv_in": 4}', "no fitting conv_in"),
    ],
)
def test_metadata_is_not_trusted(saved, refuse, file, key, value, said, rewrite):
    """A stripped or edited header is refused rather than filled in by guesses."""
    folder = saved("lora" if file == LORA_FILE else "coeff")
    rewrite(
        folder / file, metadata=lambda meta: meta.pop(key) if value is None else meta.update({key: value})
    )
    refuse(folder, said)


@pytest.mark.parametrize(
    "loader",
    ["[1]", "{", "{}", '{"unet.r": 2, "unet.use_dora": "no", "unet.target_modules": []}']
    + [
        f'{{"unet.r": {rank}, "unet.use_dora": false, "unet.target_modules": []}}'
        for rank in (1 << 40, 0, "2.0")
    ],
)
def test_the_loaders_metadata_is_not_trusted_either(saved, refuse, loader, rewrite):
    """A rank of a million million must not be allocated."""
    folder = saved("lora")
    rewrite(folder / LORA_FILE, metadata=lambda meta: meta.update({"lora_adapter_metadata": loader}))
    refuse(folder, "the metadata of the adapter in", "is damaged")


@pytest.mark.parametrize("dtype", [torch.int32, torch.bfloat16, torch.float64], ids=str)
def test_values_of_another_kind(saved, refuse, dtype, read_file, older):
    """Learned values are float32; integers that were once fractions draw nothing that was learned."""
    folder = older(saved("lora"))
    tensors, meta = read_file(folder / LORA_FILE)
    save_file({name: tensor.to(dtype) for name, tensor in tensors.items()}, folder / LORA_FILE, meta)
    refuse(folder, "where F32 is needed")


@pytest.mark.parametrize(
    ("method", "key", "change", "said"),
    [
        ("lora", LORA_KEY, lambda value: value.fill_(1e37), "holds 1e+37, far above any learned value"),
        ("lora", LORA_KEY, lambda value: value.mul_(1e3), "BA has the norm"),
        (
            "coeff",
            ALPHA_KEY,
            lambda value: value.fill_(50),
            "alpha' - I has the norm 200, more than 10 times",
        ),
        (
            "dora",
            LORA_KEY.replace("lora_B.weight", "lora_magnitude_vector"),
            lambda value: value.mul_(1e3),
            "the magnitude has the norm",
        ),
    ],
)
def test_values_beyond_any_use(saved, refuse, method, key, change, said, rewrite):
    """They are finite, and draw noise."""
    folder = saved(method)
    rewrite(
        folder / (COEFF_FILE if method == "coeff" else LORA_FILE),
        tensors=lambda tensors: change(tensors[key]),
    )
    refuse(folder, "does not fit", said)


def test_a_file_of_nothing_fills_no_memory(saved, refuse):
    """3 GiB of zeros that call themselves a LoRA of rank 10 million take three lines of header and no memory."""
    folder = saved("lora")
    file = folder / LORA_FILE
    opened = open_tensors(file)
    rank, end, header = 10_000_000, 0, {"__metadata__": dict(opened.metadata)}
    fields = json.loads(opened.metadata["lora_adapter_metadata"])
    header["__metadata__"]["lora_adapter_metadata"] = json.dumps(
        {**fields, "unet.r": rank, "unet.lora_alpha": rank}
    )
    for name, shape in opened.shapes.items():
        grown = [rank if size == 2 else size for size in shape]
        begin, end = end, end + 4 * grown[0] * grown[1]
        header[name] = {"dtype": "F32", "shape": grown, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with file.open("wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    tracemalloc.start()
    refuse(folder, "more than the", "of the whole UNet")
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("key", ["lora_alpha", "target_modules"])
def test_what_the_loader_is_told_is_what_was_trained(saved, refuse, key, rewrite):
    """diffusers believes these fields, so a file that loads here must not draw something else there."""
    folder = saved("lora")

    def edit(meta):
        fields = json.loads(meta["lora_adapter_metadata"])
        value = 4 if key == "lora_alpha" else fields["unet.target_modules"] * 2
        meta["lora_adapter_metadata"] = json.dumps({**fields, f"unet.{key}": value})

    rewrite(folder / LORA_FILE, metadata=edit)
    refuse(folder, "is damaged")


def test_an_adapter_larger_than_its_unet_is_not_made(unet):
    """A rank of a thousand million is a slip of the keyboard; it must not be allocated."""
    spec = spec_for(TrainConfig(method="coeff-lora", rank=1_000_000_000), unet)
    modules, layers = (len(paths) for paths in (spec.lora, spec.alpha))
    wanted = 1_000_000_000 * modules * (32 + 32) + layers * 4 * 4
    with pytest.raises(
        AdapterError, match=rf"rank 1000000000 would have {wanted:,} .* choose a smaller rank"
    ):
        install(unet, spec)
