"""The device folder: read whole, or refused in one line that says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgekiln.runtime.config import load_device
from edgekiln.runtime.errors import DeviceConfigError
from edgekiln.runtime.options import EngineOptions

TOML = """device = "d1"
tenant = "default"
target = "host"
cohorts = ["all", "edge"]
ram_bytes = 1000
flash_bytes = 2000

[broker]
host = "127.0.0.1"
port = 1883
username = "d1"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trust").mkdir()
    (tmp_path / "device.toml").write_text(TOML)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "trust" / "root.json").write_bytes(b"{}")
    public = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    (tmp_path / "trust" / "rollout.pub").write_text(public.hex() + "\n")
    return tmp_path


def test_load_device_reads_the_folder(folder: Path) -> None:
    config = load_device(folder)
    assert (config.device, config.cohorts, config.password) == ("d1", ("all", "edge"), "secret")
    assert config.slots == folder / "slots"
    assert config.engine == ""
    (folder / "device.toml").write_text(f'engine = "c"\n{TOML}')
    assert load_device(folder).engine == "c"


def test_load_device_reads_how_a_model_is_run_and_refuses_what_no_engine_takes(
    folder: Path,
) -> None:
    assert load_device(folder).inference == EngineOptions()
    (folder / "device.toml").write_text(f"{TOML}\n[inference]\nthreads = 2\nxnnpack = false\n")
    assert load_device(folder).inference == EngineOptions(threads=2, xnnpack=False)
    for line, says in (
        ("parallel = 0", "'inference': 'parallel' is 0, not 1 to 64"),
        ("thread = 2", "unknown field `thread`"),
        ('threads = "many"', "Expected `int`"),
    ):
        (folder / "device.toml").write_text(f"{TOML}\n[inference]\n{line}\n")
        assert says in refusal(folder)


def refusal(folder: Path) -> str:
    with pytest.raises(DeviceConfigError) as caught:
        load_device(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "name", ["device.toml", "password", "trust/root.json", "trust/rollout.pub"]
)
def test_load_device_names_the_file_when_one_is_missing(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"{name} is missing" in refusal(folder)


def test_load_device_refuses_when_there_is_no_folder(tmp_path: Path) -> None:
    assert "no device folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('device = "d1"', "device = 3", "$.device"),
        ('device = "d1"', 'devise = "d1"', "devise"),
        ('device = "d1"', 'device = "a/b"', "MQTT"),
        ('device = "d1"', 'device = ""', "'device' is empty"),
        ('tenant = "default"\n', "", "tenant"),
        ("port = 1883", "port = 0", "broker.port"),
        ("port = 1883", 'port = "x"', "$.broker.port"),
        ("cohorts = [", "cohorts = ", "no TOML"),
        ('target = "host"', 'target = "host"\nengine = "tpu"', "there are: litert, onnxruntime, c"),
        ('"edge"', '"a/+"', "'cohorts' holds"),
        ('target = "host"', 'target = "host"\ndrift_tolerance = 1.0', "not 0 to less than 1"),
    ],
)
def test_load_device_names_the_key_when_one_is_wrong(
    folder: Path, old: str, new: str, message: str
) -> None:
    (folder / "device.toml").write_text(TOML.replace(old, new))
    assert message in refusal(folder)


def test_load_device_refuses_when_a_file_cannot_be_read(folder: Path) -> None:
    (folder / "password").unlink()
    (folder / "password").mkdir()
    assert "password cannot be read" in refusal(folder)


def test_load_device_refuses_when_text_is_binary(folder: Path) -> None:
    (folder / "device.toml").write_bytes(b"\xff\xfe")
    assert "not UTF-8" in refusal(folder)


def test_load_device_refuses_when_the_rollout_key_is_none(folder: Path) -> None:
    (folder / "trust" / "rollout.pub").write_text("abc")
    assert "rollout.pub: no Ed25519" in refusal(folder)
