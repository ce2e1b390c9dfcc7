"""Profiles: the shipped ones hold together, and a wrong one says in one line what is wrong."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.compiler.ops import Op
from edgekiln.targets import (
    LayerWork,
    NoCostTableError,
    Npu,
    ProfileError,
    TargetError,
    Tier,
    UnknownTargetError,
    UnsupportedOperatorError,
    Workload,
    check_profile_path,
    engine_of,
    estimate_latency,
    list_targets,
    load_target,
    read_profile,
)
from edgekiln.targets.estimate import check_operators
from edgekiln.targets.profiles import BUILTIN_FOLDER

SHIPPED_OPS = {
    *("conv2d", "depthwise_conv2d", "fully_connected", "add", "max_pool2d", "average_pool2d"),
    *("mean", "pad", "reshape", "softmax"),
}

MINIMAL = """\
schema = 1
id = "board"
title = "A board"
class = "mcu"
core = "cortex-m4f"
clock_hz = 100_000_000
formats = ["c"]
[memory]
ram = 1000
flash = 2000
[runtime]
name = "c"
[ops]
conv2d = ["int8"]
[[costs]]
engine = "c"
dtype = "int8"
tier = "T1"
evidence = "source"
low_ratio = 0.5
high_ratio = 2.0
[costs.ops]
conv2d = { ns_per_mac = 3.0 }
[[evidence]]
id = "source"
tier = "T1"
source = "somewhere"
"""


def write(folder: Path, text: str, name: str = "board") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_list_targets_has_every_shipped_one_in_order() -> None:
    ids = [target.id for target in list_targets()]
    assert ids == sorted(path.stem for path in BUILTIN_FOLDER.glob("*.toml"))
    assert len(ids) >= 30
    assert {"cortex-m4", "host", "raspberry-pi-4", "raspberry-pi-pico", "esp32-c3"} <= set(ids)


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_shipped_profile_prices_every_operator_that_a_search_may_draw(target) -> None:
    for table in target.costs:
        # A compiled graph ends in logits: the generated C of no network holds a softmax.
        assert set(table.ops) >= SHIPPED_OPS - ({Op.SOFTMAX} if table.engine == "c" else set())
        assert set(table.ops) <= {op.value for op in Op}
        assert table.tier is (Tier.T2 if table.engine == "c" else Tier.T1)
        assert table.heldout_median_ape is not None
        assert table.evidence_id in {item.id for item in target.evidence}
    engines = {engine_of(target, fmt) for fmt in target.formats}
    assert {table.engine for table in target.costs} <= engines


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_shipped_profile_says_what_its_memory_and_clock_rest_on(target) -> None:
    tiers = {item.id: item.tier for item in target.evidence}
    assert tiers.get("datasheet" if target.id != "host" else "host-defaults") is Tier.T0
    assert all(tier <= Tier.T2 for tier in tiers.values())  # nothing here was measured


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_only_reshape_is_free_in_a_shipped_table(target) -> None:
    for table in target.costs:
        free = {op for op, cost in table.ops.items() if not any(dataclasses.astuple(cost))}
        assert free <= {"reshape"}


def test_host_has_no_cost_table_because_it_is_measured_now() -> None:
    assert load_target("host").costs == ()


def test_flash_is_halved_by_the_update_slots_when_loaded() -> None:
    memory = load_target("cortex-m4").memory
    assert memory.flash_available_bytes == (2_097_152 - 262_144) // 2
    assert memory.ram_available_bytes == 655_360 - 65_536


def test_digest_is_that_of_the_file() -> None:
    data = (BUILTIN_FOLDER / "host.toml").read_bytes()
    assert load_target("host").digest == hashlib.sha256(data).hexdigest()


def test_load_names_the_nearest_when_unknown() -> None:
    nearest = r"'nucleo-l4r5z'.*did you mean 'nucleo-l4r5zi'.*\? edgekiln targets list shows all"
    with pytest.raises(UnknownTargetError, match=nearest) as caught:
        load_target("nucleo-l4r5z")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", ["../host", "/etc/passwd", ""])
def test_load_finds_nothing_when_the_id_is_a_path(name: str) -> None:
    with pytest.raises(UnknownTargetError):
        load_target(name)


def test_users_profile_replaces_the_shipped_one_of_its_id(tmp_path: Path) -> None:
    text = (BUILTIN_FOLDER / "cortex-m4.toml").read_text(encoding="utf-8")
    write(tmp_path, text.replace("120_000_000", "80_000_000"), "cortex-m4")
    assert load_target("cortex-m4", [tmp_path]).clock_hz == 80_000_000
    assert load_target("cortex-m4").clock_hz == 120_000_000
    assert len(list_targets([tmp_path])) == len(list_targets())


def test_load_is_an_error_that_names_both_files_when_two_folders_have_the_id(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        write(folder, MINIMAL)
    with pytest.raises(ProfileError, match=r"'board' has two profiles, .*a/board.toml and .*keep"):
        load_target("host", [first, second])
    assert load_target("board", [first, first]).id == "board"  # one folder, named twice


def test_project_file_is_no_profile_when_it_lies_beside_them(tmp_path: Path) -> None:
    write(tmp_path, MINIMAL)
    write(tmp_path, 'profiles = ["."]', "edgekiln")
    assert "board" in {target.id for target in list_targets([tmp_path])}


def test_load_is_an_error_when_a_folder_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="is not there"):
        load_target("host", [tmp_path / "nowhere"])


def test_minimal_profile_reads_with_the_defaults(tmp_path: Path) -> None:
    target = read_profile(write(tmp_path, MINIMAL))
    assert target.memory.slots == 2
    assert target.budget.latency_ms is None
    assert target.costs[0].ops["conv2d"].per_call_us == 0
    assert target.cycles_per_instruction is None


WRONG = [
    ('class = "mcu"', 'class = "toaster"', r"key 'class'.*allowed: host, linux, mcu, npu"),
    ('formats = ["c"]', 'formats = ["c", "pt"]', r"key 'formats'.*allowed: tflite, onnx, c"),
    ('formats = ["c"]', "formats = []", r"key 'formats': empty"),
    (
        'formats = ["c"]',
        'formats = ["c"]\noptional_formats = ["c"]',
        r"key 'optional_formats': each format once",
    ),
    (
        'formats = ["c"]',
        'formats = ["c"]\noptional_formats = ["onnx"]',
        r"no engine runs onnx on class mcu",
    ),
    ('formats = ["c"]', 'formats = ["onnx"]', r"no engine runs onnx on class mcu.*tflite, c"),
    (
        'engine = "c"',
        'engine = "gcc"',
        r"key 'costs.engine'.*allowed: litert, onnxruntime, tflm, c",
    ),
    ('engine = "c"\n', "", r"`engine` in \[costs\]; it may have: ops, engine"),
    ("ns_per_mac = 3.0", "ns_per_output = -1.0", "operator 'conv2d' has a cost that is negative"),
    ('tier = "T1"', 'tier = "T9"', r"key 'costs.tier'.*allowed: T0, T1"),
    ('name = "c"', 'name = "cc"', r"key 'runtime.name'.*allowed: litert, onnxruntime"),
    ('conv2d = ["int8"]', 'conv2d = ["int4"]', r"key 'ops'.*allowed: int8, int16, float32"),
    ("ram = 1000", "ram = 1000\nramm = 3", r"`ramm` in \[memory\]; it may have: ram, flash"),
    ("ns_per_mac", "ns_per_cam", r"`ns_per_cam` in \[costs.ops\]; it may have: per_call_us"),
    ("flash = 2000", "", r"`flash` in \[memory\]"),
    ("schema = 1", "schema = 2", r"key 'schema'.*allowed: 1"),
    ("ram = 1000", "ram = 1000\nram_reserved = 1000", "reserved bytes must be below"),
    ("ram = 1000", "ram = 1000\nslots = 0", "'memory.slots': must be 1 or more"),
    ("clock_hz = 100_000_000", "clock_hz = 0", "key 'clock_hz'"),
    (
        "clock_hz = 100_000_000",
        'clock_hz = "100 MHz"',
        r"key 'clock_hz': Expected `int`, got `str`; allowed: a whole number of Hz, such as 64_",
    ),
    ("clock_hz = 100_000_000", "clock_hz = 100", r"'clock_hz': 100 Hz is no clock; allowed: .*Hz"),
    ("ram = 1000", 'ram = "256 KiB"', r"'memory.ram': Expected `int`.*whole number of bytes"),
    ("ram = 1000", "ram = 256", r"'memory.ram': under 512 bytes; allowed: .*262_144 \(256 KiB\)"),
    ("flash = 2000", "flash = 2.5", r"'memory.flash': Expected `int`, got `float`.*of bytes"),
    ("[memory]", 'extends = "cortex-m9"\n[memory]', r"no core 'cortex-m9'; allowed: .*cortex-m7"),
    ("[memory]", "extends = 4\n[memory]", r"key 'extends': Expected `str \| null`, got `int`"),
    ('core = "cortex-m4f"\n', "", r"`core` in \[the top level\]; it may have: schema, id"),
    (
        "[[evidence]]\n",
        '[[evidence]]\nid = "source"\ntier = "T0"\nsource = "x"\n[[evidence]]\n',
        r"\[\[evidence\]\]: id 'source' is there twice",
    ),
    ("low_ratio = 0.5", "low_ratio = 1.5", "needs 0 < low_ratio <= 1 <= high_ratio"),
    ("ns_per_mac = 3.0", "ns_per_mac = -3.0", "operator 'conv2d' has a cost that is negative"),
    ('evidence = "source"', 'evidence = "hearsay"', r"no \[\[evidence\]\] of that id"),
    ('id = "board"', 'id = "other"', "must be the file's name, 'board'"),
    ('id = "board"', 'id = "Board!"', "key 'id': allowed: lower-case"),
    ('core = "cortex-m4f"', 'core = "a', "not a TOML file"),
    ("[memory]", "cycles_per_instruction = [2.0, 1.5, 1.7]\n[memory]", "low <= value <= high"),
    ("high_ratio = 2.0", "high_ratio = nan", "high_ratio"),
    ("high_ratio = 2.0", "high_ratio = inf", "high_ratio"),
    ("high_ratio = 2.0", "high_ratio = 2.0\nper_run_us = -1.0", "per_run_us must be 0 or more"),
    ("ns_per_mac = 3.0", "ns_per_mac = nan", "operator 'conv2d'"),
]


@pytest.mark.parametrize(("right", "wrong", "message"), WRONG)
def test_read_names_file_key_and_choices_when_wrong(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert MINIMAL.count(right) >= 1
    path = write(tmp_path, MINIMAL.replace(right, wrong, 1))
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


NPU = """\
schema = 1
id = "board"
title = "A board with an NPU"
class = "npu"
extends = "ethos-u55"
clock_hz = 100_000_000
[memory]
ram = 1000
flash = 2000
[npu]
accelerator = "ethos-u55-256"
system_config = "Ethos_U55_Deep_Embedded"
memory_mode = "Shared_Sram"
"""


def test_npu_is_read_in_velas_words_and_its_latency_points_there(tmp_path: Path) -> None:
    target = read_profile(write(tmp_path, NPU))
    assert target.npu == Npu("ethos-u55-256", "Ethos_U55_Deep_Embedded", "Shared_Sram")
    with pytest.raises(NoCostTableError, match="targets measure shows Vela's cycles"):
        estimate_latency(target, Workload((), "int8"), "tflm")
    without = read_profile(write(tmp_path, NPU.partition("[npu]")[0]))
    assert without.npu is None


@pytest.mark.parametrize(
    ("right", "wrong", "message"),
    [
        ("u55-256", "u55-512", r"'npu.accelerator'.*'ethos-u55-512'.*allowed: ethos-u55-32, "),
        ("U55_Deep", "U55_Depp", r"'npu.system_config'.*allowed: Ethos_U55_Deep_Embedded, "),
        ("Shared_Sram", "Shared", r"'npu.memory_mode'.*allowed: Sram_Only, Shared_Sram, "),
        ("u55-256", "u65-256", r"'Ethos_U55_Deep_Embedded' is none for ethos-u65-256; .*Ethos_U65"),
        ('class = "npu"', 'class = "mcu"', r"table 'npu': for class npu alone, .* class mcu"),
        ("memory_mode", "memorymode", r"`memorymode` in \[npu\]; it may have: accelerator, sys"),
        ('memory_mode = "Shared_Sram"\n', "", r"`memory_mode` in \[npu\]; it may have"),
    ],
)
def test_read_says_what_is_allowed_when_the_npu_is_wrong(
    tmp_path: Path, right: str, wrong: str, message: str
) -> None:
    assert right in NPU
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(write(tmp_path, NPU.replace(right, wrong, 1)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("target", list_targets(), ids=lambda target: target.id)
def test_shipped_npu_has_the_macs_of_its_title(target) -> None:
    assert (target.npu is None) == (target.device_class != "npu")
    if target.npu is not None:
        assert target.npu.accelerator in target.title.lower()


def test_every_operator_is_named_when_work_is_outside_the_profile(tmp_path: Path) -> None:
    target = read_profile(write(tmp_path, MINIMAL))
    conv, softmax = (LayerWork(op, op, 1, 1, 1) for op in ("conv2d", "softmax"))
    check_operators(target, Workload((conv,), "int8"))
    with pytest.raises(
        UnsupportedOperatorError, match=r"'board'.*'softmax' in int8.*lists: conv2d"
    ):
        check_operators(target, Workload((conv, softmax), "int8"))
    with pytest.raises(UnsupportedOperatorError, match=r"'conv2d' in float32.*nothing in that"):
        check_operators(target, Workload((conv,), "float32"))
    check_operators(load_target("host"), Workload((softmax,), "float32"))


def test_read_is_an_error_when_the_file_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="not a TOML file"):
        read_profile(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        read_profile(tmp_path / "gone.toml")


@pytest.mark.parametrize("name", ["board.json", "Board.toml", "board", "nowhere/board.toml"])
def test_path_is_refused_when_no_profile_could_be_found_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(ProfileError, match=r"ID\.toml|there is no folder"):
        check_profile_path(tmp_path / name)
    check_profile_path(tmp_path / "board.toml")


@given(st.data())
def test_read_never_fails_otherwise_when_lines_are_damaged(tmp_path_factory, data) -> None:
    lines = MINIMAL.splitlines()
    index = data.draw(st.integers(0, len(lines) - 1))
    value = data.draw(st.sampled_from(["", "x", "x = 1", "[x]", lines[0], lines[1], "[[ops]]"]))
    path = tmp_path_factory.getbasetemp() / "board.toml"
    path.write_text("\n".join([*lines[:index], value, *lines[index + 1 :]]), encoding="utf-8")
    messages = []
    try:
        read_profile(path)
    except TargetError as error:
        messages.append(str(error))
    assert all("\n" not in message for message in messages)
