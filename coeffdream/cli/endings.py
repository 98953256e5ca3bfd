"""How a command ends that did not do what was asked: one line and an exit status, whatever was raised."""

from __future__ import annotations

import errno

from coeffdream.errors import CoeffdreamError, out_of_memory

# What another path, or another request, would not meet. Every other refusal of the system ends with 1.
_ASK_DIFFERENTLY = {
    errno.ENOENT,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ENXIO,
    errno.ENODEV,
}
_LONGEST = 4000  # characters of a message
_KEPT = "what was finished is kept"


def ending(error: Exception) -> tuple[str, int]:
    """The message and the exit status for an error that reached the command line.

    2: asking differently can help. 1: the system failed, or coeffdream did, which its message says.
    """
    name = type(error).__name__
    if isinstance(error, CoeffdreamError):
        return _cut(str(error)), error.exit_status
    if isinstance(error, OSError) or "os error 28" in str(error):  # safetensors wraps a full disk in its own
        return _of_the_system(error)
    if isinstance(error, UnicodeError):
        return f"some text or name is not UTF-8 ({_brief(error)}); save or rename it as UTF-8", 2
    if isinstance(error, RecursionError):
        return "what was given is nested too deeply; simplify it", 2
    if isinstance(error, OverflowError):
        return f"a number is out of range ({_brief(error)}); give one of the usual size", 2
    if out_of_memory(error):
        return (
            f"the memory does not suffice ({_brief(error)}); ask for less, with smaller pictures or batches",
            2,
        )
    if name == "SafetensorError":
        return f"a safetensors file is damaged ({_brief(error)}); put back a good copy", 2
    return (
        f"coeffdream failed in a way it did not foresee ({name}: {_brief(error)}); {_KEPT}. "
        "The same command with --debug shows where",
        1,
    )


def _of_the_system(error: Exception) -> tuple[str, int]:
    number = getattr(error, "errno", None)
    where = str(getattr(error, "filename", None) or "the system")
    where = where if len(where) <= 300 else f"{where[:299]}…"
    why = getattr(error, "strerror", None) or _brief(error)
    if number in _ASK_DIFFERENTLY:
        return f"{where}: {why}; check the path", 2
    return f"{where}: {why}; {_KEPT}", 1


def _brief(error: Exception) -> str:
    """The first words of a library's message, on one line."""
    text = " ".join(str(error)[:1000].split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"


def _cut(message: str) -> str:
    return message if len(message) <= _LONGEST else f"{message[:_LONGEST]}… ({len(message):,} characters)"
