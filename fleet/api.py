"""The HTTP API and the dashboard: routes only; store and engine decide.

Who may ask, and how a refusal looks, stands in `refusals.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from litestar import Litestar, MediaType, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.response import ServerSentEvent, ServerSentEventMessage
from litestar.static_files import create_static_files_router

from .downloads import download
from .engine import Engine
from .model import Alert, DeviceView, Release, Rollout
from .pages import STATIC, render
from .refusals import HANDLERS, HEADERS, only_loopback, operator, tell
from .requests import Health, Reason, RolloutDetail, Series, StartRollout
from .series import UNTOLD_S, Received, settled, throughput
from .snapshot import Snapshots, detail
from .store import Store

PARTS = ("tiles", "devices", "rollouts", "alerts")
CHART_SPAN_S = 180.0
POLL_S = 0.25
KEEP_ALIVE_S = 15.0


@dataclass(frozen=True, slots=True)
class Services:
    """What the routes work on."""

    store: Store
    snapshots: Snapshots
    engine: Engine
    tenant: str
    broker_kind: str
    broker_port: int
    token: str
    repository: Path
    stopping: Callable[[], bool]


def build_app(services: Services) -> Litestar:
    """The ASGI application."""
    return Litestar(
        route_handlers=[
            health,
            devices,
            device,
            releases,
            rollouts,
            rollout,
            alerts,
            series,
            events,
            dashboard,
            part,
            start_rollout,
            abort_rollout,
            pause_rollout,
            resume_rollout,
            acknowledge,
            download,
            create_static_files_router(path="/static", directories=[STATIC]),
        ],
        state=State({"services": services}),
        before_request=only_loopback,
        after_exception=[tell],
        exception_handlers=HANDLERS,
        response_headers=HEADERS,
        logging_config=None,
        # The renderers that show a page would load it from elsewhere.
        openapi_config=OpenAPIConfig(
            title="Edgekiln fleet", version="1", render_plugins=[JsonRenderPlugin()]
        ),
    )


@get("/health", sync_to_thread=True)
def health(state: State) -> Health:
    """Whether the server works, and with which broker."""
    services: Services = state.services
    return Health(
        tenant=services.tenant,
        broker=services.broker_kind,
        broker_port=services.broker_port,
        revision=services.store.revision,
        malformed=services.store.counter("malformed"),
    )


@get("/api/devices", sync_to_thread=True)
def devices(state: State) -> tuple[DeviceView, ...]:
    """Every enrolled or heard device."""
    store: Store = state.services.store
    return store.devices()


@get("/api/devices/{name:str}", sync_to_thread=True)
def device(state: State, name: str) -> DeviceView:
    """One device."""
    store: Store = state.services.store
    return store.device(name)


@get("/api/releases", sync_to_thread=True)
def releases(state: State) -> tuple[Release, ...]:
    """Every release."""
    store: Store = state.services.store
    return store.releases()


@get("/api/rollouts", sync_to_thread=True)
def rollouts(state: State) -> tuple[Rollout, ...]:
    """Every rollout, newest first."""
    store: Store = state.services.store
    return store.rollouts()


@get("/api/rollouts/{rollout_id:str}", sync_to_thread=True)
def rollout(state: State, rollout_id: str) -> RolloutDetail:
    """One rollout and its decision log."""
    return detail(state.services.store, rollout_id)


@get("/api/alerts", sync_to_thread=True)
def alerts(state: State) -> tuple[Alert, ...]:
    """Every alert, newest first."""
    store: Store = state.services.store
    return store.alerts()


@get("/api/series", sync_to_thread=True)
def series(state: State) -> Series:
    """Inferences per second by cohort, the last three minutes."""
    services: Services = state.services
    now_s = time.time()
    cohorts = {view.device: view.cohorts for view in services.snapshots.newest().devices}
    received = [
        Received(cohorts.get(span.device, ()), span.start_s, span.end_s, span.samples)
        for span in services.store.received_since(now_s - CHART_SPAN_S - UNTOLD_S)
    ]
    return throughput(received, settled(received, now_s), CHART_SPAN_S)


@get("/api/events")
async def events(state: State) -> ServerSentEvent:
    """`revision` whenever anything changed; the page then asks for its parts again."""
    return ServerSentEvent(_revisions(state.services))


async def _revisions(services: Services) -> AsyncIterator[ServerSentEventMessage]:
    last, quiet_s = -1, 0.0
    while not services.stopping():
        revision = await asyncio.to_thread(lambda: services.store.revision)
        if revision != last:
            last, quiet_s = revision, 0.0
            yield ServerSentEventMessage(event="revision", data=str(revision))
        elif quiet_s >= KEEP_ALIVE_S:
            quiet_s = 0.0
            yield ServerSentEventMessage(comment="still here")
        await asyncio.sleep(POLL_S)
        quiet_s += POLL_S


@get("/", media_type=MediaType.HTML, sync_to_thread=True)
def dashboard(state: State) -> str:
    """The page."""
    snapshots: Snapshots = state.services.snapshots
    return render("dashboard.html", snapshots.newest())


@get("/parts/{name:str}", media_type=MediaType.HTML, sync_to_thread=True)
def part(state: State, name: str) -> str:
    """A part of the page: tiles, devices, rollouts or alerts."""
    if name not in PARTS:
        raise NotFoundException(f"no part '{name}'; there are {', '.join(PARTS)}")
    snapshots: Snapshots = state.services.snapshots
    return render(f"{name}.html", snapshots.newest())


@post("/api/rollouts", guards=[operator], sync_to_thread=True)
def start_rollout(state: State, data: StartRollout) -> Rollout:
    """Roll a release out to a cohort."""
    engine: Engine = state.services.engine
    return engine.start_rollout(data)


@post("/api/rollouts/{rollout_id:str}/abort", guards=[operator], sync_to_thread=True)
def abort_rollout(state: State, rollout_id: str, data: Reason) -> Rollout:
    """Send every device that took the release back to its last good one."""
    engine: Engine = state.services.engine
    return engine.abort(rollout_id, data.reason)


@post("/api/rollouts/{rollout_id:str}/pause", guards=[operator], sync_to_thread=True)
def pause_rollout(state: State, rollout_id: str, data: Reason) -> Rollout:
    """Begin no further wave until resumed."""
    engine: Engine = state.services.engine
    return engine.pause(rollout_id, data.reason)


@post("/api/rollouts/{rollout_id:str}/resume", guards=[operator], sync_to_thread=True)
def resume_rollout(state: State, rollout_id: str, data: Reason) -> Rollout:
    """Go on with a rollout that stopped for want of evidence."""
    engine: Engine = state.services.engine
    return engine.resume(rollout_id, data.reason)


@post("/api/alerts/{alert_id:int}/acknowledge", guards=[operator], sync_to_thread=True)
def acknowledge(state: State, alert_id: int, data: Reason) -> Alert:
    """Take an alert into a person's hands."""
    engine: Engine = state.services.engine
    return engine.acknowledge(alert_id, data.reason)
