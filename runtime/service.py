"""What a service manager wants: to be told when a device is ready, and a unit file.

The protocol is systemd's sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. Without
that variable nothing is said.
"""

from __future__ import annotations

import os
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import DeviceConfigError

READY = "READY=1"
STOPPING = "STOPPING=1"
# What the agent needs at the end: the open window, the drift state, the last messages.
STOP_TIMEOUT_S = 30


def notify(message: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Tell the service manager; whether there is one that heard it."""
    name = environment.get("NOTIFY_SOCKET", "")
    if not name:
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
            speaker.sendto(message.encode(), address)
    except OSError:
        return False  # a service that runs is worth more than one that is known to run
    return True


@dataclass(frozen=True, slots=True)
class Unit:
    """A device as a service: who runs it, where its folder is, and its command."""

    device: str
    folder: Path
    user: str
    command: Sequence[str]  # with absolute paths


def unit_text(unit: Unit) -> str:
    """A systemd unit that may write the device's folder and nothing else.

    Raises:
        DeviceConfigError: a path or an argument holds a line break.
    """
    words = (unit.device, str(unit.folder), unit.user, *unit.command)
    if any("\n" in word for word in words):
        raise DeviceConfigError("a unit file cannot hold a name with a line break")
    command = " ".join(_escaped(word) for word in unit.command)
    return f"""\
[Unit]
Description=Edgekiln device {_percent(unit.device)}
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
User={unit.user}
Restart=always
RestartSec=2
TimeoutStopSec={STOP_TIMEOUT_S}
KillSignal=SIGTERM
UMask=0077
ReadWritePaths={_escaped(str(unit.folder))}
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
"""


def _escaped(word: str) -> str:
    """A word of a unit file: quoted where it must be, `%` and `$` taken literally."""
    text = _percent(word).replace("$", "$$")
    return shlex.quote(text) if shlex.quote(text) == text else '"' + _backslashed(text) + '"'


def _percent(word: str) -> str:
    return word.replace("%", "%%")


def _backslashed(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
