"""The dashboard in a real browser, over a real server, broker and devices: what moves, and live."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from edgekiln.cli.processes import Children
from edgekiln.compiler.data import Dataset, load_dataset
from edgekiln.compiler.pipeline import compile_model
from edgekiln.compiler.request import CompileRequest, TargetRequest
from edgekiln.fleet.client import FleetClient
from edgekiln.fleet.enrol import enrol_device
from edgekiln.fleet.folder import init_fleet
from edgekiln.fleet.model import Release, Wave
from edgekiln.fleet.registry import register_release
from edgekiln.fleet.requests import StartRollout
from edgekiln.runtime.protocol import SelfTestLimits
from edgekiln.targets import Tier, load_target
from edgekiln.targets.target import CostTable, OpCost, Target

DEVICES = ("sensor-1", "sensor-2", "sensor-3")
LIVE_MS = 60_000
CHROMIUM_ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
]

# Every state and digest that the page showed of a device, in order, without a reload.
WATCH = """
window.seen = {};
const look = () => document.querySelectorAll("tr[data-device]").forEach((row) => {
  const now = row.querySelector("[data-state]").dataset.state + " "
    + row.querySelector("[data-running]").dataset.running;
  const known = window.seen[row.dataset.device] ??= [];
  if (known.at(-1) !== now) known.push(now);
});
new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
look();
"""

pytestmark = [pytest.mark.slow, pytest.mark.tool, pytest.mark.timeout(300)]


@dataclass
class Traffic:
    """What the browser asked for and complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on(
            "response",
            lambda answer: self.complaints.append(answer.url) if answer.status >= 400 else None,
        )


@dataclass(frozen=True)
class Fleet:
    """A running server, and devices that are enrolled and not started yet."""

    client: FleetClient
    children: Children
    factory: Release
    release: Release
    homes: dict[str, Path]
    samples: Path

    def start_devices(self) -> None:
        for seed, (device, home) in enumerate(self.homes.items()):
            self.children.start(
                device,
                (
                    *("device", "run", str(home), "--source", str(self.samples)),
                    *("--rate-hz", "40", "--window-s", "1", "--seed", str(seed)),
                ),
            )


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    digits = load_dataset("sklearn:digits")
    samples = tmp_path / "samples.npz"
    np.savez(samples, x=digits.x)
    folder = init_fleet(tmp_path / "fleet")
    factory = register_release(folder, bundle(digits, 0.001, tmp_path), alias="factory")
    release = register_release(folder, bundle(digits, 1.0, tmp_path), alias="prod")
    homes = {
        device: enrol_device(folder, device, "host", ("all",), tmp_path / device, factory)
        for device in DEVICES
    }
    children = Children(tmp_path / "logs")
    try:
        children.start("fleet", ("fleet", "serve", str(folder.path)))
        client = FleetClient.wait(folder.path, timeout_s=60.0)
        yield Fleet(client, children, factory, release, homes, samples)
    finally:
        children.close()


@pytest.fixture
def page(require_tool: Callable[[str], str]) -> Iterator[Page]:
    program = require_tool("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=CHROMIUM_ARGS)
        yield browser.new_page(viewport={"width": 1280, "height": 900})
        browser.close()


def bundle(digits: Dataset, strength: float, folder: Path) -> Path:
    """A logistic regression on digits, compiled in a second; `strength` makes them differ."""
    from sklearn.linear_model import LogisticRegression

    inputs = digits.contract.preprocess(digits.x[digits.train]).reshape(len(digits.train), -1)
    model = LogisticRegression(C=strength, max_iter=500).fit(inputs, digits.y[digits.train])
    request = CompileRequest(
        name=f"digits-{strength:g}",
        model=model,
        dataset=digits,
        targets=(TargetRequest(priced_host(), ("tflite",)),),
        force_reason="a test of the dashboard",
    )
    path = folder / f"{strength:g}.ekb"
    compile_model(request).write(path)
    return path


def priced_host() -> Target:
    """The host with a made-up cost table: nothing is timed to make the bundle."""
    host = load_target("host")
    priced = load_target("raspberry-pi-4").costs[0].ops
    ops = {op: OpCost(per_call_us=0.2, ns_per_mac=0.1, ns_per_byte=0.05) for op in priced}
    table = CostTable(
        ops=ops,
        engine="litert",
        dtype="int8",
        tier=Tier.T1,
        evidence_id="made-up",
        low_ratio=0.5,
        high_ratio=2.0,
    )
    return dataclasses.replace(host, costs=(table,))


def roll_out(fleet: Fleet) -> str:
    limits = SelfTestLimits(trial_samples=40, trial_timeout_s=60.0, max_disagreement=0.5)
    request = StartRollout(
        release="prod",
        cohort="all",
        waves=(Wave(devices=1), Wave(permille=1000)),
        soak_s=1.0,
        deadline_s=120.0,
        limits=limits,
    )
    return fleet.client.start_rollout(request).rollout_id


def test_page_follows_devices_and_a_rollout_without_a_reload(fleet: Fleet, page: Page) -> None:
    traffic = Traffic()
    traffic.watch(page)
    page.goto(fleet.client.address.url)
    expect(page.locator("#live")).to_have_text("live")
    expect(page.locator("td[data-online=false]")).to_have_count(len(DEVICES))
    expect(page.locator("#tiles")).to_contain_text("0 / 3")
    page.evaluate(WATCH)

    fleet.start_devices()
    expect(page.locator("td[data-online=true]")).to_have_count(len(DEVICES), timeout=LIVE_MS)
    running = page.locator(f"code[data-running='{fleet.factory.bundle_id}']")
    expect(running).to_have_count(len(DEVICES), timeout=LIVE_MS)
    expect(page.locator("#tiles")).to_contain_text("3 / 3")

    rollout_id = roll_out(fleet)
    article = page.locator(f"article[data-rollout='{rollout_id}']")
    expect(article).to_be_visible(timeout=LIVE_MS)
    expect(article).to_have_attribute("data-state", "DONE", timeout=2 * LIVE_MS)
    running = page.locator(f"code[data-running='{fleet.release.bundle_id}']")
    expect(running).to_have_count(len(DEVICES), timeout=LIVE_MS)
    expect(page.locator("[data-state=COMMITTED]")).to_have_count(len(DEVICES), timeout=LIVE_MS)
    page.wait_for_function("chart !== null && chart.data[1].some((rate) => rate > 60)")

    seen = page.evaluate("window.seen")  # gone, had the page been loaded again
    for device in DEVICES:
        digests = [shown.split(" ")[1] for shown in seen[device]]
        changes = [one for i, one in enumerate(digests) if i == 0 or digests[i - 1] != one]
        assert changes == ["", fleet.factory.bundle_id, fleet.release.bundle_id]
        assert seen[device][-1] == f"COMMITTED {fleet.release.bundle_id}"
    assert traffic.complaints == []
    assert {urlsplit(url).hostname for url in traffic.requests} == {"127.0.0.1"}
    fleet.children.check()

    fleet.children.close()
    expect(page.locator("#live")).to_have_text("connection lost, trying again")
