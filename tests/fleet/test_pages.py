"""The page's parts with odd and hostile values; an HTML parser says what a browser would see."""

from __future__ import annotations

from html.parser import HTMLParser

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.fleet.model import (
    Alert,
    DeviceView,
    FeatureEvidence,
    Release,
    Rollout,
    RolloutEvent,
    RolloutState,
    Wave,
)
from edgekiln.fleet.pages import (
    DEVICES_SHOWN,
    STATIC,
    FleetView,
    brief,
    power,
    render,
    short,
    tiles,
)
from edgekiln.fleet.requests import RolloutDetail
from edgekiln.runtime.protocol import DeviceState

PARTS = ("tiles.html", "devices.html", "alerts.html", "rollouts.html", "dashboard.html")
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
GOOD = "a" * 64


class Page(HTMLParser):
    """Tags, their attributes, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def names(self) -> set[str]:
        return {tag for tag, _ in self.tags}

    def attribute(self, name: str) -> list[str | None]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def device(**changes: object) -> DeviceView:
    fields = DeviceView(
        device="sensor-1",
        online=True,
        device_class="host",
        cohorts=("all", "line-a"),
        state=DeviceState.COMMITTED,
        running=GOOD,
        last_known_good=GOOD,
        rollout_id="r1",
        last_seen_s=1000.0,
        samples=1234,
        p95_latency_ms=0.5,
    )
    return msgspec.structs.replace(fields, **changes)


def feature(name: str) -> FeatureEvidence:
    return FeatureEvidence(
        feature=name,
        devices=2,
        max_evidence=1.3e9,
        distance=0.75,
        threshold=0.25,
        samples=400,
        alarm_at=1.3e6,
    )


def alert(**changes: object) -> Alert:
    fields = Alert(
        alert_id=7,
        fingerprint="f",
        kind="drift",
        cohort="line-b",
        release=GOOD,
        opened_s=1000.0,
        last_seen_s=1010.0,
        devices=("sensor-5", "sensor-6"),
        features=(feature("mean"),),
        summary="2 of 2 devices of line-b see other data",
        runbook="docs/runbooks/drift.md",
    )
    return msgspec.structs.replace(fields, **changes)


def rollout(**changes: object) -> RolloutDetail:
    fields = Rollout(
        rollout_id="r1",
        release=GOOD,
        cohort="all",
        waves=(Wave(devices=2), Wave(permille=1000)),
        salt="s",
        state=RolloutState.ACTIVE,
        wave=0,
        version=1,
        permille=395,
        started_s=1000.0,
        wave_started_s=1000.0,
    )
    text = str(changes.pop("text", "started: release digits to 8 devices of all"))
    event = RolloutEvent(rollout_id="r1", at_s=1000.0, kind="started", text=text, wave=0)
    return RolloutDetail(
        rollout=msgspec.structs.replace(fields, **changes), events=(event,), exposures=()
    )


def view(**changes: object) -> FleetView:
    release = Release(
        bundle_id=GOOD,
        name="digits",
        target_path="p",
        sha256="s",
        bytes=1,
        security_counter=1,
        registered_s=0.0,
    )
    fields = FleetView(
        tenant="default",
        devices=(device(),),
        releases=(release,),
        rollouts=(rollout(),),
        alerts=(alert(),),
    )
    return msgspec.structs.replace(fields, **changes)


EMPTY = FleetView(tenant="default", devices=(), releases=(), rollouts=(), alerts=())


@pytest.mark.parametrize("part", PARTS)
def test_part_renders_when_the_fleet_is_empty(part: str) -> None:
    assert render(part, EMPTY)


def test_empty_parts_say_what_to_do() -> None:
    assert "edgekiln fleet enroll" in render("devices.html", EMPTY)
    assert "edgekiln fleet rollout start" in render("rollouts.html", EMPTY)
    assert "nothing has moved" in render("alerts.html", EMPTY)


def test_numbers_stand_with_unit_and_tier() -> None:
    text = Page(render("devices.html", view())).text
    assert "0.500 ms" in text
    assert "measured T4" in text
    assert "1,234" in text
    assert "digits aaaaaaaa" in text


def test_alert_says_how_sure_it_is() -> None:
    text = " ".join(Page(render("alerts.html", view())).text.split())
    assert "1.3·10⁹" in text
    assert "1.3·10⁶" in text
    assert "0.750" in text
    assert "0.250" in text
    assert "20,000 samples on average before any of its detectors alarms wrongly" in text
    assert "60 % of a cohort's devices" in text
    assert "docs/runbooks/drift.md" in text
    assert "edgekiln fleet alerts ack 7" in text


def test_acknowledged_alert_stands_below_open_ones_and_asks_for_nothing() -> None:
    taken = alert(alert_id=9, state="acknowledged", action="acknowledged: seen")
    html = render("alerts.html", view(alerts=(taken, alert())))
    assert Page(html).attribute("data-state") == ["open", "acknowledged"]
    assert "ack 7" in html
    assert "ack 9" not in html


def test_unmeasured_and_unknown_values_are_dashes_not_zeros() -> None:
    odd = device(p95_latency_ms=None, running="", last_known_good="", samples=0, cohorts=())
    text = Page(render("devices.html", view(devices=(odd,)))).text
    assert "ms" not in text.replace("alarms", "")
    assert text.count("–") == 2


def test_release_that_nobody_registered_is_called_unknown() -> None:
    text = Page(render("devices.html", view(devices=(device(running="b" * 64),)))).text
    assert "unknown bbbbbbbb" in text
    assert "last good digits aaaaaaaa" in text


def test_offline_device_says_since_when_and_an_unheard_one_says_never() -> None:
    gone = device(online=False)
    never = device(device="sensor-2", online=False, last_seen_s=0.0)
    page = Page(render("devices.html", view(devices=(gone, never))))
    assert "since" in page.text
    assert "never seen" in page.text
    assert page.attribute("data-online") == ["false", "false"]


def test_long_fleet_shows_devices_in_trouble_first_and_counts_the_rest() -> None:
    many = [device(device=f"d{i:04d}") for i in range(DEVICES_SHOWN + 50)]
    many[-1] = device(device="broken", error="no space left")
    page = Page(render("devices.html", view(devices=tuple(many))))
    names = page.attribute("data-device")
    assert names[0] == "broken"
    assert len(names) == DEVICES_SHOWN
    assert "and 50 more" in page.text


HOSTILE_VIEW = view(
    tenant=HOSTILE,
    devices=(
        device(
            device=HOSTILE,
            device_class=HOSTILE,
            cohorts=(HOSTILE, HOSTILE, HOSTILE),
            running=HOSTILE,
            last_known_good=HOSTILE[::-1],
            drifting=(HOSTILE,) * 3,
            error=HOSTILE,
        ),
    ),
    alerts=(
        alert(
            kind=HOSTILE,
            cohort=HOSTILE,
            release=HOSTILE,
            devices=(HOSTILE,) * 8,
            features=(feature(HOSTILE),),
            summary=HOSTILE,
            runbook=HOSTILE,
            action=HOSTILE,
            state=HOSTILE,
        ),
    ),
    rollouts=(rollout(rollout_id=HOSTILE, release=HOSTILE, cohort=HOSTILE, text=HOSTILE),),
)


@pytest.mark.parametrize("part", PARTS)
def test_nothing_that_a_device_says_becomes_markup(part: str) -> None:
    plain, hostile = Page(render(part, view())), Page(render(part, HOSTILE_VIEW))
    assert hostile.names() <= plain.names() | {"br", "span"}
    assert "img" not in hostile.names()
    for tag, attributes in hostile.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        if tag == "script":
            assert str(attributes["src"]).startswith("/static/")
    assert "49" not in hostile.text  # no template in a template


def test_hostile_name_is_shown_as_it_is() -> None:
    page = Page(render("devices.html", HOSTILE_VIEW))
    assert page.attribute("data-device") == [HOSTILE]
    assert HOSTILE[:30] in page.text


def test_long_texts_of_a_device_do_not_fill_the_page() -> None:
    long = "x" * 1_000_000
    wordy = device(error=long, device_class=long, drifting=(long,) * 5, cohorts=(long,))
    assert len(render("devices.html", view(devices=(wordy,)))) < 5000


@given(st.text(max_size=300))
def test_short_keeps_its_limit_and_shows_no_control_character(text: str) -> None:
    cut = short(text, 50)
    assert len(cut) <= 50
    assert cut.isprintable() or "\ufffd" in cut
    assert "\u202e" not in short(f"{text[:10]}\u202e", 50)


def test_brief_names_the_first_and_counts_the_others() -> None:
    assert brief(()) == "none"
    assert brief(("a", "b")) == "a, b"
    assert brief(("a", "b", "c", "d")) == "a, b and 2 more"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0"),
        (0.34, "0.34"),
        (1960.0, "1,960"),
        (1.3e9, "1.3·10⁹"),
        (2e-5, "2.0·10⁻⁵"),
        (float("inf"), "beyond measure"),
        (float("nan"), "beyond measure"),
    ],
)
def test_power_writes_numbers_that_people_can_read(number: float, shown: str) -> None:
    assert power(number) == shown


def test_tiles_count_what_is_live_now() -> None:
    found = tiles(
        view(
            devices=(
                device(),
                device(device="b", online=False, running="c" * 64, samples=6),
                device(device="c", running=""),
            ),
            rollouts=(rollout(), rollout(state=RolloutState.DONE)),
            alerts=(alert(), alert(state="acknowledged")),
        )
    )
    assert (found.devices, found.online, found.releases_running) == (3, 2, 1)
    assert (found.rollouts_active, found.alerts_open) == (1, 1)
    assert found.samples == 2 * 1234 + 6


def test_page_loads_nothing_from_elsewhere_and_holds_no_script_of_its_own() -> None:
    page = Page(render("dashboard.html", view()))
    for name in ("src", "href"):
        for place in page.attribute(name):
            assert str(place).startswith("/static/")
            assert (STATIC / str(place).removeprefix("/static/")).is_file()
    own = (STATIC / "app.js").read_text()
    assert "http:" not in own
    assert "https:" not in own
    assert "innerHTML" not in own
    assert "eval(" not in own
