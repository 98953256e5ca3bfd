"""A BART that answers questions about pictures, as VL-BART does: tokens of a frozen image encoder, through one linear
layer, stand before the words of the question.

Shape letters: B batch, R regions of a picture and the whole, F width of their features, W words, C width of BART.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader

from coeffdream.backbones.quiet import quiet
from coeffdream.diffusion.noise import normal
from coeffdream.errors import BaseModelError
from coeffdream.metrics.dino import DinoEncoder
from coeffdream.progress import Progress
from coeffdream.studies.by_name import loading_backbone
from coeffdream.studies.vqa_questions import Question, words

REGIONS = 4  # of a side: VL-BART's are six
# 2 + 2 layers of 4 heads: 6 attention layers.
SMALL: dict[str, Any] = {
    "d_model": 64,
    "max_position_embeddings": 64,
    **{
        f"{part}_{what}": n
        for part in ("encoder", "decoder")
        for what, n in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 128))
    },
    "dropout": 0.0,
    "init_std": 0.1,  # BART's own 0.02 is for twelve times as many channels
}
PROJECTION_FILE = "picture.safetensors"
PROJECTION_STD = 0.1
IGNORED = -100  # of labels: transformers' own


class PictureBart(nn.Module):
    """BartForConditionalGeneration, and the layer that makes words of what the image encoder saw."""

    def __init__(self, bart: Any, picture: nn.Linear) -> None:
        super().__init__()
        self.bart = bart
        self.picture = picture

    def forward(
        self, features: Tensor, shown: Tensor, input_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> Any:
        """features [B,R,F]; shown [B], whether there is a picture at all; ids and mask [B,W] -> transformers' output."""
        asked = self.bart.get_input_embeddings()(input_ids)
        embeddings = torch.cat([self.picture(features), asked], 1)
        mask = torch.cat([shown[:, None].expand(-1, features.shape[1]), attention_mask], 1)
        return self.bart(inputs_embeds=embeddings, attention_mask=mask, labels=labels, use_cache=False)


@dataclass(frozen=True)
class Reader:
    """A backbone that is copied for every training, and how it wants its words."""

    name: str
    model: PictureBart = field(repr=False)
    tokenizer: Any = field(repr=False)

    def copied(self) -> PictureBart:
        return copy.deepcopy(self.model)

    def dataset(self, features: Tensor, questions: Sequence[Question]) -> list[dict[str, Any]]:
        """features: [pictures, R, F]."""
        asked = self.tokenizer([each.text for each in questions], truncation=True, max_length=40).input_ids
        answers = self.tokenizer(
            [each.answer for each in questions], truncation=True, max_length=16
        ).input_ids
        nothing = torch.zeros_like(features[0])
        return [
            {
                "features": nothing if each.picture is None else features[each.picture],
                "shown": int(each.picture is not None),
                "input_ids": torch.tensor(ids),
                "labels": torch.tensor(answer),
            }
            for each, ids, answer in zip(questions, asked, answers, strict=True)
        ]

    def batch(self, items: Sequence[dict[str, Any]]) -> dict[str, Tensor]:
        """Padded: what PictureBart takes."""
        pad = self.tokenizer.pad_token_id
        ids = nn.utils.rnn.pad_sequence([each["input_ids"] for each in items], True, pad)
        return {
            "features": torch.stack([each["features"] for each in items]),
            "shown": torch.tensor([each["shown"] for each in items]),
            "input_ids": ids,
            "attention_mask": (ids != pad).long(),
            "labels": nn.utils.rnn.pad_sequence([each["labels"] for each in items], True, IGNORED),
        }


