"""Generated C as an engine: carried by a bundle or built here, and the same answers as LiteRT's."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekiln.compiler.builder import GraphBuilder
from edgekiln.compiler.emit_c import emit_c
from edgekiln.compiler.emit_tflite import emit_tflite
from edgekiln.compiler.graph import Graph
from edgekiln.compiler.int_kernels.common import params
from edgekiln.compiler.ops import Activation
from edgekiln.compiler.quantize import quantize
from edgekiln.compiler.reference import quantize_input, run_int8
from edgekiln.runtime.bundle import open_bundle, write_bundle
from edgekiln.runtime.c_engine import CEngine
from edgekiln.runtime.c_library import build_library, library_name
from edgekiln.runtime.contract import Affine, Contract, TensorSpec
from edgekiln.runtime.engines import OutputScale
from edgekiln.runtime.errors import DigestError, EngineError, MemberError
from edgekiln.runtime.files import stored_zip
from edgekiln.runtime.golden import Golden, pack_golden
from edgekiln.runtime.manifest import Artifact, EstimateRecord, Gate, Lineage, Manifest
from edgekiln.runtime.model import Model
from edgekiln.runtime.options import EngineOptions
from edgekiln.runtime.reference import build_reference
from edgekiln.runtime.timing import time_bundle
from edgekiln.targets.steadiness import Rules

Files = Mapping[str, bytes]
BundleWith = Callable[..., Path]

CONTRACT = Contract(
    TensorSpec("image", (6, 6, 1), minimum=0, maximum=16),
    ("zero", "one", "two"),
    (Affine(2.0, 1 / 16),),
)
RAW = np.random.default_rng(0).uniform(0, 16, (40, 6, 6, 1)).astype(np.float32)
X = CONTRACT.preprocess(RAW)
PASS_ON = OutputScale(1.0, 0)

# One number in, one out; `BODY` computes it.
MODEL_H = """\
#include <stdint.h>
#define MODEL_INPUT_SIZE 1
#define MODEL_OUTPUT_SIZE 1
typedef struct {{ {0} input; {0} output; }} model;
static inline {0} *model_input(model *m) {{ return &m->input; }}
static inline const {0} *model_output(const model *m) {{ return &m->output; }}
void model_invoke(model *m);
"""


def by_hand(body: str, c_type: str = "int8_t") -> Files:
    """Sources of a model that was not generated."""
    model = f'#include "model.h"\n{body}'
    return {"model.h": MODEL_H.format(c_type).encode(), "model.c": model.encode()}


def _graph() -> Graph:
    rng = np.random.default_rng(1)
    net = GraphBuilder("tiny", (1, 6, 6, 1))
    weights = rng.normal(size=(4, 3, 3, 1)).astype(np.float32)
    bias = rng.normal(size=4).astype(np.float32)
    hidden = net.conv2d(net.input, weights, bias, activation=Activation.RELU)
    dense = rng.normal(size=(3, 4)).astype(np.float32)
    graph = net.finish(net.fully_connected(net.mean(hidden), dense, np.zeros(3, np.float32)))
    return quantize(graph, X)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return _graph()


@pytest.fixture(scope="module")
def sources(graph: Graph) -> Files:
    return emit_c(graph, quantize_input(graph, X[:2])).files


@pytest.fixture(scope="module")
def library(sources: Files, require_tool: Callable[[str], str]) -> bytes:
    require_tool("gcc")
    return build_library(sources)


@pytest.fixture(scope="module")
def litert(graph: Graph) -> np.ndarray:
    """Codes (40, 3) of LiteRT's reference kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=emit_tflite(graph),
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for sample in quantize_input(graph, X):
        interpreter.set_tensor(entry["index"], sample[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(end["index"])[0])
    return np.stack(rows)


@pytest.fixture
def bundle_with(graph: Graph, tmp_path: Path) -> BundleWith:
    """(files of C, more members) -> a bundle whose only artifact, for host, is C."""

    def make(files: Files, **more: str) -> Path:
        expected = run_int8(graph, quantize_input(graph, X))
        quant = params(graph, graph.outputs[0])
        reference = build_reference(CONTRACT, RAW, np.full(40, 0.9), expected.argmax(1))
        golden = Golden(RAW, expected, quant.scale[0], quant.zero_point[0])
        members = {
            "contract.json": msgspec.json.encode(CONTRACT),
            "golden.npz": pack_golden(golden),
            "reference.bin": reference.to_bytes(),
        } | {f"artifacts/host/c/{name}": data for name, data in files.items()}
        none = EstimateRecord(0.0, 0.0, 0.0, "bytes", "T0", "test")
        figures = ("artifacts/host/c", 0, "", "int8.v1", 1.0, None, none, none)
        artifact = Artifact("host", "c", *figures)
        gate, lineage = Gate(True, ()), Lineage("0")
        draft = Manifest("tiny", (), (artifact,), None, 1.0, gate, lineage, {}, {})
        write_bundle(tmp_path / "tiny.ekb", draft, members)
        return tmp_path / "tiny.ekb"

    return make


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("no_compiler")
def test_bundle_needs_no_compiler_when_it_carries_the_library(
    sources: Files, library: bytes, bundle_with: BundleWith, litert: np.ndarray
) -> None:
    path = bundle_with({**sources, library_name(): library})
    model = Model.open(path, engine="c")
    found = model.run_golden()
    assert (found.vectors, found.max_lsb, found.mismatching_labels) == (40, 0, 0)
    np.testing.assert_array_equal(model._engine.run(X), litert)
    np.testing.assert_array_equal(model.predict(RAW).indices, litert.argmax(axis=1))
    assert model.predict(RAW[:0]).labels == ()


@pytest.mark.slow
def test_a_process_without_a_compiler_answers_from_the_bundle_alone(
    sources: Files, library: bytes, bundle_with: BundleWith, litert: np.ndarray, tmp_path: Path
) -> None:
    path = bundle_with({**sources, library_name(): library})
    np.save(tmp_path / "raw.npy", RAW)
    code = (
        "import sys, numpy as np\n"
        "from edgekiln.runtime import Model\n"
        "answers = Model.open(sys.argv[1]).predict(np.load(sys.argv[2]))\n"
        "print(*answers.indices, sorted({'onnxruntime', 'ai_edge_litert'} & set(sys.modules)))\n"
    )
    command = (sys.executable, "-c", code, str(path), str(tmp_path / "raw.npy"))
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PATH": str(tmp_path)},
    )
    assert done.stdout.split() == [*map(str, litert.argmax(axis=1)), "[]"]


