"""The system's figures: what a fake kernel says is told, and what it does not say is None."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekiln.runtime.system import SystemProbe


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_hottest_sane_zone_and_a_slowed_processor_are_told(tmp_path: Path) -> None:
    sys = write(
        tmp_path / "sys",
        {
            "class/thermal/thermal_zone0/temp": "41500\n",
            "class/thermal/thermal_zone1/temp": "63250\n",
            "class/thermal/thermal_zone2/temp": "-274000\n",
            "class/thermal/cooling_device0/type": "Fan\n",
            "class/thermal/cooling_device0/cur_state": "3\n",
            "class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
            "class/thermal/cooling_device1/cur_state": "0\n",
        },
    )
    proc = write(tmp_path / "proc", {"uptime": "321.5 600.1\n"})
    probe = SystemProbe(tmp_path, sys, proc)
    figures = probe()
    assert (figures.temperature_c, figures.throttled, figures.uptime_s) == (63.25, False, 321.5)
    assert figures.disk_free_bytes is not None
    assert figures.disk_free_bytes > 0
    write(sys, {"class/thermal/cooling_device1/cur_state": "2\n"})
    assert probe().throttled is True


def test_throttling_since_the_last_look_is_told_once(tmp_path: Path) -> None:
    name = "devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    sys = write(tmp_path, {name.format(0): "4\n", name.format(1): "0\n"})
    probe = SystemProbe(tmp_path, sys)
    assert probe().throttled is False
    write(sys, {name.format(1): "1\n"})
    assert probe().throttled is True
    assert probe().throttled is False


@pytest.mark.parametrize(("word", "throttled"), [("0x50005", True), ("50000", False), ("0", False)])
def test_raspberry_pi_tells_of_now_and_not_of_the_past(
    tmp_path: Path, word: str, throttled: bool
) -> None:
    sys = write(tmp_path, {"devices/platform/soc/soc:firmware/get_throttled": f"{word}\n"})
    assert SystemProbe(tmp_path, sys)().throttled is throttled


def test_unknown_figures_are_none(tmp_path: Path) -> None:
    broken = write(tmp_path, {"class/thermal/thermal_zone0/temp": "warm\n"})
    figures = SystemProbe(tmp_path / "gone", broken, tmp_path)()
    assert figures.temperature_c is figures.throttled is figures.uptime_s is None
    assert figures.disk_free_bytes is None


def test_time_of_the_processor_is_told_since_the_last_call() -> None:
    probe = SystemProbe(Path())
    probe()
    sum(range(3_000_000))
    figures = probe()
    assert 0 < figures.cpu_s <= figures.wall_s * 64
    assert probe().cpu_s < figures.cpu_s


@pytest.mark.parametrize("text", ["", "0x", "n/a\n", "²\n", "--1"])
def test_figures_are_none_when_the_kernel_says_what_is_no_number(tmp_path: Path, text: str) -> None:
    names = ("class/thermal/thermal_zone0/temp", "devices/platform/soc/soc:firmware/get_throttled")
    kernel = write(tmp_path, dict.fromkeys((*names, "uptime"), text))
    figures = SystemProbe(tmp_path, kernel, kernel)()
    assert (figures.temperature_c, figures.throttled, figures.uptime_s) == (None, None, None)
