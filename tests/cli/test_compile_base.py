"""`edgekiln compile --base`: what an update costs is said in a note and in the document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

COMPILE = ("compile", "tiny.pt2", "--data", "good.npz", "--format", "tflite", "-o")


@pytest.mark.slow
def test_update_is_told_when_a_base_is_given(built: Path, cli) -> None:
    first = cli((*COMPILE, "first.ekb", "--json"), built)
    assert first.code == 0, first.err
    assert "update" not in json.loads(first.out)
    near = cli((*COMPILE, "near.ekb", "--base", "first.ekb", "--json"), built)
    assert near.code == 0, near.err
    update = json.loads(near.out)["update"]
    assert update["base"] == json.loads(first.out)["bundle_id"]
    assert update["near"]
    assert update["accuracy"] >= update["accuracy_alone"]
    assert 0 < update["delta_bytes"] < 0.2 * update["full_bytes"]
    assert f"update from {update['base'][:12]}: {update['delta_bytes']:,} of" in near.err
    for base, why in (("none.ekb", "cannot be read"), ("good.npz", "not a bundle")):
        refused = cli((*COMPILE, "refused.ekb", "--base", base), built)
        assert refused.code == 2, refused.err
        assert why in refused.err
        assert len(refused.err.strip().splitlines()[-1]) < 200
