"""edgekiln.toml: what it may hold, and what is said of everything else."""

from __future__ import annotations

import errno
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekiln.cli.errors import ProjectFileError
from edgekiln.cli.init import first_file
from edgekiln.cli.project import Project, SearchSection, load_project, override

SECTIONS = ("data", "targets.host", "search", "compile", "rollout")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def to_file(text: str) -> Path:
        path = Path("edgekiln.toml")
        path.write_text(text)
        return path

    return to_file


def test_no_file_gives_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_project(None) == Project()


def test_what_init_writes_loads_and_says_what_the_defaults_are(write) -> None:
    write(first_file("sklearn:digits"))
    found = load_project(None)
    assert found.data.source == "sklearn:digits"
    assert set(found.targets) == {"host", "cortex-m4"}
    default = Project()
    assert (found.search, found.compile, found.rollout) == (
        default.search,
        default.compile,
        default.rollout,
    )


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc",)), max_size=40))
def test_any_source_survives_init(source: str) -> None:
    document = tomllib.loads(first_file(source))
    assert document["data"]["source"] == source


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_key_is_named_with_its_section_and_the_known_ones(section: str, write) -> None:
    path = write(f"[{section}]\nsede = 1\n")
    with pytest.raises(ProjectFileError) as caught:
        load_project(path)
    said = str(caught.value)
    assert said.startswith(f"edgekiln.toml: [{section.replace('host', 'NAME')}] has no key 'sede'")
    assert "it may have:" in said
    assert ("did you mean 'seed'?" in said) == (section in ("data", "search", "compile"))


def test_unknown_table_is_named(write) -> None:
    with pytest.raises(ProjectFileError, match=r"the file has no key 'serch': did you mean 'sea"):
        load_project(write("[serch]\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[search]\ncandidates = "many"', "[search] candidates: expected a whole number, got text"),
        ("[search]\ncandidates = 1", "[search] candidates: expected a whole number >= 2"),
        ("[search]\nworkers = 0", "[search] workers: expected a whole number >= 1"),
        ("[search]\ndeadline_s = 0", "[search] deadline_s: expected a number > 0.0"),
        ("[compile]\nmax_accuracy_drop = 2", "[compile] max_accuracy_drop: expected a number <= 1"),
        ("[compile]\ndistil_epochs = 0.5", "[compile] distil_epochs: expected a whole number"),
        ("[targets.host]\nlatency_ms = -1", "[targets.NAME] latency_ms: expected a number > 0.0"),
        ("[targets.host]\nlatency_ms = nan", "[targets.NAME] latency_ms: expected a number > 0.0"),
        ("[targets]\nhost = 3", "targets: expected a table, got a whole number"),
        ('[rollout]\nwaves = "10%"', "[rollout] waves: expected a list, got text"),
        ("[rollout]\nsoak_s = -1", "[rollout] soak_s: expected a number >= 0.0"),
        ("data = true", "data: expected a table, got true or false"),
        ('[contract]\nkind = "sound"', "[contract] kind: invalid enum value 'sound'"),
        ("[contract]\npreprocessing = 1", "[contract] preprocessing: expected text"),
        ('[contract]\nfactor = "x"', "[contract] factor: expected"),
        ("profiles = [1]", "profiles[0]: expected text, got a whole number"),
    ],
)
def test_wrong_value_is_named_in_the_words_of_the_file(text: str, says: str, write) -> None:
    with pytest.raises(ProjectFileError) as caught:
        load_project(write(text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "edgekiln.toml"
    path.write_text(
        'profiles = ["mine"]\n[data]\nsource = "x.npz"\n[search]\nout = "found"\n'
        '[compile]\nrecipe = "r.toml"\n'
    )
    found = load_project(path)
    assert found.data.source == str(tmp_path / "x.npz")
    assert found.search.out == str(tmp_path / "found")
    assert found.compile.recipe == str(tmp_path / "r.toml")
    assert found.profiles == (str(tmp_path / "mine"),)


def test_absolute_path_stays(tmp_path: Path) -> None:
    path = tmp_path / "edgekiln.toml"
    path.write_text('[data]\nsource = "/data/x.npz"\n')
    assert load_project(path).data.source == "/data/x.npz"


def test_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ProjectFileError, match="no such file; 'edgekiln init' writes one"):
        load_project(tmp_path / "gone.toml")


def test_file_without_permission_keeps_its_reason(write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("")

    def refuse(self: Path, encoding: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(PermissionError):
        load_project(path)


def test_folder_in_place_of_the_file_is_an_error_even_when_it_was_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("edgekiln.toml").mkdir()
    with pytest.raises(IsADirectoryError):
        load_project(None)


def test_override_replaces_only_flags_that_were_given() -> None:
    section = override(SearchSection(), candidates=7, seed=None)
    assert section == msgspec.structs.replace(SearchSection(), candidates=7)
