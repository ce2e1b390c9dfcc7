"""Ending the connection of a device that was revoked.

A broker looks at certificates when a connection begins, not again. But it keeps one connection for
each client id, and the newest wins: the server takes the device's place for a moment.
"""

from __future__ import annotations

import threading

from .folder import LOOPBACK, FleetFolder
from .link import server_client

TIMEOUT_S = 5.0


def kick(folder: FleetFolder, device: str) -> bool:
    """End a device's connection, if it has one; whether a broker runs that could."""
    client = server_client(folder, device)
    taken = threading.Event()
    client.on_connect = lambda *_: taken.set()
    try:
        client.connect(LOOPBACK, folder.settings.broker.port)
    except OSError:
        return False  # nobody is connected to a broker that does not run
    client.loop_start()
    done = taken.wait(TIMEOUT_S)
    client.disconnect()
    client.loop_stop()
    return done
