"""A short MQTT connection for identities: one login, one question, and files as blocks."""

from __future__ import annotations

import queue
import secrets
import ssl
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from .enrol import EnrolToken
from .errors import EnrolError, ProtocolError
from .link import KEEPALIVE_S, QOS, LinkConfig
from .protocol import Block, IdentityAnswer, IdentityRequest, Topics, decode, encode
from .transfer import Transfer

TIMEOUT_S = 20.0


class EnrolLink:
    """Connects at once, ends with its block. `kind` is the topic on which it asks."""

    def __init__(self, config: LinkConfig, kind: str, timeout_s: float = TIMEOUT_S) -> None:
        self._config = config
        self._kind = kind
        self._timeout_s = timeout_s
        self._topics = Topics(config.tenant)
        self._up: queue.Queue[str] = queue.Queue()
        self._answers: queue.Queue[bytes] = queue.Queue()
        self._transfer = Transfer(
            lambda request: self._send("get", encode(request)), lambda: secrets.token_hex(6)
        )
        self._client = self._make_client()

    @classmethod
    def of_token(cls, token: EnrolToken) -> EnrolLink:
        """The login of a one-time token."""
        config = LinkConfig(
            host=token.host,
            port=token.port,
            username=token.user,
            password=token.secret,
            device=token.user,
            tenant=token.tenant,
            cohorts=(),
        )
        link = cls(config, "enrol")
        if token.authority:
            try:
                link._client.tls_set_context(ssl.create_default_context(cadata=token.authority))
            except ssl.SSLError as error:
                raise EnrolError("the token's authority is no certificate") from error
        return link

    def __enter__(self) -> EnrolLink:
        config = self._config
        try:
            self._client.connect(config.host, config.port, keepalive=KEEPALIVE_S)
        except (OSError, ValueError) as error:
            place = f"{config.host}:{config.port}"
            raise EnrolError(f"the broker at {place} does not answer: {error}") from error
        self._client.loop_start()
        try:
            refused = self._up.get(timeout=self._timeout_s)
        except queue.Empty:
            refused = "it does not answer"
        if refused:
            self._end()
            raise EnrolError(f"the broker refuses '{config.username}': {refused}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def ask(self, request: IdentityRequest) -> IdentityAnswer:
        """See `enrol.IdentitySource`."""
        self._send(self._kind, encode(request))
        deadline = time.monotonic() + self._timeout_s
        while (left := deadline - time.monotonic()) > 0:
            try:
                return decode(self._answers.get(timeout=left), IdentityAnswer)
            except queue.Empty:
                break
            except ProtocolError:
                continue
        raise EnrolError("the fleet does not answer; is `edgekiln fleet serve` running there?")

    def fetch(self, path: str, max_bytes: int) -> bytes:
        """See `enrol.IdentitySource`."""
        return self._transfer.fetch_bytes(path, max_bytes)

    def done(self) -> None:
        """See `enrol.IdentitySource`."""
        topic = self._topics.up(self._config.device, "enrolled")
        self._client.publish(topic, b"", QOS).wait_for_publish(self._timeout_s)

    def _send(self, kind: str, payload: bytes) -> bool:
        topic = self._topics.up(self._config.device, kind)
        return self._client.publish(topic, payload, QOS).rc == mqtt.MQTT_ERR_SUCCESS

    def _make_client(self) -> mqtt.Client:
        config = self._config
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{config.device}.{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        if config.tls is not None:
            client.tls_set_context(config.tls.context())
        if config.password:
            client.username_pw_set(config.username, config.password)
        client.on_connect = self._connected
        client.on_subscribe = lambda *_: self._up.put("")
        # A certificate that the broker does not take ends the connection without an answer.
        client.on_disconnect = lambda *_: self._up.put("it ends the connection")
        client.on_message = self._received
        return client

    def _connected(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Any
    ) -> None:
        if reason.is_failure:
            self._up.put(str(reason))
            return
        client.subscribe(self._topics.down(self._config.device, "#"), QOS)

    def _received(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic == self._topics.down(self._config.device, "identity"):
            self._answers.put(bytes(message.payload))
        elif message.topic == self._topics.down(self._config.device, "block"):
            try:
                self._transfer.receive(decode(bytes(message.payload), Block))
            except ProtocolError:
                return  # asked for again when it does not come

    def _end(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def renew_identity(config: LinkConfig, path: Path) -> None:
    """Replace the identity at `path` by one with a new key.

    Raises:
        EnrolError: the fleet refuses or does not answer; the old identity stays.
        OSError: the file cannot be written; the old identity stays.
    """
    from .identity import new_key, request_for, write_identity

    key = new_key()
    with EnrolLink(config, "renew") as link:
        answer = link.ask(IdentityRequest(request=request_for(key, config.device)))
    if answer.error:
        raise EnrolError(f"the fleet refuses: {answer.error}")
    write_identity(path, key, answer.certificate)