@pytest.mark.slow
def test_sources_are_built_here_when_the_library_is_for_another_machine(
    sources: Files, bundle_with: BundleWith, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    path = bundle_with({**sources, "libmodel-linux-mips.so": b"for mips"})
    assert Model.open(path).run_golden().max_lsb == 0


@pytest.mark.usefixtures("no_compiler")
def test_open_says_what_is_missing_when_there_is_neither_library_nor_compiler(
    sources: Files, bundle_with: BundleWith
) -> None:
    path = bundle_with({**sources, "libmodel-linux-mips.so": b"for mips"})
    with pytest.raises(EngineError, match=r"libmodel-linux-mips\.so.*no C compiler") as caught:
        Model.open(path)
    assert "\n" not in str(caught.value)


def test_device_times_its_library_and_leaves_a_boards_sources_alone(
    sources: Files, library: bytes, bundle_with: BundleWith
) -> None:
    path = bundle_with({**sources, library_name(): library})
    assert time_bundle(path, "host", Rules(budget_s=0.1)).format == "c"
    with pytest.raises(EngineError, match="C sources only, for a board"):
        time_bundle(bundle_with(sources), "host")


def test_library_is_refused_before_it_is_loaded_when_its_bytes_changed(
    sources: Files, library: bytes, bundle_with: BundleWith
) -> None:
    path = bundle_with({**sources, library_name(): library})
    members = dict(open_bundle(path).members)
    members[f"artifacts/host/c/{library_name()}"] = library[:-1] + bytes([library[-1] ^ 1])
    path.write_bytes(stored_zip(members))
    with pytest.raises(DigestError, match=library_name()):
        Model.open(path)


def test_sources_are_refused_in_one_line_when_they_do_not_build(
    bundle_with: BundleWith, require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    with pytest.raises(EngineError, match=r"cannot build the model's C: .*error") as caught:
        Model.open(bundle_with(by_hand("nonsense")))
    assert "\n" not in str(caught.value)


def test_engine_is_refused_when_it_is_unknown_or_the_bundle_has_nothing_for_it(
    sources: Files, bundle_with: BundleWith
) -> None:
    path = bundle_with(sources)
    with pytest.raises(EngineError, match="no engine 'tpu'; there are: litert, onnxruntime, c"):
        Model.open(path, engine="tpu")
    with pytest.raises(MemberError, match="no tflite for target 'host', which has: c"):
        Model.open(path, engine="litert")


@pytest.mark.slow
def test_libraries_are_equal_when_built_twice(sources: Files, library: bytes) -> None:
    assert build_library(sources) == library


def test_every_thread_gets_its_own_answers_when_one_engine_serves_many(
    graph: Graph, library: bytes, litert: np.ndarray
) -> None:
    quant = params(graph, graph.outputs[0])
    scale = OutputScale(quant.scale[0], quant.zero_point[0])
    engine = CEngine(library, scale, EngineOptions(parallel=3))
    places = [place % 40 for place in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: engine.run(X[place : place + 1]), places))
    np.testing.assert_array_equal(np.concatenate(found), litert[places])


def test_two_calls_run_at_once_when_two_threads_call(require_tool: Callable[[str], str]) -> None:
    """Each call waits for the other: one that held Python's lock would wait in vain."""
    require_tool("gcc")
    meet = """\
static volatile int arrived;
void model_invoke(model *m) {
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    for (long turn = 0; turn < 4000000000L && arrived < 2; turn++) { }
    m->output = arrived >= 2;
}
"""
    engine = CEngine(build_library(by_hand(meet)), PASS_ON, EngineOptions(parallel=2))
    found: list[int] = []

    def call() -> None:
        found.append(int(engine.run(np.zeros((1, 1), np.float32))[0, 0]))

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1, 1]


