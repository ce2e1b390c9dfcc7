"""The enrolment desk: gives identities to devices that come with a token, and renews them.

It hears three kinds of messages, all bound to their sender's login by the broker: `enrol` and
`enrolled` from a token's login, `renew` from a device's own. Requests wait in a queue; one thread
answers them.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from edgekiln.runtime.errors import ProtocolError
from edgekiln.runtime.protocol import IdentityAnswer, IdentityRequest, Topics, decode, encode

from .authority import issue, now_utc, pem
from .broker import remove_passwords, set_passwords
from .enrol import device_config, keep_enrolment, newest_root, rollout_key
from .errors import EnrolmentError, FleetError
from .folder import ENROL_PREFIX, FleetFolder
from .link import Publisher
from .passwords import new_password
from .repository import factory_files
from .revocation import keep_certificate, withdraw_certificates
from .store import Store
from .tokens import TokenRecord, drop_expired, find_token, put_token

KINDS = frozenset({"enrol", "enrolled", "renew"})
QUEUE_REQUESTS = 500
MAX_REQUEST_BYTES = 16 << 10
IDLE_S = 0.25
SWEEP_S = 60.0  # between two looks for expired tokens


class Desk:
    """Answers requests for identities. `clock` gives Unix seconds."""

    def __init__(
        self,
        folder: FleetFolder,
        store: Store,
        publisher: Publisher,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._store = store
        self._topics = Topics(folder.tenant)
        self._publisher = publisher
        self._clock = clock
        self._sweep_s = 0.0
        self._waiting: queue.Queue[tuple[str, str, bytes]] = queue.Queue(QUEUE_REQUESTS)

    def receive(self, user: str, kind: str, payload: bytes) -> None:
        """Queue a request; never waits."""
        if len(payload) > MAX_REQUEST_BYTES:
            return
        try:
            self._waiting.put_nowait((user, kind, payload))
        except queue.Full:
            return  # the device asks again

    def run(self, stop: threading.Event) -> None:
        """Answer until `stop`."""
        while not stop.is_set():
            self.step(IDLE_S)

    def step(self, wait_s: float = 0.0) -> bool:
        """Answer one request; whether there was one."""
        if self._clock() >= self._sweep_s:
            drop_expired(self._folder, self._store, self._clock())
            self._sweep_s = self._clock() + SWEEP_S
        try:
            user, kind, payload = (
                self._waiting.get(timeout=wait_s) if wait_s else (self._waiting.get_nowait())
            )
        except queue.Empty:
            return False
        if kind == "enrolled":
            self._done(user)
            return True
        try:
            answer = self._answer(user, kind, payload)
        except (FleetError, ProtocolError) as error:
            answer = IdentityAnswer(error=str(error))
        self._publisher.confirm(self._topics.down(user, "identity"), encode(answer))
        return True

    def _answer(self, user: str, kind: str, payload: bytes) -> IdentityAnswer:
        request = decode(payload, IdentityRequest)
        if kind == "renew":
            return self._renewed(user, request)
        return self._enrolled(self._token(user, request), request)

    def _token(self, user: str, request: IdentityRequest) -> TokenRecord:
        token = find_token(self._store, user)
        if token is None or token.expires_s <= self._clock():
            raise EnrolmentError("the token is not known or has expired; ask for a new one")
        key = _key_of(request)
        if token.key_sha256 not in ("", key):
            raise EnrolmentError("the token was used by another device; ask for a new one")
        return msgspec.structs.replace(token, key_sha256=key)

    def _enrolled(self, token: TokenRecord, request: IdentityRequest) -> IdentityAnswer:
        place, folder = token.place, self._folder
        release = self._store.release(place.factory)
        if release.quarantined:
            raise EnrolmentError(f"the first release '{release.name}' is quarantined by now")
        if place.device in self._store.enrolments():
            withdraw_certificates(folder, self._store, place.device)
        put_token(self._store, token)
        keep_enrolment(folder, self._store, place, self._clock())
        given = self._identity(place.device, request)
        broker = folder.settings.broker
        port = broker.tls_port if broker.public else broker.port
        with folder.publishing():
            files = factory_files(folder, release.target_path)
        return msgspec.structs.replace(
            given,
            device=place.device,
            config=device_config(folder, place, port),
            root=newest_root(folder),
            rollout_key=rollout_key(folder),
            factory=files,
        )

    def _renewed(self, device: str, request: IdentityRequest) -> IdentityAnswer:
        if device not in self._store.enrolments():
            raise EnrolmentError(f"device '{device}' is not enrolled")
        if not self._folder.settings.broker.public:
            # The broker knows one password a user: were the answer lost, the device would be, too.
            msg = "this broker gives passwords, which are renewed by enrolling with a new token"
            raise EnrolmentError(msg)
        given = self._identity(device, request)
        if device not in self._store.enrolments():  # revoked meanwhile, by a command
            withdraw_certificates(self._folder, self._store, device)
            raise EnrolmentError(f"device '{device}' is not enrolled any more")
        return given

    def _identity(self, device: str, request: IdentityRequest) -> IdentityAnswer:
        """A certificate where the broker speaks TLS, else a password that replaces the old one."""
        if not self._folder.settings.broker.public:
            password = new_password()
            set_passwords(self._folder, {device: password})
            return IdentityAnswer(password=password)
        certificate = issue(self._folder, request.request, device, now_utc())
        ends_s = certificate.not_valid_after_utc.timestamp()
        keep_certificate(self._store, certificate.serial_number, device, ends_s)
        remove_passwords(self._folder, (device,))
        return IdentityAnswer(certificate=pem(certificate))

    def _done(self, user: str) -> None:
        """The device has all it needs: its token's login ends."""
        if user.startswith(ENROL_PREFIX):
            remove_passwords(self._folder, (user,))


def _key_of(request: IdentityRequest) -> str:
    """Digest of the request's public key."""
    try:
        key = x509.load_pem_x509_csr(request.request).public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise EnrolmentError("the certificate request cannot be read") from error
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(
        key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ).hexdigest()
