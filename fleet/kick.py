"""Ending the connection of a device that was revoked.

A broker looks at certificates when a connection begins, not again. But it keeps one connection for
each client id, and the newest wins: the server takes the device's place for a moment.
"""

from __future__ import annotations

import threading

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from .acl import SERVER_USER
from .broker import server_password_file
from .folder import LOOPBACK, FleetFolder

TIMEOUT_S = 5.0


def kick(folder: FleetFolder, device: str) -> bool:
    """End a device's connection, if it has one; whether a broker runs that could."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=device,
        clean_session=True,
        protocol=MQTTProtocolVersion.MQTTv311,
    )
    password = server_password_file(folder).read_text(encoding="utf-8").strip()
    client.username_pw_set(SERVER_USER, password)
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
