"""SDXL's two tokenizers without a download: CLIP's vocabulary lies in open_clip."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

START, END = "<|startoftext|>", "<|endoftext|>"
# 49,408 tokens in all: 256 bytes, each alone and at a word's end, these merges, and the two above.
MERGES = 49_408 - 2 * 256 - 2
PADDING = {"tokenizer": END, "tokenizer_2": "!"}
LENGTH = 77


def clip_tokenizer(part: str) -> Any:
    """tokenizer (of CLIP-L) or tokenizer_2 (of CLIP-G): they differ in what they pad with."""
    from transformers import CLIPTokenizer

    vocabulary, merges = _byte_pairs()
    return CLIPTokenizer(
        dict(vocabulary),
        list(merges),
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING[part],
        model_max_length=LENGTH,
    )


@cache
def _byte_pairs() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids, and the pairs that are merged, in the order of their rank: open_clip's, as its own tokenizer reads them."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    [place] = find_spec("open_clip").submodule_search_locations  # type: ignore[union-attr,misc]  # importing it takes seconds
    packed = (Path(place) / "bpe_simple_vocab_16e6.txt.gz").read_bytes()
    lines = gzip.decompress(packed).decode().split("\n")[1 : MERGES + 1]  # the first line is a comment
    merges = [(first, second) for first, second in (line.split() for line in lines)]
    letters = list(bytes_to_unicode().values())
    words = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), START, END]
    return {word: index for index, word in enumerate(words)}, merges
