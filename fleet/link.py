"""The server's MQTT connection: one client that hears every device and reconnects by itself.

Speaks 3.1.1, so that any broker will do. Callbacks run in paho's thread and only hand over.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from edgekiln.runtime.protocol import Topics

from .acl import SERVER_USER
from .broker import server_password_file
from .folder import LOOPBACK, FleetFolder

KEEPALIVE_S = 30
MAX_UNSENT = 64  # offered messages that paho still holds: it would take any number
OnMessage = Callable[[str, bytes, bool], None]  # topic, payload, retained


class Publisher(Protocol):
    """Sends what the fleet says; never waits for the network."""

    def retain(self, topic: str, payload: bytes) -> None:
        """At least once, kept by the broker for who comes later."""

    def confirm(self, topic: str, payload: bytes) -> None:
        """At least once."""

    def offer(self, topic: str, payload: bytes) -> None:
        """At most once: whoever needs it asks again."""

    def room(self, timeout_s: float) -> bool:
        """Wait until the network has taken most of what was offered; whether it has."""


def server_client(folder: FleetFolder, client_id: str) -> mqtt.Client:
    """A client with the server's own login, not connected yet."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=True,
        protocol=MQTTProtocolVersion.MQTTv311,
    )
    password = server_password_file(folder).read_text(encoding="utf-8").strip()
    client.username_pw_set(SERVER_USER, password)
    return client


class FleetLink:
    """Connection of the server to its broker."""

    def __init__(
        self, folder: FleetFolder, on_message: OnMessage, on_up: Callable[[], None]
    ) -> None:
        """`on_up` is called after each connection: a broker that restarted has forgotten all."""
        self._port = folder.settings.broker.port
        self._all_up = Topics(folder.tenant).all_up
        self._on_message = on_message
        self._on_up = on_up
        client = server_client(folder, SERVER_USER)
        client.max_inflight_messages_set(1000)
        client.reconnect_delay_set(1, 10)
        client.on_connect = self._connected
        client.on_message = self._arrived
        self._client = client
        self._unsent: deque[mqtt.MQTTMessageInfo] = deque()

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._client.is_connected()

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(LOOPBACK, self._port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye and end paho's thread."""
        self._client.disconnect()
        self._client.loop_stop()

    def retain(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        self._client.publish(topic, payload, qos=1, retain=True)

    def confirm(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        self._client.publish(topic, payload, qos=1)

    def offer(self, topic: str, payload: bytes) -> None:
        """See `Publisher`."""
        message = self._client.publish(topic, payload, qos=0)
        if message.rc == mqtt.MQTT_ERR_SUCCESS:
            self._unsent.append(message)

    def room(self, timeout_s: float) -> bool:
        """See `Publisher`."""
        while self._unsent and self._unsent[0].is_published():
            self._forget_first()
        if len(self._unsent) < MAX_UNSENT:
            return True
        with contextlib.suppress(IndexError):  # a new connection has just emptied it
            self._unsent[0].wait_for_publish(timeout_s)
        return False

    def _forget_first(self) -> None:
        with contextlib.suppress(IndexError):
            self._unsent.popleft()

    def _connected(
        self, client: mqtt.Client, _data: Any, _flags: Any, code: ReasonCode, _properties: Any
    ) -> None:
        if not code.is_failure:
            self._unsent.clear()  # what paho held for the last connection is gone
            client.subscribe(self._all_up, qos=1)
            self._on_up()

    def _arrived(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._on_message(message.topic, bytes(message.payload), message.retain)
