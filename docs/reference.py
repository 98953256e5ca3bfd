"""Writes the two pages of reference from the code: docs/options.md from the commands, docs/api.md from docstrings.

python docs/reference.py; a test holds the pages to what this writes.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

import coeffdream
from coeffdream.cli.app import app

HERE = Path(__file__).parent
MADE = "<!-- Made by docs/reference.py; edit the code, not this page. -->"

DEFAULT = re.compile(r" *\[dim\]\\?\[default: (?P<value>.*?)\]\[/dim\]$")


def options_page() -> str:
    parts = [
        MADE,
        "# Every option",
        "Of every command, as `--help` prints them. Options of training come from the command line, a file, a preset or "
        "the base: [Settings](settings.md). `--debug`, anywhere on the line, shows the traceback of an error.",
    ]
    of_train: list[Any] = []
    for name, command in _commands(typer.main.get_command(app), "coeffdream"):
        text = textwrap.dedent(command.help or "").strip()
        said, _, example = text.partition("Example: ")
        parts += [f"## {name}", _escaped(" ".join(said.split()))]
        if example:
            parts.append(f"    {' '.join(example.split())}")
        own = [each for each in command.params if each.help not in of_train]
        if of_train and len(own) < len(command.params) - len(of_train) // 2:
            parts.append("The options of `coeffdream train`, and:")
        else:
            own = command.params
        parts.append(_table(own))
        of_train = of_train or [each.help for each in own if each.help != "Print the result as JSON."]
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, under the words that call it."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, each in (below or {}).items():
        yield from _commands(each, f"{name} {word}")


def _table(parameters: list[Any]) -> str:
    rows = ["| option | | default |", "|---|---|---|"]
    for each in parameters:
        if each.name == "help":
            continue
        said = each.help or ""
        found = DEFAULT.search(said)
        default = found["value"] if found else _default(each)
        said = DEFAULT.sub("", said)
        rows.append(f"| {_spelt(each)} | {_escaped(said)} | {_escaped(default)} |")
    return "\n".join(rows)


def _spelt(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"`{parameter.metavar or parameter.name.upper()}`".replace("|", r"\|")
    names = [*parameter.opts, *parameter.secondary_opts]
    return ", ".join(f"`{name}`" for name in names)


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    if isinstance(value, bool):
        return ("on" if value else "off") if parameter.secondary_opts else ""
    return "" if value is None or callable(value) else str(value)


def _escaped(text: str) -> str:
    """Text that holds <V> and regular expressions, in a cell of a table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", r"\|").replace("*", r"\*")


API = """\
# Python API

What the command line does, as functions, and adapters in pipelines of your own. `import coeffdream` loads no torch.

<!-- run -->
```python
import coeffdream

# A folder of photos, or a shipped concept.
run = coeffdream.train("cat", base="toybox", steps=20, sample_every=0)
drawn = coeffdream.generate(run, ["<V> cat in the snow"], images_per_prompt=2)
print(drawn.folder.path)  # runs/cat-coeff-lora/images/...
```

The options of `train`, `generate` and `score` are those of `coeffdream train`, `generate` and `eval`, with underscores
for dashes: [every option](options.md). A run is a `RunFolder`, its folder, or its name in `./runs`. `load` and `unload` in a
diffusers pipeline are shown [elsewhere](elsewhere.md#in-a-diffusers-pipeline), `mixed_attention` in
[Mixed attention](attention.md).\
"""


def api_page() -> str:
    parts = [MADE, API]
    for name in coeffdream.__all__:
        if name.startswith("__"):
            continue
        value = getattr(coeffdream, name)
        parts += [f"## {name}", _signature(name, value), _docstring(value)]
        if inspect.isclass(value) and not issubclass(value, Exception):
            for method, function in vars(value).items():
                if inspect.isfunction(function) and not method.startswith("_") and function.__doc__:
                    parts += [f"### {name}.{method}", _signature(method, function), _docstring(function)]
    return "\n\n".join(parts) + "\n"


def _signature(name: str, value: Any) -> str:
    if inspect.isclass(value) and issubclass(value, Exception):
        line = f"class {name}({value.__bases__[0].__name__})"
    elif inspect.isclass(value):
        line = _wrapped(f"class {name}", inspect.signature(value.__init__))
    else:
        line = _wrapped(f"def {name}", inspect.signature(value))
    return f"```py\n{line}\n```"  # the blocks that run are called python


def _wrapped(name: str, signature: inspect.Signature) -> str:
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    # Annotations are text, since they are not evaluated; printed as values they would get quotes.
    shown = re.sub(r": '([^']*)'", r": \1", str(signature.replace(parameters=parameters)))
    shown = re.sub(r"-> '([^']*)'", r"-> \1", shown)
    shown = re.sub(r"<function (\w+) at 0x\w+>", r"\1", shown)
    if len(name + shown) <= 76:  # what a page shows without scrolling
        return name + shown
    inside, _, result = shown.removeprefix("(").rpartition(")")
    # A comma inside brackets is no end of a parameter.
    each = re.split(r", (?![^\[\(]*[\]\)])", inside)
    return f"{name}(\n" + "".join(f"    {one},\n" for one in each) + ")" + result


def _docstring(value: Any) -> str:
    """As Markdown: what stands indented under Args:, Returns: or Raises: becomes a list."""
    text = (inspect.getdoc(value) or "").strip().replace("<", "&lt;")
    text = re.sub(r"\n {8,}", " ", text)
    text = re.sub(r"^(Args|Raises):\n", r"**\1**\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"^Returns:\n((?: {4}.*\n?)+)", _returned, text, flags=re.MULTILINE)
    return re.sub(r"^ {4}(\w+): ", r"- `\1`: ", text, flags=re.MULTILINE)


def _returned(found: re.Match[str]) -> str:
    return "**Returns**\n\n" + " ".join(found[1].split()) + "\n"


PAGES = {"options.md": options_page, "api.md": api_page}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (HERE / page).write_text(text(), encoding="utf-8")
