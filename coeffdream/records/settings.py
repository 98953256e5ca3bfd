"""Settings that people write by hand, as TOML."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from coeffdream.errors import UserError
from coeffdream.records.reading import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path, error: type[UserError], example: str, *, option: str = "") -> dict[str, Any]:
    """The tables and values of a TOML file. Raises `error` that names the file, the `option` that gave it and the remedy."""
    where = f"{option} {path}".lstrip()
    try:
        return tomllib.loads(read_text(path, error=error).replace("\r\n", "\n"))
    except FileNotFoundError:
        raise error(f"{where} does not exist") from None
    except OSError as problem:
        raise error(f"{where} cannot be read ({problem.strerror})") from None
    except (ValueError, RecursionError) as problem:  # TOMLDecodeError, and numbers of thousands of digits
        text = " ".join(str(problem).split())[:120]
        if "digits" in text:  # Python converts no integer of more than 4,300
            text = "a number of thousands of digits"
        if "escape" in text or "hex" in text:
            example = "a path with backslashes goes into single quotes, as in concept = 'C:\\photos\\cat'"
        raise error(f"{where} is not valid TOML ({text}); {example}") from None
