"""The address of a store: what may be one, and the file system of fsspec behind it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from coeffdream.errors import ConfigError


def address_of(given: str, study: Path) -> str:
    """The address as every machine and process reads it. Raises ConfigError for one that keeps no study."""
    protocol = given.partition("://")[0] if "://" in given else "file"
    try:
        parts = urlsplit(given)
        secret = parts.password is not None or (protocol != "file" and bool(parts.query))
    except ValueError as error:
        raise ConfigError(f"--store: that is no address ({error})") from None
    if secret:
        raise ConfigError(
            "--store: leave passwords and keys out of the address, which is printed and kept; give them as the storage's own "
            "tools take them (environment, configuration file)"
        )
    if "::" in given or protocol == "memory":
        why = (
            "is there for one process alone" if protocol == "memory" else "goes by way of a second place (::)"
        )
        raise ConfigError(f"--store: an address that {why}; give that of the storage itself")
    if protocol not in ("file", "local"):
        opened(given)
        return given
    place = Path(given.partition("://")[2] if "://" in given else given).expanduser().resolve()
    folder = study.resolve()
    if place == folder or folder in place.parents or place in folder.parents:
        raise ConfigError(
            f"--store {given}: the store and --study {study} are folders apart; for one folder that all machines see, "
            "leave --store out"
        )
    return f"file://{place.as_posix()}"


def opened(address: str) -> tuple[Any, str]:
    """The file system, and the study's place in it. Raises ConfigError for an address that no installed package reads."""
    from fsspec import available_protocols
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    if protocol not in available_protocols():
        raise ConfigError(
            f"--store {address}: fsspec knows no {protocol}:// addresses; s3:// and gs:// are two it knows"
        )
    try:
        system, root = url_to_fs(address)
    except ImportError as error:
        why = " ".join(str(error).split())[:200].rstrip(".")
        raise ConfigError(
            f"--store {address}: {why}; the package that reads such addresses is wanted on every machine"
        ) from None
    except Exception as error:
        why = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"--store {address}: {why}; see that the address is right") from None
    return system, root.rstrip("/")
