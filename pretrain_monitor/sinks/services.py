"""One service of apprise's as a target of messages."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path

from ..config import ConfigError
from .addresses import is_hidden, labels, resolved, shown
from .messages import Message

_TYPES = {"info": "info", "good": "success", "warning": "warning", "critical": "failure"}

# What these log may hold an address, and with it a password or a token.
_TALKATIVE = ("apprise", "urllib3.connectionpool", "requests", "requests_oauthlib", "oauthlib")


class Service:
    """Sends messages by one address.

    Args:
        address: resolved, with its secrets.
        label: what it is called where people or files read it.

    Raises:
        ConfigError: an address that apprise does not know.
    """

    def __init__(self, address: str, label: str, where: str) -> None:
        import apprise

        self.label = label
        asset = apprise.AppriseAsset(app_id="pretrain_monitor", app_desc="pretrain_monitor", app_url="")
        self._apprise = apprise.Apprise(asset=asset)
        with _silent(), warnings.catch_warnings():
            # It loads all of its services now, some of which use what is deprecated.
            warnings.simplefilter("ignore")
            is_known = bool(self._apprise.add(address))
        if not is_known:
            raise ConfigError(
                f"{where}: no service that apprise knows, or something in it is missing or malformed; "
                "https://appriseit.com/services lists what addresses look like"
            )

        self.takes_pictures = any(getattr(service, "attachment_support", False) for service in self._apprise)

    def send(self, message: Message) -> str | None:
        from apprise import NotifyType

        with _silent(), _file_of(message.picture) as picture:
            has_arrived = self._apprise.notify(
                body=message.body,
                title=message.title,
                notify_type=NotifyType(_TYPES.get(message.level, "info")),
                attach=picture,
            )
        # Why is known to apprise alone: it logs that, together with what must not be logged.
        return None if has_arrived else "not reached, or it refused them"


def services(addresses: Sequence[str]) -> list[Service]:
    """The services of a user's addresses.

    Raises:
        ConfigError: apprise is missing, a variable is not set, an address is wrong; never with a secret in it.
    """
    if not addresses:
        return []
    try:
        import apprise  # noqa: F401
    except ImportError:
        raise ConfigError("notify.urls needs apprise: pip install 'pretrain-monitor[alerts]'") from None
    found = []
    resolved_ones = []
    for place, address in enumerate(addresses):
        where = f"notify.urls[{place}] ({shown(address)})"
        if is_hidden(address):
            raise ConfigError(f"{where}: addresses are not kept in run directories: give your own file, or --notify")
        resolved_ones.append(resolved(address))
    for place, (address, label) in enumerate(zip(resolved_ones, labels(resolved_ones), strict=True)):
        found.append(Service(address, label, f"notify.urls[{place}] ({shown(addresses[place])})"))
    return found


@contextlib.contextmanager
def _file_of(picture: bytes | None) -> Iterator[str | None]:
    """Its path while it is needed; services take files only."""
    if picture is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pretrain-monitor-") as folder:
        path = Path(folder) / "incident.png"
        path.write_bytes(picture)
        yield str(path)


# A context and not a thread: apprise sends in threads of its own, which inherit the context of the call.
_is_silent: ContextVar[bool] = ContextVar("pretrain_monitor_is_silent", default=False)


class _OfOthers(logging.Filter):
    """Lets pass what somebody else makes the same libraries log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _is_silent.get()


_filter = _OfOthers()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing that these libraries log meanwhile, for this call, is let through."""
    for name in _TALKATIVE:
        logging.getLogger(name).addFilter(_filter)  # twice is once
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)
