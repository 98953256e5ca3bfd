"""Adapter files: what was saved comes back, and anything else is refused with the UNet left as it was."""

from __future__ import annotations

import copy
import json
import tracemalloc
from pathlib import Path
from typing import get_args

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from coeffdream.adapters.files import adapter_hashes, load_adapter, save_adapter
from coeffdream.adapters.install import install, spec_for
from coeffdream.backbones.fingerprint import architecture_of
from coeffdream.config import Method, TrainConfig
from coeffdream.errors import AdapterError, AttentionError
from coeffdream.records.files import sha256_of_file
from coeffdream.records.run import COEFF_FILE, LORA_FILE
from coeffdream.records.tensors import DIGEST, open_tensors, write_tensors

METHODS = get_args(Method)


@pytest.fixture(scope="module")
def architecture(loaded_unet) -> str:
    return architecture_of(loaded_unet)


@pytest.fixture
def saved(loaded_unet, teach, tmp_path, architecture):
    """Train (so to speak) a method and save it; the folder."""

    def call(method: str, name: str = "adapter", size: float = 0.3, **options) -> Path:
        unet = copy.deepcopy(loaded_unet)
        adapter = teach(install(unet, spec_for(TrainConfig(method=method, **options), unet)), size)
        save_adapter(adapter, tmp_path / name, architecture)
        return tmp_path / name

    return call