@pytest.mark.parametrize(("c_type", "dtype"), [("int16_t", np.int16), ("float", np.float32)])
def test_numbers_of_other_formats_pass_when_the_model_has_them(
    c_type: str, dtype: type[np.generic], require_tool: Callable[[str], str]
) -> None:
    require_tool("gcc")
    body = "void model_invoke(model *m) { m->output = m->input + m->input; }\n"
    scale = OutputScale(1.0, 0, np.dtype(dtype).name)
    engine = CEngine(build_library(by_hand(body, c_type)), scale)
    found = engine.run(np.array([[300.0], [-1500.0]], np.float32))
    assert (found.dtype, found.tolist()) == (np.dtype(dtype), [[600], [-3000]])


def test_frames_are_one_recording_until_it_is_reset_when_a_model_remembers(
    require_tool: Callable[[str], str],
) -> None:
    """A running sum: every thread adds to the same one."""
    require_tool("gcc")
    header = MODEL_H.format("int8_t").replace("int8_t output; }", "int8_t output; int16_t sum; }")
    body = """\
#include "model.h"
void model_init(model *m) { m->sum = 0; }
void model_invoke(model *m) { m->sum = (int16_t)(m->sum + m->input); m->output = (int8_t)m->sum; }
"""
    state = "#define MODEL_STATE_SIZE 2\nvoid model_init(model *m);\n"
    files = {"model.h": (header + state).encode(), "model.c": body.encode()}
    engine = CEngine(build_library(files), PASS_ON)
    ones = np.ones((3, 1), np.float32)
    assert engine.run(ones).tolist() == [[1], [2], [3]]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: engine.run(ones), range(10)))
    assert engine.run(ones).tolist() == [[34], [35], [36]]
    engine.reset()
    assert engine.run(ones).tolist() == [[1], [2], [3]]


def test_engine_refuses_when_scale_or_size_is_not_the_bundles(library: bytes) -> None:
    with pytest.raises(EngineError, match="output scale differs"):
        CEngine(library, OutputScale(123.0, 0))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="no /proc on this system")
def test_library_leaves_the_process_when_its_engine_goes(
    require_tool: Callable[[str], str],
) -> None:
    require_tool("gcc")
    gc.collect()
    before = _mapped()
    engine = CEngine(build_library(by_hand("void model_invoke(model *m) { (void)m; }\n")), PASS_ON)
    assert len(_mapped() - before) == 1
    del engine
    gc.collect()
    assert _mapped() <= before


def _mapped() -> set[str]:
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split(maxsplit=5)[5] for line in lines if "edgekiln-library-" in line}
