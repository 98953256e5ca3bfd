"""DreamBooth's own prompts_and_classes.txt, read as the plain text that it is.

https://github.com/google/dreambooth/blob/main/dataset/prompts_and_classes.txt
"""

from __future__ import annotations

import re

from coeffdream.errors import PromptError, quoted

_LIST = re.compile(
    r"^(?P<heading>[^\n=]+)\n\s*prompt_list\s*=\s*\[(?P<body>.*?)^\]", re.MULTILINE | re.DOTALL
)
_ENTRY = re.compile(r"""\s*(['"])(?P<prompt>.*)\1\.format\(unique_token,\s*class_token\)\s*,?\s*""")


def is_official(text: str) -> bool:
    return "prompt_list = [" in text and ".format(unique_token, class_token)" in text


def parse_official(text: str, *, live: bool, where: str) -> list[tuple[int, str]]:
    """(line number, template) of the live or the object list. Raises PromptError that names the line."""
    wanted = "Live Subject Prompts" if live else "Object Prompts"
    lists = {match["heading"].strip(): match for match in _LIST.finditer(text)}
    if wanted not in lists:
        raise PromptError(
            f"{where} looks like DreamBooth's prompts file but has no list under {wanted!r}; "
            "download it again, or write one prompt a line"
        )
    body = lists[wanted]
    first = text.count("\n", 0, body.start("body")) + 1
    entries = []
    for number, line in enumerate(body["body"].split("\n"), start=first):
        if not line.strip():
            continue
        entry = _ENTRY.fullmatch(line)
        template = entry["prompt"].replace("{0}", "<V>").replace("{1}", "CLASS") if entry else ""
        if not template or "{" in template:
            raise PromptError(
                f"{where}, line {number}: {quoted(line.strip())} is not a prompt in DreamBooth's form "
                "'a {0} {1} ...'.format(unique_token, class_token)"
            )
        entries.append((number, template))
    return entries