def read(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(file, "pt") as opened:
        return load_file(file), dict(opened.metadata())


def rewrite(file: Path, *, tensors=None, metadata=None) -> None:
    """The file again, altered by functions of its tensors and its metadata, with a digest that fits."""
    before, meta = read(file)
    for change, value in ((tensors, before), (metadata, meta)):
        if change:
            change(value)
    meta.pop(DIGEST, None)
    write_tensors(file, {name: tensor.numpy() for name, tensor in before.items()}, meta)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_saved_comes_back_exactly(unet, predict, teach, tmp_path, architecture, method, dtype):
    """Same tensors, same spec, same output to the last bit."""
    unet.to(dtype)
    fresh = copy.deepcopy(unet)
    adapter = teach(install(unet, spec_for(TrainConfig(method=method, lora_targets="all.v"), unet)))
    save_adapter(adapter, tmp_path, architecture)
    loaded = load_adapter(fresh, tmp_path, architecture)
    for part in ("rank", "dora", "lora", "alpha"):
        assert getattr(loaded.spec, part) == getattr(adapter.spec, part)
    assert loaded.spec.method == method
    assert loaded.trainable.keys() == adapter.trainable.keys()
    for name, parameter in adapter.trainable.items():
        assert torch.equal(loaded.trainable[name], parameter)
        assert loaded.trainable[name].dtype == torch.float32
    assert torch.equal(predict(fresh), predict(unet))


def test_the_files_are_what_other_tools_expect(saved, architecture):
    """Key names, shapes, dtypes and metadata of the conventions; two files, safetensors."""
    folder = saved("coeff-dora")
    assert sorted(path.name for path in folder.iterdir()) == sorted([LORA_FILE, COEFF_FILE])
    lora, meta = read(folder / LORA_FILE)
    path = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_q"
    assert lora[f"{path}.lora_A.weight"].shape == (2, 32)
    assert lora[f"{path}.lora_B.weight"].shape == (32, 2)
    assert lora[f"{path}.lora_magnitude_vector"].shape == (32,)
    assert all("lora" in key for key in lora)  # diffusers refuses a file with any other key
    fields = json.loads(meta["lora_adapter_metadata"])
    assert set(fields) == {"unet.r", "unet.lora_alpha", "unet.use_dora", "unet.target_modules"}
    assert (fields["unet.r"], fields["unet.lora_alpha"], fields["unet.use_dora"]) == (2, 2, True)
    alpha, meta = read(folder / COEFF_FILE)
    assert len(alpha) == 8
    assert alpha["mid_block.attentions.0.transformer_blocks.0.attn1.alpha"].shape == (4, 4)
    assert {tensor.dtype for tensor in (*lora.values(), *alpha.values())} == {torch.float32}
    assert meta["coeffdream.architecture"] == architecture
    assert meta["coeffdream.companion_sha256"] == sha256_of_file(folder / LORA_FILE)
    assert json.loads(meta["coeffdream.heads"])["mid_block.attentions.0.transformer_blocks.0.attn1"] == 4
    assert (meta["coeffdream.dropout"], meta["coeffdream.parametrisation"]) == ("0.1", "residual")


@pytest.mark.parametrize(
    ("method", "files"),
    [("lora", {LORA_FILE}), ("coeff", {COEFF_FILE}), ("coeff-lora", {LORA_FILE, COEFF_FILE})],
)
def test_only_what_was_trained_is_written(saved, method, files):
    """And hashed for the manifest."""
    folder = saved(method)
    assert adapter_hashes(folder) == {name: sha256_of_file(folder / name) for name in files}


def test_the_parametrisation_travels_with_the_file(saved, unet, architecture):
    """A direct alpha read as a residual one would be another model."""
    folder = saved("coeff", parametrisation="direct-identity", coeff_dropout=0.25)
    spec = load_adapter(unet, folder, architecture).spec
    assert (spec.parametrisation, spec.dropout) == ("direct-identity", 0.25)


def test_an_adapter_whose_processor_was_replaced_is_not_saved(unet, tmp_path, architecture):
    """It would be a file of coefficients that were never in the path."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    adapter = install(unet, spec_for(TrainConfig(method="coeff"), unet))
    unet.get_submodule(adapter.spec.alpha[0]).set_processor(AttnProcessor2_0())
    with pytest.raises(AdapterError, match="instead of the trained coefficients"):
        save_adapter(adapter, tmp_path / "adapter", architecture)
    assert not (tmp_path / "adapter").exists()


@pytest.fixture
def refuse(unet, predict, architecture):
    """Loading must fail in one line that holds all of `said`, and leave the UNet as it was."""

    def call(folder: Path, *said: str, of: str = architecture) -> None:
        state = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
        wanted = {name: parameter.requires_grad for name, parameter in unet.named_parameters()}
        processors = dict(unet.attn_processors)
        with torch.no_grad():
            output = predict(unet)
        with pytest.raises(AdapterError) as caught:
            load_adapter(unet, folder, of)
        message = str(caught.value)
        assert "\n" not in message
        for part in said:
            assert part in message
        assert list(unet.state_dict()) == list(state)
        assert all(torch.equal(tensor, state[name]) for name, tensor in unet.state_dict().items())
        assert {name: p.requires_grad for name, p in unet.named_parameters()} == wanted
        assert all(unet.attn_processors[name] is processor for name, processor in processors.items())
        assert not getattr(unet, "peft_config", None)
        with torch.no_grad():
            assert torch.equal(predict(unet), output)

    return call


def test_a_lora_without_its_coefficients(saved, refuse):
    """Half of a coeff-lora adapter draws something that was never trained."""
    folder = saved("coeff-lora")
    (folder / COEFF_FILE).unlink()
    refuse(folder, f"{LORA_FILE} without the {COEFF_FILE}", "put that file back")


def test_coefficients_without_their_lora(saved, refuse):
    """The reverse."""
    folder = saved("coeff-dora")
    (folder / LORA_FILE).unlink()
    refuse(folder, f"{COEFF_FILE} without the {LORA_FILE}", "put that file back")


@pytest.mark.parametrize("method", ["lora", "coeff-lora"])
def test_a_companion_from_another_run(saved, refuse, method):
    """Two runs of one architecture have files of one shape; only the hash tells them apart."""
    folder, other = saved("coeff-lora"), saved(method, "other", size=0.1)
    (folder / LORA_FILE).write_bytes((other / LORA_FILE).read_bytes())
    refuse(folder, f"is not the file that {COEFF_FILE} was trained with", "put the original back")


def test_a_lora_put_beside_coefficients_that_had_none(saved, refuse):
    """Otherwise a coeff adapter would silently become a coeff-lora one."""
    folder, other = saved("coeff"), saved("lora", "other")
    (folder / LORA_FILE).write_bytes((other / LORA_FILE).read_bytes())
    refuse(folder, f"is not the file that {COEFF_FILE} was trained with", "take this one out")


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_of_another_architecture(saved, refuse, method):
    """Its shapes may even fit."""
    refuse(saved(method), "was trained on another architecture", "--base it was trained on", of="0" * 64)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\x80\x04\x95" + b"\0" * 64])
@pytest.mark.parametrize("file", [LORA_FILE, COEFF_FILE])
def test_a_file_that_is_no_safetensors(saved, refuse, file, content):
    """Empty, text, or a pickle, which is never opened as one."""
    folder = saved("coeff-lora")
    (folder / file).write_bytes(content)
    refuse(folder, str(folder / file), "is not a readable safetensors file", "copy it again")


def test_a_file_cut_short(saved, refuse):
    """An upload that broke off."""
    folder = saved("coeff")
    whole = (folder / COEFF_FILE).read_bytes()
    (folder / COEFF_FILE).write_bytes(whole[: len(whole) * 3 // 4])
    refuse(folder, "is not a readable safetensors file")


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_a_folder_without_an_adapter(tmp_path, refuse, name):
    """A run that has not finished."""
    if name == "empty":
        (tmp_path / name).mkdir()
    refuse(tmp_path / name, "holds no adapter", "train one")


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
def test_a_lora_with_keys_that_do_not_fit(saved, refuse, change, said):
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
def test_coefficients_with_keys_that_do_not_fit(saved, refuse, change, said):
    """The metadata says which layers have an alpha, so that a missing one is noticed."""
    folder = saved("coeff")
    rewrite(folder / COEFF_FILE, tensors=change)
    refuse(folder, said)


@pytest.mark.parametrize(("broken", "end"), [(5, " not finite"), (8, "; and 3 more")])
def test_all_keys_that_do_not_fit_are_counted(saved, unet, architecture, broken, end):
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
def test_metadata_is_not_trusted(saved, refuse, file, key, value, said):
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
def test_the_loaders_metadata_is_not_trusted_either(saved, refuse, loader):
    """A rank of a million million must not be allocated."""
    folder = saved("lora")
    rewrite(folder / LORA_FILE, metadata=lambda meta: meta.update({"lora_adapter_metadata": loader}))
    refuse(folder, "the metadata of the adapter in", "is damaged")


def test_a_stranger_s_lora_is_not_taken_for_ours(saved, refuse):
    """A file of the diffusers script has no metadata of ours at all."""
    folder = saved("lora")
    rewrite(
        folder / LORA_FILE, metadata=lambda meta: [meta.pop(key) for key in list(meta) if key != "format"]
    )
    refuse(folder, "has coeffdream format unknown")


def test_a_unet_with_an_ip_adapter_is_refused(saved, unet, architecture):
    """Loading past spec_for must not replace the processor that draws the image prompt."""
    from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0

    folder = saved("coeff-lora")
    layer = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    layer.set_processor(IPAdapterAttnProcessor2_0(32, 32))
    names = list(unet.state_dict())
    with pytest.raises(AttentionError, match="IPAdapterAttnProcessor2_0"):
        load_adapter(unet, folder, architecture)
    assert list(unet.state_dict()) == names


@pytest.mark.parametrize("file", [LORA_FILE, COEFF_FILE])
@pytest.mark.parametrize("place", ["data", "header"])
def test_one_bit_is_enough(saved, refuse, file, place):
    """A flip that leaves every shape right and every value finite would draw another picture without a word."""
    folder = saved("coeff-lora")
    content = bytearray((folder / file).read_bytes())
    content[-3 if place == "data" else content.index(b"coeff-lora")] ^= 1
    (folder / file).write_bytes(content)
    refuse(folder, str(folder / file), "put the original back")


def test_two_coefficients_that_changed_places(saved, refuse):
    """Keys, shapes and finiteness cannot tell."""
    folder = saved("coeff")
    tensors, meta = read(folder / COEFF_FILE)
    first, second, *_ = tensors
    tensors[first], tensors[second] = tensors[second], tensors[first]
    save_file(tensors, folder / COEFF_FILE, meta)
    refuse(folder, "was altered", "put the original back")


def test_a_file_whose_digest_is_gone(saved, refuse):
    """It says the format that has one."""
    folder = saved("lora")
    tensors, meta = read(folder / LORA_FILE)
    save_file(tensors, folder / LORA_FILE, {key: value for key, value in meta.items() if key != DIGEST})
    refuse(folder, "its digest is gone", "put the original back")


def older(folder: Path) -> Path:
    """The folder as a coeffdream without digests wrote it: metadata of that time, with more of PEFT's fields, in an
    order of chance."""
    for name in (LORA_FILE, COEFF_FILE):
        if not (folder / name).is_file():
            continue
        tensors, meta = read(folder / name)
        del meta[DIGEST]
        meta["coeffdream.format"] = "1"
        if fields := meta.get("lora_adapter_metadata"):
            more = {"unet.peft_type": "LORA", "unet.bias": "none", **json.loads(fields)}
            meta["lora_adapter_metadata"] = json.dumps(more)
        if meta.get("coeffdream.companion_sha256"):
            meta["coeffdream.companion_sha256"] = sha256_of_file(folder / LORA_FILE)
        save_file(tensors, folder / name, meta)
    return folder


@pytest.mark.parametrize("method", ["dora", "coeff", "coeff-lora"])
def test_the_oldest_format_loads_and_says_what_it_lacks(saved, unet, architecture, method):
    """Adapters outlive versions."""
    folder = older(saved(method))
    said: list[str] = []
    adapter = load_adapter(unet, folder, architecture, said.append)
    assert adapter.spec.method == method
    assert len(said) == len(list(folder.iterdir()))
    assert all("before adapters held a digest" in line and "cannot be checked" in line for line in said)


@pytest.mark.parametrize("dtype", [torch.int32, torch.bfloat16, torch.float64], ids=str)
def test_values_of_another_kind(saved, refuse, dtype):
    """Learned values are float32; integers that were once fractions draw nothing that was learned."""
    folder = older(saved("lora"))
    tensors, meta = read(folder / LORA_FILE)
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
def test_values_beyond_any_use(saved, refuse, method, key, change, said):
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
def test_what_the_loader_is_told_is_what_was_trained(saved, refuse, key):
    """diffusers believes these fields, so a file that loads here must not draw something else there."""
    folder = saved("lora")

    def edit(meta):
        fields = json.loads(meta["lora_adapter_metadata"])
        value = 4 if key == "lora_alpha" else fields["unet.target_modules"] * 2
        meta["lora_adapter_metadata"] = json.dumps({**fields, f"unet.{key}": value})

    rewrite(folder / LORA_FILE, metadata=edit)
    refuse(folder, "is damaged")


def test_equal_adapters_are_equal_files(saved):
    """A hash in a record or on the hub means something only then."""
    one, other = saved("coeff-dora"), saved("coeff-dora", "other")
    assert adapter_hashes(one) == adapter_hashes(other)


def test_an_adapter_larger_than_its_unet_is_not_made(unet):
    """A rank of a thousand million is a slip of the keyboard; it must not be allocated."""
    spec = spec_for(TrainConfig(method="coeff-lora", rank=1_000_000_000), unet)
    modules, layers = (len(paths) for paths in (spec.lora, spec.alpha))
    wanted = 1_000_000_000 * modules * (32 + 32) + layers * 4 * 4
    with pytest.raises(
        AdapterError, match=rf"rank 1000000000 would have {wanted:,} .* choose a smaller rank"
    ):
        install(unet, spec)
