"""The tokenizer: CLIP's byte-pair encoding, learned from the grammar's words until each is one token."""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from coeffdream.records.files import write_json, write_text
from coeffdream.toybox.world.grammar import WORDS

POSITIONS = 32
START, END = "<|startoftext|>", "<|endoftext|>"


def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins of GPT-2's and CLIP's byte-level BPE, in byte order."""
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    spare = iter(range(256, 512))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


def learn_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent pair first, until every word is whole."""
    parts = [[*word[:-1], word[-1] + "</w>"] for word in words]
    merges = []
    while pairs := Counter(pair for word in parts for pair in itertools.pairwise(word)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        parts = [_merged(word, best) for word in parts]
    return merges


def _merged(word: list[str], pair: tuple[str, str]) -> list[str]:
    joined: list[str] = []
    for part in word:
        # A merge of "aa" in "aaa" takes the left two, as the tokenizer does.
        if joined and (joined[-1], part) == pair:
            joined[-1] += part
        else:
            joined.append(part)
    return joined


def new_tokenizer() -> CLIPTokenizer:
    alphabet = byte_alphabet()
    merges = learn_merges(WORDS)
    pieces = [*alphabet, *(letter + "</w>" for letter in alphabet), *(a + b for a, b in merges), START, END]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    with tempfile.TemporaryDirectory() as folder:
        # Built from files, as everybody else will load it.
        write_json(Path(folder) / "vocab.json", vocabulary)
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
        write_text(Path(folder) / "merges.txt", "\n".join(lines) + "\n")
        write_json(
            Path(folder) / "tokenizer_config.json",
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": POSITIONS,
                "bos_token": START,
                "eos_token": END,
                "unk_token": END,
                "pad_token": END,
            },
        )
        return CLIPTokenizer.from_pretrained(folder)