@torch.no_grad()
def answered(
    model: PictureBart, data: Sequence[dict[str, Any]], reader: Reader, batch_size: int
) -> list[bool]:
    """Whether greedy decoding gives each answer, word for word.

    It does just when every word of the answer is the likeliest after those before it, which one pass tells.
    """
    model.eval()
    device = next(model.parameters()).device
    right: list[bool] = []
    # A list is a Dataset to everybody but its type.
    for batch in DataLoader(data, batch_size=batch_size, collate_fn=reader.batch):  # type: ignore[arg-type]
        moved = {key: each.to(device) for key, each in batch.items()}
        agree = model(**moved).logits.argmax(-1) == moved["labels"]
        right += (agree | (moved["labels"] == IGNORED)).all(-1).tolist()
    return right


def seen(picture: Callable[[int], Image], count: int, encoder: DinoEncoder, progress: Progress) -> Tensor:
    """Frozen features [count, R, F] of pictures by their number: the token of the whole, then the patches' averages in
    each of 4 x 4 regions."""
    found = []
    for start in range(0, count, 64):
        numbers = range(start, min(start + 64, count))
        pictures = [picture(number) for number in numbers]
        patches = torch.from_numpy(encoder.patches(pictures))
        side = round(patches.shape[1] ** 0.5)
        grid = patches.mT.unflatten(2, (side, side))
        regions = nn.functional.adaptive_avg_pool2d(grid, REGIONS).flatten(2).mT
        found.append(torch.cat([torch.from_numpy(encoder.images(pictures))[:, None], regions], 1))
        progress("looking at pictures", numbers.stop, count, "")
    features = torch.cat(found)
    return nn.functional.layer_norm(features, features.shape[-1:])


def small(width: int, seed: int = 0) -> Reader:
    """The small BART with random weights for features of this width, and a tokenizer of the drawn world's words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]  # BART's own, in its order
    ids = {word: number for number, word in enumerate([*special, *words()])}
    inner = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), special, strict=True))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, **names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        bart = BartForConditionalGeneration(BartConfig(**SMALL, vocab_size=len(ids)))
    return Reader("small", PictureBart(bart, _projection(width, bart.config.d_model)), tokenizer)


def named(name: str, width: int) -> Reader:
    """A BART of the hub, its cache or a folder; safetensors only. Raises BaseModelError that says what is wrong.

    The layer for pictures is the folder's where it has one, for features of `width`; else new.
    """
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoTokenizer, BartForConditionalGeneration

    with loading_backbone(name):
        kind = AutoConfig.from_pretrained(name).model_type
        if kind != "bart":
            raise BaseModelError(f"--backbone {name} is a {kind}; name a BART, such as facebook/bart-base")
        bart = BartForConditionalGeneration.from_pretrained(name, use_safetensors=True)
        tokenizer = AutoTokenizer.from_pretrained(name)
        held = load_file(file) if (file := Path(name) / PROJECTION_FILE).is_file() else None
        if held is not None and held.keys() != {"weight", "bias"}:
            raise ValueError(f"{PROJECTION_FILE} is not the layer for pictures")
    projection = _projection(width, bart.config.d_model)
    if held is not None:
        if held["weight"].shape != projection.weight.shape:
            raise BaseModelError(
                f"--backbone {name}: its layer for pictures takes {held['weight'].shape[1]} features, and --vision gives "
                f"{width}; name the --vision that it was trained with"
            )
        projection.load_state_dict(held)
    return Reader(name, PictureBart(bart, projection), tokenizer)


def _projection(width: int, to: int) -> nn.Linear:
    made: nn.Linear = torch.nn.utils.skip_init(nn.Linear, width, to)
    with torch.no_grad():
        made.weight.copy_(PROJECTION_STD * normal((to, width), 0, "vqa-picture"))
        made.bias.zero_()
    return made


def keep(reader: Reader, folder: Path) -> None:
    """Write the small backbone as a folder of transformers, whole or not at all."""
    from safetensors.torch import save_file

    begun = folder.with_name(f".{folder.name}")
    shutil.rmtree(begun, ignore_errors=True)
    with quiet():
        reader.model.cpu().bart.save_pretrained(begun)
        reader.tokenizer.save_pretrained(begun)
    save_file(reader.model.picture.state_dict(), begun / PROJECTION_FILE)
    begun.replace(folder)
