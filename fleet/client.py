"""`FleetClient`: the command line's way to a running fleet server, over HTTP."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TypeVar

import msgspec

from .errors import ApiError
from .model import Alert, DeviceView, Release, Rollout
from .requests import Health, Reason, RolloutDetail, StartRollout

T = TypeVar("T")
TIMEOUT_S = 10.0
SERVER_FILE = "server.json"
TOKEN_FILE = "operator.token"


class ServerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """`server.json`: where the server of a fleet folder answers while it runs."""

    pid: int
    url: str
    broker_host: str
    broker_port: int


class FleetClient:
    """Calls the server that runs over `folder`.

    Raises:
        ApiError: no server runs there, it cannot be reached, or it refused; one line.
    """

    def __init__(self, folder: Path) -> None:
        try:
            data = (folder / SERVER_FILE).read_bytes()
            self.address = msgspec.json.decode(data, type=ServerAddress)
            self._token = (folder / TOKEN_FILE).read_text().strip()
        except FileNotFoundError as error:
            raise ApiError(
                f"no server runs over {folder}; start one with: edgekiln fleet serve {folder}"
            ) from error
        except msgspec.DecodeError as error:
            raise ApiError(f"{folder / SERVER_FILE} cannot be read: {error}") from error
        except OSError as error:
            raise ApiError(f"{error.filename} cannot be read: {error.strerror}") from error
        # The server is on this machine: the token never goes to a proxy of the environment.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    @classmethod
    def wait(cls, folder: Path, timeout_s: float) -> FleetClient:
        """A client once the server answers; ApiError when it does not within `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                client = cls(folder)
                client.health()
                return client
            except ApiError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def health(self) -> Health:
        """The server's health."""
        return self._get("/health", Health)

    def devices(self) -> tuple[DeviceView, ...]:
        """Every device that was ever seen."""
        return self._get("/api/devices", tuple[DeviceView, ...])

    def releases(self) -> tuple[Release, ...]:
        """Every release, oldest first."""
        return self._get("/api/releases", tuple[Release, ...])

    def rollouts(self) -> tuple[Rollout, ...]:
        """Every rollout, newest first."""
        return self._get("/api/rollouts", tuple[Rollout, ...])

    def rollout(self, rollout_id: str) -> RolloutDetail:
        """One rollout with its decisions."""
        return self._get(_rollout(rollout_id), RolloutDetail)

    def alerts(self) -> tuple[Alert, ...]:
        """Every alert, newest first."""
        return self._get("/api/alerts", tuple[Alert, ...])

    def start_rollout(self, request: StartRollout) -> Rollout:
        """Start a rollout."""
        return self._post("/api/rollouts", request, Rollout)

    def abort(self, rollout_id: str, reason: str) -> Rollout:
        """Send every device that took the release back to its last good one."""
        return self._post(_rollout(rollout_id, "/abort"), Reason(reason=reason), Rollout)

    def pause(self, rollout_id: str, reason: str) -> Rollout:
        """Begin no further wave until resumed."""
        return self._post(_rollout(rollout_id, "/pause"), Reason(reason=reason), Rollout)

    def resume(self, rollout_id: str, reason: str) -> Rollout:
        """Go on with a rollout that was paused, or stopped for want of evidence."""
        return self._post(_rollout(rollout_id, "/resume"), Reason(reason=reason), Rollout)

    def acknowledge(self, alert_id: int) -> Alert:
        """Take an alert into a person's hands."""
        body = Reason(reason="acknowledged at the command line")
        return self._post(f"/api/alerts/{alert_id}/acknowledge", body, Alert)

    def _get(self, path: str, kind: type[T]) -> T:
        return self._call(path, None, {}, kind)

    def _post(self, path: str, body: msgspec.Struct, kind: type[T]) -> T:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        return self._call(path, msgspec.json.encode(body), headers, kind)

    def _call(self, path: str, body: bytes | None, headers: dict[str, str], kind: type[T]) -> T:
        try:
            request = urllib.request.Request(self.address.url + path, body, headers)
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                return msgspec.json.decode(answer.read(), type=kind)
        except msgspec.DecodeError as error:
            raise ApiError(f"the server's answer cannot be read: {error}") from error
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(_reason(error)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = " ".join(str(getattr(error, "reason", error)).split())
            raise ApiError(
                f"the server at {self.address.url} does not answer ({reason}); "
                "is 'edgekiln fleet serve' still running?"
            ) from error


def _rollout(rollout_id: str, act: str = "") -> str:
    return f"/api/rollouts/{urllib.parse.quote(rollout_id, safe='')}{act}"


class _Problem(msgspec.Struct):
    detail: str


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return msgspec.json.decode(error.read(), type=_Problem).detail
    except msgspec.DecodeError:
        return f"the server answered {error.code}"
