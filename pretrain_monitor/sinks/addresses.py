"""Addresses of services as users write them: secrets come from the environment, and are kept out of every file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence

from ..config import ConfigError
from ..printable import shorten

HIDDEN = "***"

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,20}):/")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def resolved(address: str, environment: Mapping[str, str] | None = None) -> str:
    """The address with the values of its ``${NAME}``.

    >>> resolved("ntfy://${TOPIC}", {"TOPIC": "train"})
    'ntfy://train'

    Raises:
        ConfigError: a name that is not in the environment, or no name at all; never with a part of the address in it
            that may be a secret.
    """
    environment = os.environ if environment is None else environment
    for name in _REFERENCE.findall(address):
        if not _NAME.fullmatch(name):
            raise ConfigError("notify.urls: between ${ and } comes the name of an environment variable")
        if not environment.get(name):
            raise ConfigError(f"notify.urls: ${{{name}}} is not set; export {name}=... where the job is started")
    return _REFERENCE.sub(lambda found: environment[found[1]], address).strip()


def shown(address: str) -> str:
    """What may be written down: the names of variables, and at most the kind of service of everything else.

    >>> [shown(address) for address in ("${SLACK_URL}", "slack://a/b/c", "mailto://me:${PASSWORD}@mail.com", "?")]
    ['${SLACK_URL}', 'slack://***', 'mailto://***', '***']
    """
    if _REFERENCE.fullmatch(address.strip()):
        return address.strip()
    found = _SCHEME.match(address.strip())
    return f"{found[1]}://{HIDDEN}" if found else HIDDEN


def labels(addresses: Sequence[str]) -> list[str]:
    """Names for people and for the record of what was sent, without a secret: the kind of service and its place.

    Args:
        addresses: resolved.
    """
    found = (_SCHEME.match(address) for address in addresses)
    return [f"{shorten(match[1]) if match else 'service'}#{place}" for place, match in enumerate(found, 1)]


def is_hidden(address: str) -> bool:
    """Whether it was read back from a file in which addresses are not written down."""
    return address.strip().endswith(HIDDEN)
