"""What systems and programs leave among the data is ignored by each data set, and is no reason to prepare it anew.

Every set that lists a folder or an archive is laid out small in its published format and littered.
"""

from __future__ import annotations

import ast
import gzip
import re
import shutil
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sound_files import ALL, NSYNTH, REPEATED, TEN, made_speech, refused
from test_imdb import config as imdb_settings
from test_imdb import folders_of
from test_imdb import lay as lay_imdb
from test_listops import SETTINGS as LISTOPS
from test_listops import published as lay_listops
from test_nsynth import made_nsynth
from test_pathfinder import SETTINGS as PATHFINDER
from test_pathfinder import published as lay_pathfinder
from test_retrieval import config as retrieval_settings
from test_retrieval import lay_pairs

from bench.runs import choices
from bench.store import records
from datasets import registry, speechcommands, speechcommands10
from datasets.files import archives, imdb
from datasets.files.archives import Archive
from datasets.store.cache import FOLDER, fingerprint
from settings.hidden import is_foreign, lies_hidden, own
from settings.reasons import said

ROOT = Path(__file__).parents[1]
LITTER = (
    *("._0.wav", "._0_7.txt", "._2.npy", "._sample_0.png", "._examples.json", "._basic_train.tsv", ".00000001.wav.swp"),
    *(".DS_Store", "Thumbs.db", "thumbs.db", "ehthumbs.db", "desktop.ini", "Desktop.ini", "Icon\r", ".directory"),
    *(".localized", ".nfs000000001", "~$0_7.txt", "~$clip.wav", "0_7.txt:Zone.Identifier"),
)
LITTER_FOLDERS = (
    *("__MACOSX", ".ipynb_checkpoints", ".AppleDouble", "@eaDir", ".Trashes", ".fseventsd", ".Spotlight-V100"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found", ".clip.wav", "~$folder.wav"),
)
REAL = (  # names of published files, of their kinds, and some that look a little like litter
    *("0a7c2a8d_nohash_0.wav", "0_9.txt", "12499_1.txt", "sample_172.png", "7.npy", "bass_synthetic_033-022-050.wav"),
    *("examples.json", "basic_train.tsv", "new_aan_pairs.eval.tsv", "data_batch_1.bin", "train-images-idx3-ubyte.gz"),
    *("_background_noise_", "yes", "imgs", "metadata", "audio", "batches.meta.txt", "thumbs.db.txt", "a~$b.wav"),
    *("desktop.init.wav", "macosx", "x.DS_Store.wav", "icon.wav", "eaDir"),
)


def littered(folder: Path) -> None:
    """Every folder in it, and itself, with files and folders of other systems."""
    for each in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        for name in LITTER:
            (each / name).write_bytes(b"\0\5\x16\7" + bytes(78))  # as AppleDouble begins
        for name in LITTER_FOLDERS:
            (each / name).mkdir()
            (each / name / "0_7.txt").write_bytes(b"")


def speech(words: tuple[str, ...]) -> Callable[[Path], Path]:
    def lay(data_dir: Path) -> Path:
        made_speech(data_dir / "speech_commands_v0.02", words)
        return data_dir / "speech_commands_v0.02"

    return lay


def laid_nsynth(data_dir: Path) -> Path:
    made_nsynth(data_dir)
    return data_dir


def laid_listops(data_dir: Path) -> Path:
    lay_listops(data_dir / "listops")
    return data_dir / "listops"


SETS: dict[str, tuple[dict[str, Any], Callable[[Path], Path]]] = {
    "speechcommands10": (TEN, speech(("yes",))),
    "speechcommands": (ALL, speech(("bed", "yes"))),
    "repeated_speechcommands10": (REPEATED, speech(("yes",))),
    "nsynth": (NSYNTH, laid_nsynth),
    "imdb": (imdb_settings(), lambda data_dir: lay_imdb(data_dir, folders_of()) / "aclImdb"),
    "pathfinder": ({**PATHFINDER, "source": "published"}, lay_pathfinder),
    "pathx": ({**PATHFINDER, "name": "pathx", "source": "published"}, lambda data_dir: lay_pathfinder(data_dir, 128)),
    "listops": ({**LISTOPS, "source": "published"}, laid_listops),
    "retrieval": (retrieval_settings(length=20), lambda data_dir: lay_pairs(data_dir) / "aan"),
}
# Their files are found by name, and they list no folder; digits has no files.
BY_NAME = {"smnist", "pmnist", "mnist-classification", "scifar10", "lra_image", "digits"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few words are all words, and few reviews all reviews."""
    for module, words in ((speechcommands10, ("yes",)), (speechcommands, ("bed", "yes"))):
        few = replace(module.SET, words=words)
        for function in ("describe", "prepare", "load", "class_names"):
            monkeypatch.setattr(module, function, getattr(few, function))
    monkeypatch.setattr("datasets.repeated_speechcommands10.WORDS_10", ("yes",))
    monkeypatch.setattr(imdb, "REVIEWS", 4)
    monkeypatch.setattr(imdb, "ARCHIVE", replace(imdb.ARCHIVE, urls=("http://127.0.0.1:9/reviews/",)))


def arrays(settings: dict[str, Any], data_dir: Path) -> list[np.ndarray]:
    dataset = registry.load(settings, data_dir, seed=0)
    splits = (dataset.train, dataset.validation, dataset.test)
    return [np.asarray(part) for split in splits for part in (split.inputs, split.targets)]


def kept(data_dir: Path) -> dict[str, int]:
    """The prepared arrays' files, and when they were written."""
    written = [path for path in (data_dir / FOLDER).rglob("*.npy") if not is_foreign(path.name)]
    return {str(path): path.stat().st_mtime_ns for path in written}


def test_every_data_set_is_here_or_lists_no_folder() -> None:
    assert SETS.keys() | BY_NAME == set(registry.names())


@pytest.mark.parametrize("name", SETS)
def test_litter_changes_nothing_whether_it_comes_before_or_after(name: str, tmp_path: Path, small: None) -> None:
    settings, lay = SETS[name]
    clean, littered_first = tmp_path / "clean", tmp_path / "littered"
    expected_folder = lay(clean)
    littered(lay(littered_first))
    expected = arrays(settings, clean)
    for found, right in zip(arrays(settings, littered_first), expected, strict=True):
        np.testing.assert_array_equal(found, right)

    before = kept(clean)
    littered(expected_folder)
    for _ in range(2):  # found anew, then at a glance
        for found, right in zip(arrays(settings, clean), expected, strict=True):
            np.testing.assert_array_equal(found, right)
        assert kept(clean) == before  # the same arrays, not made anew


def test_what_a_list_names_must_be_there_whatever_its_name(tmp_path: Path, small: None) -> None:
    folder = speech(("yes",))(tmp_path)
    littered(folder)
    with (folder / "testing_list.txt").open("a") as file:
        file.write("yes/._0.wav\n")
    refused(TEN, tmp_path, r"testing_list\.txt: line 3 names yes/\._0\.wav, and .* is not there")


@pytest.mark.parametrize("change", ["replaced", "removed", "new"])
def test_a_real_change_is_still_seen_through_litter(change: str, tmp_path: Path, small: None) -> None:
    """A file of the same name and size that took another's place, too: the folders' times tell of it."""
    folder = speech(("yes",))(tmp_path)
    before = arrays(TEN, tmp_path)
    littered(folder)
    arrays(TEN, tmp_path)
    victim = folder / "yes" / "00000009_nohash_0.wav"
    if change == "removed":
        victim.unlink()
    elif change == "new":
        shutil.copy(victim, folder / "yes" / "0000000a_nohash_1.wav")
    else:
        raw = bytearray(victim.read_bytes())
        raw[-1] ^= 1
        (folder / "yes" / "new").write_bytes(raw)
        (folder / "yes" / "new").replace(victim)
    after = arrays(TEN, tmp_path)
    assert len(after[0]) == len(before[0]) + {"replaced": 0, "removed": -1, "new": 1}[change]
    assert after[0].shape != before[0].shape or not np.array_equal(after[0], before[0])


def test_a_link_that_leads_nowhere_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path / "nowhere")
    assert len(fingerprint(tmp_path / "folder").thorough()) == 12


def test_prepared_arrays_that_cannot_be_written_are_used_all_the_same(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new times cannot be noted: a folder that is shared read-only. The system's answer is put in."""
    folder = speech(("yes",))(tmp_path)
    expected = arrays(TEN, tmp_path)
    littered(folder)

    def denied(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", denied)
    monkeypatch.setattr("datasets.store.cache._alone", denied)
    for found, right in zip(arrays(TEN, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(found, right)


def test_an_archive_packed_on_another_system_gives_its_own_files_alone(tmp_path: Path) -> None:
    source = tmp_path / "clips"
    (source / "yes").mkdir(parents=True)
    (source / "yes" / "0.wav").write_bytes(b"0")
    littered(source)
    with tarfile.open(tmp_path / "clips.tar.gz", "w:gz") as tar:
        tar.add(source, arcname="clips")
        for name in ("._clips", "__MACOSX/clips/._yes", "./.DS_Store"):
            tar.addfile(tarfile.TarInfo(name))
    shutil.rmtree(source)
    archive = Archive("clips.tar.gz", (), "", "clips", "clips", ("yes",))
    found = archives.unpack(tmp_path / "clips.tar.gz", archive, tmp_path)
    assert [path.relative_to(found).as_posix() for path in sorted(found.rglob("*"))] == ["yes", "yes/0.wav"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips", "clips.tar.gz"]


@pytest.mark.parametrize("name", [*LITTER, *LITTER_FOLDERS, "THUMBS.DB", ".x"])
def test_litter_is_known_by_its_name(name: str) -> None:
    assert is_foreign(name)
    assert lies_hidden(f"a/{name}/b")
    assert own(["b", name, "a"]) == ["a", "b"]


@pytest.mark.parametrize("name", REAL)
def test_names_of_data_are_none(name: str) -> None:
    assert not is_foreign(name)
    assert not lies_hidden(f"./clips/../{name}")


def test_litter_among_configurations_and_certificates_is_no_choice(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / ".ipynb_checkpoints").mkdir()
    for name in ("s4.yaml", "._s4.yaml", "_base.yaml"):
        (tmp_path / "conf" / "model" / name).write_text("name: s4\n")
    assert choices.groups(tmp_path / "conf") == ["model"]
    assert choices.choices(tmp_path / "conf", "model") == ["s4"]
    (tmp_path / "certificates").mkdir()
    for folder in (tmp_path, tmp_path / "certificates"):
        (folder / "._x.json").write_bytes(b"\0\5\x16\7")
    assert records.read_records(tmp_path, recursive=True) == records.read_certificates(tmp_path) == ([], [])


# --- reasons


def cut_gzip() -> None:
    gzip.decompress(gzip.compress(bytes(9))[:12])


def silent(kind: type[BaseException]) -> Callable[[], None]:
    def fail() -> None:
        raise kind

    return fail


@pytest.mark.parametrize(
    "fail, reason",
    [
        (silent(EOFError), "it ends early"),
        (silent(MemoryError), "memory ran out"),
        (silent(zlib.error), "its bytes do not unpack"),
        (silent(RecursionError), "it is nested too deeply"),
        (silent(OSError), "OSError"),
        (silent(ValueError), "ValueError"),
        (cut_gzip, "Compressed file ended before"),
        (lambda: int("\n"), "invalid literal"),
    ],
)
def test_what_an_exception_says_is_never_empty(fail: Callable[[], Any], reason: str) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - any kind: its words are looked at below
        fail()
    assert said(raised.value).startswith(reason)
    assert "\n" not in said(raised.value)
    assert archives.reason(raised.value).startswith(type(raised.value).__name__)
    assert not archives.reason(raised.value).rstrip().endswith(":")


@pytest.mark.parametrize("size", [0, 1, 4, 12, 20, 36, 40])
def test_a_clip_cut_in_its_header_is_refused_with_a_reason(size: int, tmp_path: Path, small: None) -> None:
    victim = speech(("yes",))(tmp_path) / "yes" / "00000007_nohash_0.wav"
    victim.write_bytes(victim.read_bytes()[:size])
    message = refused(TEN, tmp_path, r"00000007_nohash_0\.wav: ")
    assert not re.search(r"\(\s*\)|: ;|\(None\)", message)


def bare_reasons(source: str) -> list[int]:
    """Lines of f-strings that show an exception which `except` has bound, by its own words alone."""
    found = []
    for handler in ast.walk(ast.parse(source)):
        if isinstance(handler, ast.ExceptHandler) and handler.name:
            for text in (node for node in ast.walk(handler) if isinstance(node, ast.JoinedStr)):
                shown = [ast.unparse(part.value) for part in text.values if isinstance(part, ast.FormattedValue)]
                if handler.name in shown and f"type({handler.name}).__name__" not in shown:
                    found.append(text.lineno)
    return found


def test_the_finder_of_bare_reasons_finds_them() -> None:
    code = "try:\n    f()\nexcept OSError as error:\n    raise ValueError(f'no ({{{}}})') from error\n"
    assert bare_reasons(code.format("error")) == [4]
    assert bare_reasons(code.format("said(error)")) == []
    assert bare_reasons(code.format("type(error).__name__}: {error")) == []


@pytest.mark.parametrize("path", [*sorted(ROOT.glob("datasets/**/*.py")), *sorted(ROOT.glob("bench/**/*.py"))], ids=str)
def test_no_message_shows_an_exception_that_may_say_nothing(path: Path) -> None:
    """An exception without words would leave "()" or nothing: settings/reasons.py has words for it."""
    assert bare_reasons(path.read_text()) == []
