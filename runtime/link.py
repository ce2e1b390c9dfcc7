"""The device's MQTT connection: keeps itself up, says who is there, hands messages on.

Speaks MQTT 3.1.1, so that any broker will do. paho's own thread reads and reconnects with a
backoff; its delays are drawn per device, so that a fleet does not come back in one moment.
Callbacks run in that thread and must only hand over.
"""

from __future__ import annotations

import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from .protocol import MAX_DOWN_BYTES, Birth, Topics, encode

KEEPALIVE_S = 15
QOS = 1
AT_MOST_ONCE = frozenset({"get"})  # who needs an answer asks again, and twice would be too often
BACKOFF_FIRST_S = (1, 3)
BACKOFF_LAST_S = (20, 60)
MAX_QUEUED = 256  # messages inside paho; the durable outbox holds the rest

_LOG = logging.getLogger(__name__)

OnMessage = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What a device trusts a broker by, and who it is to it: PEM files."""

    authority: Path
    identity: Path | None  # key and certificate; None: it logs in with a password

    def context(self) -> ssl.SSLContext:
        """Checks the broker's certificate and name. Raises OSError or SSLError."""
        made = ssl.create_default_context(cafile=str(self.authority))
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.identity is not None:
            made.load_cert_chain(self.identity)
        return made


@dataclass(frozen=True, slots=True)
class LinkConfig:
    """Where the broker is and who the device is to it."""

    host: str
    port: int
    username: str
    password: str
    device: str
    tenant: str
    cohorts: tuple[str, ...]
    tls: TlsFiles | None = None


class Link:
    """One device's connection.

    `birth(online)` builds the retained birth message, `on_message(topic, payload)` takes what
    comes down, `on_up()` is called after each (re)connection.
    """

    def __init__(
        self,
        config: LinkConfig,
        birth: Callable[[bool], Birth],
        on_message: OnMessage,
        on_up: Callable[[], None],
        rng: random.Random,
    ) -> None:
        self._config = config
        self._birth = birth
        self._on_message = on_message
        self._on_up = on_up
        self._topics = Topics(config.tenant)
        self._refused = ""
        self._client = self._make_client(rng)

    @property
    def connected(self) -> bool:
        """Whether the broker answers now."""
        return self._client.is_connected()

    def start(self) -> None:
        """Begin to connect; returns at once, also where no broker is there yet."""
        self._client.connect_async(self._config.host, self._config.port, keepalive=KEEPALIVE_S)
        self._client.loop_start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Say goodbye as the last will would, then disconnect."""
        if self.connected:
            farewell = self._publish_birth(False)
            if farewell.rc == mqtt.MQTT_ERR_SUCCESS:
                farewell.wait_for_publish(timeout_s)
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, kind: str, payload: bytes) -> bool:
        """Send an up message; whether it was handed to a live connection.

        At QoS 1, but for requests for blocks: paho would repeat those by itself after a
        reconnection, and the server would answer both.
        """
        if not self.connected:
            return False
        topic = self._topics.up(self._config.device, kind)
        qos = 0 if kind in AT_MOST_ONCE else QOS
        return self._client.publish(topic, payload, qos).rc == mqtt.MQTT_ERR_SUCCESS

    def announce(self) -> None:
        """Publish the birth again, because what it says has changed."""
        if self.connected:
            self._publish_birth(True)

    def _make_client(self, rng: random.Random) -> mqtt.Client:
        config = self._config
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=config.device,
            protocol=MQTTProtocolVersion.MQTTv311,
            clean_session=True,
        )
        if config.password:
            client.username_pw_set(config.username, config.password)
        if config.tls is not None:
            self._secure(client, config.tls)
        client.will_set(
            self._topics.up(config.device, "birth"), encode(self._birth(False)), QOS, retain=True
        )
        client.reconnect_delay_set(rng.randint(*BACKOFF_FIRST_S), rng.randint(*BACKOFF_LAST_S))
        client.max_queued_messages_set(MAX_QUEUED)
        client.on_socket_open = _without_delay
        client.on_connect = self._connected
        client.on_connect_fail = self._failed
        client.on_message = self._received
        return client

    def _secure(self, client: mqtt.Client, tls: TlsFiles) -> None:
        """TLS; each connection begins with the identity that is on disk by then."""
        context = tls.context()
        client.tls_set_context(context)

        def renewed(_client: mqtt.Client, _data: Any) -> None:
            if tls.identity is not None:
                with contextlib.suppress(OSError, ssl.SSLError):  # the one in hand still works
                    context.load_cert_chain(tls.identity)

        client.on_pre_connect = renewed

    def _publish_birth(self, online: bool) -> mqtt.MQTTMessageInfo:
        topic = self._topics.up(self._config.device, "birth")
        return self._client.publish(topic, encode(self._birth(online)), QOS, retain=True)

    def _connected(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            if str(reason) != self._refused:
                self._refused = str(reason)
                _LOG.warning(
                    "the broker refuses device '%s': %s", self._config.device, self._refused
                )
            return
        self._refused = ""
        config = self._config
        down = self._topics.down(config.device, "#")
        cohorts = (self._topics.cohort(cohort, "rollout") for cohort in config.cohorts)
        client.subscribe([(topic, QOS) for topic in (down, *cohorts)])
        self._publish_birth(True)
        self._on_up()

    def _failed(self, _client: mqtt.Client, _data: Any) -> None:
        """No connection at all: no network, no broker, or one that TLS does not get along with."""
        if self._refused != "unreachable":
            self._refused = "unreachable"
            config = self._config
            _LOG.warning(
                "device '%s' cannot reach the broker at %s:%d; it goes on trying",
                *(config.device, config.host, config.port),
            )

    def _received(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if len(message.payload) <= MAX_DOWN_BYTES:
            self._on_message(message.topic, bytes(message.payload))


def _without_delay(_client: mqtt.Client, _data: Any, opened: Any) -> None:
    """Send small packets at once: asking for blocks would else wait 40 ms for the broker's ACK."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
