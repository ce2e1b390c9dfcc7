"""What a user gets for a mistake: one clear line, the right exit code, never a traceback."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

# (arguments, exit code, what the one line must say)
NOISE = ("compile", "noise.pt2", "--data", "good.npz", "-o", "x.ekb")
CASES = [
    (("frobnicate",), 2, "No such command 'frobnicate'"),
    (("targets", "list", "--frob"), 2, "No such option"),
    (("targets", "show"), 2, "Missing argument"),
    (("targets", "show", "cortex-m99"), 2, "cortex-m99"),
    (("targets", "list", "--project", "missing.toml"), 2, "missing.toml: no such file"),
    (("targets", "list", "--project", "broken.toml"), 2, "broken.toml: not TOML"),
    (("targets", "list", "--project", "unknown_key.toml"), 2, "sourc"),
    (("targets", "list", "--project", "wrong_type.toml"), 2, "candidates"),
    (("targets", "list", "--project", "binary.toml"), 2, "binary.toml: not a text file"),
    (("targets", "list", "--project", "profiles.toml"), 2, "mine.toml"),
    (("targets", "calibrate", "nothing-such"), 2, "nothing-such"),
    (("targets", "calibrate", "raspberry-pi-4"), 2, "raspberry-pi-4"),
    (("targets", "measure", "a_file", "--target", "cortex-m4"), 2, "a_file"),
    (("targets", "measure", "noise.ekb", "--target", "cortex-m4"), 2, "noise.ekb"),
    (("targets", "measure", "noise.tflite", "--target", "nothing-such"), 2, "nothing-such"),
    (("targets", "measure", "a_file", "--target", "host"), 2, "a_file"),
    (("targets", "measure", "noise.tflite", "--target", "host"), 2, "noise: not a TensorFlow Lite"),
    (("targets", "measure", "noise.ekb", "--target", "host"), 2, "noise.ekb"),
    (("device", "measure", "noise.ekb", "--target", "host"), 2, "noise.ekb"),
    (("export", "noise.ekb", "--target", "host", "-o", "x"), 2, "noise.ekb"),
    (("init", "full"), 2, "exists already"),
    (("init", "a_file"), 2, "a_file"),
    (("search", "--data", "missing.npz"), 2, "missing.npz"),
    (("search", "--data", "noise.npz"), 2, "noise.npz"),
    (("search", "--data", "truncated.npz"), 2, "truncated.npz"),
    (("search", "--data", "no_y.npz"), 2, "no_y.npz"),
    (("search", "--data", "short_y.npz"), 2, "short_y.npz"),
    (("search", "--data", "nan.npz"), 2, "nan.npz"),
    (("search", "--data", "text.npz"), 2, "text.npz"),
    (("search", "--data", "empty.npz"), 2, "empty.npz"),
    (("search", "--data", "one_class.npz"), 2, "one_class.npz"),
    (("search", "--data", "sklearn:nothing"), 2, "nothing"),
    (("search", "--data", "a_folder"), 2, "a_folder"),
    (("search", "--data", "good.npz", "--target", "cortex-m99"), 2, "cortex-m99"),
    (("search", "--data", "good.npz", "--candidates", "0"), 2, "--candidates"),
    (("search", "--data", "good.npz", "-o", "a_file"), 2, "a_file"),
    (("search", "--project", "impossible.toml"), 1, "RAM"),
    (("compile", "missing.pt2", "--data", "good.npz", "-o", "x.ekb"), 2, "missing.pt2"),
    (("compile", "noise.pt2", "--data", "good.npz", "-o", "x.ekb"), 2, "noise.pt2"),
    (("compile", "noise.xyz", "--data", "good.npz", "-o", "x.ekb"), 2, "noise.xyz"),
    (("compile", "a_folder", "--data", "good.npz", "-o", "x.ekb"), 2, "a_folder"),
    (("compile", "noise.pt2", "--data", "missing.npz", "-o", "x.ekb"), 2, "missing.npz"),
    (("compile", "noise.pt2", "--format", "elf", "-o", "x.ekb"), 2, "elf"),
    (("compile", "noise.pt2"), 2, "-o"),
    ((*NOISE, "--recipe", "missing.toml"), 2, "missing.toml: no such recipe"),
    ((*NOISE, "--recipe", "binary.toml"), 2, "binary.toml: not TOML"),
    ((*NOISE, "--recipe", "bad_recipe.toml"), 2, "min_max, percentile, entropy, mse"),
    ((*NOISE, "--project", "recipe_project.toml"), 2, "bad_recipe.toml"),
    (("inspect", "missing.ekb"), 2, "missing.ekb"),
    (("inspect", "noise.ekb"), 2, "noise.ekb"),
    (("inspect", "noise.tflite"), 2, "noise.tflite"),
    (("inspect", "noise.onnx"), 2, "noise.onnx"),
    (("inspect", "noise.xyz"), 2, "noise.xyz"),
    (("inspect", "a_folder"), 2, "a_folder"),
    (("verify", "missing.ekb"), 2, "missing.ekb"),
    (("verify", "noise.ekb"), 2, "noise.ekb"),
    (("verify", "good.npz"), 2, "good.npz"),
    (("release", "missing.ekb", "--fleet", "a_folder"), 2, "a_folder"),
    (("release", "noise.ekb", "--fleet", "missing"), 2, "missing"),
    (("fleet", "init", "full"), 2, "already in use"),
    (("fleet", "init", "a_file"), 2, "a_file"),
    (("fleet", "init", "x", "--http-port", "99999"), 2, "--http-port"),
    (("fleet", "serve", "a_folder"), 2, "fleet init"),
    (("fleet", "devices", "--fleet", "a_folder"), 2, "no server runs"),
    (("fleet", "alerts", "--fleet", "missing"), 2, "no server runs"),
    (("fleet", "rollout", "start", "prod", "--fleet", "missing"), 2, "no server runs"),
    (("fleet", "rollout", "start", "prod", "--wave", "lots"), 2, "lots"),
    (("fleet", "rollout", "abort", "r1", "--fleet", "missing"), 2, "--reason"),
    (("fleet", "enroll", "d", "--fleet", "missing", "--factory", "p", "-o", "d"), 2, "missing"),
    (("device", "run", "missing", "--source", "good.npz"), 2, "missing"),
    (("device", "run", "a_folder", "--source", "good.npz"), 2, "a_folder"),
    (("device", "run", "a_folder", "--source", "good.npz", "--rate-hz", "0"), 2, "--rate-hz"),
    (("demo", "--out", "a_file"), 2, "a_file"),
    (("targets", "list", "--project", "a_folder"), 2, "a_folder: is a folder"),
    (("init", "fresh", "--project", "x"), 2, "--project"),
    (("search", "--data", "good.npz", "--target", "host", "--target", "host"), 2, "each one once"),
    (("search", "--project", "missing.toml"), 2, "missing.toml"),
    (("search", "--data", "good.npz", "--deadline-s", "soon"), 2, "--deadline-s"),
    (("compile", "noise.pt2", "-o", "x.ekb"), 2, "--data"),
    (("compile", "noise.pt2", "--data", "good.npz", "--target", "m99", "-o", "x.ekb"), 2, "m99"),
    (("compile", "noise.pt2", "--target", "pixel-2", "--format", "c", "-o", "x.ekb"), 2, "pixel-2"),
    (("inspect", "empty.ekb"), 2, "empty.ekb: not a bundle"),
    (("fleet", "releases", "--fleet", "a_folder"), 2, "fleet init"),
    (("fleet", "rollout", "start", "prod", "--soak-s", "-1"), 2, "--soak-s"),
    (("fleet", "alerts", "ack", "one"), 2, "one"),
    (("device", "run", "a_folder"), 2, "--source"),
]

LOST = ("--recipe", "lost_recipe.toml")
TINY = ("compile", "tiny.pt2", "--target", "raspberry-pi-4")
ENROLL = ("fleet", "enroll", "--fleet", "farm")

# The same, where a model, a bundle, a fleet and a device are there.
BUILT_CASES = [
    ((*TINY, "--data", "wide.npz", "-o", "x.ekb"), 2, "samples of shape (7,)"),
    ((*TINY, "--data", "good.npz", *LOST, "-o", "x.ekb"), 2, "'conv_of_another_model' fits no"),
    ((*TINY, "--data", "good.npz", "-o", "a_folder"), 2, "a_folder is a folder"),
    ((*TINY, "--data", "good.npz", "-o", "x.zip"), 2, "ends in .ekb"),
    ((*TINY, "--data", "good.npz", "-o", "a_file/x.ekb"), 2, "a_file"),
    ((*TINY, "--data", "good.npz", "--teacher", "gone.pt2", "-o", "x.ekb"), 2, "gone.pt2"),
    ((*TINY, "--project", "tight.toml", "-o", "x.ekb"), 1, "fewer MACs"),
    ((*TINY, "--data", "good.npz", "--calibration", "nan.npz", "-o", "x.ekb"), 2, "not finite"),
    ((*TINY, "--data", "good.npz", "--calibration", "wide.npz", "-o", "x.ekb"), 2, "('n', 4)"),
    (("verify", "good.ekb", "--data", "wide.npz"), 2, "is not what good.ekb was compiled from"),
    (("verify", "tampered.ekb"), 2, "artifacts/host/model.tflite"),
    (("inspect", "tampered.ekb"), 2, "artifacts/host/model.tflite"),
    (("release", "tampered.ekb", "--fleet", "farm"), 2, "damaged"),
    (("release", "refused.ekb", "--fleet", "farm"), 1, "accuracy 0.5 is below 0.9"),
    (("release", "missing.ekb", "--fleet", "farm"), 2, "missing.ekb"),
    (("release", "good.ekb", "--fleet", "farm", "--alias", "a b"), 2, "a b"),
    (("fleet", "init", "farm"), 2, "already in use"),
    ((*ENROLL, "d", "--factory", "nothing", "-o", "d"), 2, "edgekiln fleet releases"),
    ((*ENROLL, "a/b", "--factory", "prod", "-o", "d"), 2, "a/b"),
    ((*ENROLL, "d", "--factory", "prod", "-o", "sensor"), 2, "sensor is already in use"),
    ((*ENROLL, "d", "--factory", "prod", "-o", "a_file"), 2, "a_file"),
    ((*ENROLL, "d", "--factory", "prod", "--target", "m99", "-o", "d"), 2, "m99"),
    ((*ENROLL, "d", "--factory", "prod", "--target", "cortex-m4", "-o", "d"), 2, "not for"),
    ((*ENROLL, "d", "--factory", "prod", "--cohort", "a b", "-o", "d"), 2, "a b"),
    (("device", "run", "sensor", "--source", "noise.npz"), 2, "noise.npz"),
    (("device", "run", "sensor", "--source", "missing.npz"), 2, "missing.npz"),
    (("device", "run", "sensor", "--source", "text.npz"), 2, "text.npz"),
    (("device", "run", "sensor", "--source", "a_folder"), 2, "a_folder"),
    (("device", "run", "garbled", "--source", "good.npz"), 2, "garbled/password"),
    (("device", "run", "locked", "--source", "good.npz"), 2, "locked/password"),
]


def _is_one_line(err: str) -> bool:
    return "Traceback" not in err and len([x for x in err.splitlines() if "edgekiln:" in x]) == 1


def _name(case: tuple[tuple[str, ...], int, str]) -> str:
    return " ".join(case[0])


def _check(folder: Path, cli, arguments: tuple[str, ...], code: int, says: str) -> None:
    before = set(folder.rglob("*"))
    ran = cli(arguments, folder)
    assert ran.code == code, ran.err
    assert says in ran.err
    assert _is_one_line(ran.err), ran.err
    assert ran.out == ""
    left = set(folder.rglob("*")) - before
    assert not {path for path in left if path.name != "lock"}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_mistake_gives_one_line_and_its_exit_code(
    case: tuple[tuple[str, ...], int, str], workspace: Path, cli
) -> None:
    _check(workspace, cli, *case)


@pytest.mark.slow
@pytest.mark.parametrize("case", BUILT_CASES, ids=_name)
def test_mistake_gives_one_line_and_its_exit_code_when_all_else_is_there(
    case: tuple[tuple[str, ...], int, str], built: Path, cli
) -> None:
    _check(built, cli, *case)


def test_tables_are_not_shortened() -> None:
    assert len(CASES) + len(BUILT_CASES) >= 90


def test_json_error_is_one_document_when_json_is_asked_for(workspace: Path, cli) -> None:
    ran = cli(("inspect", "noise.ekb", "--json"), workspace)
    assert ran.code == 2
    assert "noise.ekb" in json.loads(ran.out)["error"]


def test_debug_shows_the_traceback(workspace: Path, cli) -> None:
    ran = cli(("inspect", "noise.ekb", "--debug"), workspace)
    assert "Traceback" in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("which", ["http", "broker"])
def test_serve_names_the_port_when_it_is_in_use(tmp_path: Path, which: str, cli) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert cli(("fleet", "init", "f", f"--{which}-port", port), tmp_path).code == 0
        ran = cli(("fleet", "serve", "f"), tmp_path)
    assert ran.code == 2
    assert port in ran.err
    assert _is_one_line(ran.err), ran.err
    assert not (tmp_path / "f" / "server.json").exists()
