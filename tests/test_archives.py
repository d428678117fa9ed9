"""Archives: found, fetched over HTTP and verified, unpacked; damaged or hostile ones leave nothing behind.

The server is a thread of this process, on this machine. Not covered: the published addresses, which need a network.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import os
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datasets.data import DataError
from datasets.files import archives
from datasets.files.archives import Archive

FILES = {"clips/readme.txt": b"read me", "clips/yes/0.wav": b"\0\1" * 500, "clips/no/1.wav": bytes(range(256))}
CLIPS = Archive(
    file="clips.tar.gz",
    urls=("http://127.0.0.1:9/first/", "http://127.0.0.1:9/second/"),  # nothing listens on port 9 of this machine
    checksum="",
    folder="clips_v1",
    inside="clips",
    evidence=("readme.txt", "yes", "no"),
)


def packed(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A .tar.gz of files by name, or of members as they are given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            body = content if isinstance(content, bytes) else b""
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def archive_of(raw: bytes, **changes: Any) -> Archive:
    """CLIPS with the checksum of these bytes."""
    return replace(CLIPS, checksum=f"md5:{hashlib.md5(raw).hexdigest()}", **changes)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


EXPECTED = {name.removeprefix("clips/"): raw for name, raw in FILES.items()}
GOOD = packed(FILES)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder that is served, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


# --- found and fetched


def test_an_archive_is_fetched_verified_and_unpacked_once(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "clips.tar.gz").write_bytes(GOOD)
    data_dir = tmp_path / "new" / "data"
    archive = archive_of(GOOD, urls=(address,))
    found = archives.unpacked(archive, data_dir)
    assert found == data_dir / "clips_v1"
    assert contents(found) == EXPECTED
    assert sorted(path.name for path in data_dir.iterdir()) == ["clips.tar.gz", "clips_v1"]
    (folder / "clips.tar.gz").unlink()
    (data_dir / "clips.tar.gz").unlink()
    assert archives.unpacked(archive, data_dir) == found  # nothing is needed again


@pytest.mark.parametrize("bad", [b"<html>moved</html>", GOOD[:-1], b""])
def test_an_address_with_other_bytes_is_passed_over(served: tuple[Path, str], tmp_path: Path, bad: bytes) -> None:
    folder, address = served
    for name, raw in (("bad", bad), ("good", GOOD)):
        (folder / name).mkdir()
        (folder / name / "clips.tar.gz").write_bytes(raw)
    urls = ("http://127.0.0.1:9/", f"{address}absent/", f"{address}bad/", f"{address}good/")
    data_dir = tmp_path / "data"
    assert contents(archives.unpacked(archive_of(GOOD, urls=urls), data_dir)) == EXPECTED
    assert (data_dir / "clips.tar.gz").read_bytes() == GOOD


def test_bytes_that_no_address_has_right_are_not_kept(served: tuple[Path, str], tmp_path: Path) -> None:
    folder, address = served
    (folder / "clips.tar.gz").write_bytes(GOOD[:-1])
    data_dir = tmp_path / "data"
    with pytest.raises(DataError, match=r"no address gave it:\n  http://127[^\n]*clips\.tar\.gz: ValueError: MD5"):
        archives.unpacked(archive_of(GOOD, urls=(address,)), data_dir)
    assert list(data_dir.iterdir()) == []


def test_without_a_network_every_address_and_the_way_by_hand_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refusal:
        archives.unpacked(archive_of(GOOD), tmp_path)
    lines = str(refusal.value).splitlines()
    assert lines[0] == f"clips.tar.gz is not in data_dir={str(tmp_path)!r} and no address gave it:"
    for line, folder in zip(lines[1:3], ("first", "second"), strict=True):
        assert line.startswith(f"  http://127.0.0.1:9/{folder}/clips.tar.gz: ")
        assert "refused" in line
    assert lines[3].startswith(f"Put clips.tar.gz into {tmp_path} by hand")
    assert str(tmp_path / "clips_v1") in lines[3]
    assert "data_dir=" in lines[3]


def test_the_files_may_lie_in_their_folder_or_in_data_dir_itself(tmp_path: Path) -> None:
    archive = archive_of(GOOD)
    assert archives.find(archive, tmp_path) is None
    for folder in (tmp_path, tmp_path / "clips_v1"):
        for name, raw in EXPECTED.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(raw)
        assert archives.unpacked(archive, tmp_path) == folder


def test_a_half_unpacked_folder_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "clips_v1" / "yes").mkdir(parents=True)
    (tmp_path / "clips_v1" / "readme.txt").write_bytes(b"")
    (tmp_path / "clips.tar.gz").write_bytes(GOOD)  # hidden by the folder, so that it must be said
    with pytest.raises(DataError, match=r"clips_v1: no is not in it; unpack clips\.tar\.gz there .* or remove the"):
        archives.unpacked(archive_of(GOOD), tmp_path)


# --- damaged and hostile


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_damaged_archive_in_data_dir_is_refused_and_kept_for_its_owner(
    tmp_path: Path, damage: str, kind: str
) -> None:
    flipped = bytearray(GOOD)
    flipped[len(GOOD) // 2] ^= 1
    raw = {"truncate": GOOD[:-10], "flip": bytes(flipped), "empty": b""}[damage]
    (tmp_path / "clips.tar.gz").write_bytes(raw)
    archive = replace(CLIPS, checksum=f"{kind}:{hashlib.new(kind, GOOD).hexdigest()}")
    message = rf"clips\.tar\.gz: its {kind.upper()} is {hashlib.new(kind, raw).hexdigest()}; .* Delete it"
    with pytest.raises(DataError, match=message):
        archives.unpacked(archive, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.tar.gz"]


def test_an_archive_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "clips.tar.gz").mkdir()
    with pytest.raises(DataError, match=r"clips\.tar\.gz: cannot be read"):
        archives.unpacked(archive_of(GOOD), tmp_path)


HOSTILE: Mapping[str, Mapping[str, bytes | tarfile.TarInfo]] = {
    "path": {**FILES, "../escaped.txt": b"out"},
    "nested": {**FILES, "clips/../../../escaped.txt": b"out"},
    "symlink": {**FILES, "clips/way": link("clips/way", "../../.."), "clips/way/escaped.txt": b"out"},
    "absolute": {**FILES, "clips/way": link("clips/way", "/")},
    "hard link": {**FILES, "clips/way": link("clips/way", "../../secret.txt", tarfile.LNKTYPE)},
    "device": {**FILES, "clips/null": link("clips/null", "", tarfile.CHRTYPE)},
}


@pytest.mark.parametrize("way", list(HOSTILE))
def test_an_archive_that_leads_out_is_refused_and_writes_nothing(tmp_path: Path, way: str) -> None:
    """Although its checksum holds: somebody may have published it so."""
    raw = packed(HOSTILE[way])
    (tmp_path / "secret.txt").write_text("secret")
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "clips.tar.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"clips\.tar\.gz: does not unpack \(.*\); delete it"):
        archives.unpacked(archive_of(raw), data_dir)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["clips.tar.gz", "data", "secret.txt"]


@pytest.mark.parametrize("damage", ["truncate", "flip", "no archive"])
def test_unpacking_what_was_not_verified_leaves_nothing(tmp_path: Path, damage: str) -> None:
    noise = packed({"clips/noise": os.urandom(100_000)})
    flipped = bytearray(noise)
    flipped[50_000] ^= 1
    raw = {"truncate": noise[:50_000], "flip": bytes(flipped), "no archive": b"<html>moved</html>"}[damage]
    path = tmp_path / "clips.tar.gz"
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"clips\.tar\.gz: does not unpack \((?s:.*)\); delete it"):
        archives.unpack(path, CLIPS, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_an_archive_without_its_inner_folder_is_refused(tmp_path: Path) -> None:
    raw = packed({"other/readme.txt": b""})
    (tmp_path / "clips.tar.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"clips\.tar\.gz: holds no folder clips; delete it"):
        archives.unpacked(archive_of(raw), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["clips.tar.gz"]


@pytest.mark.parametrize("raw", [packed({"other/readme.txt": b""}), GOOD[:-20]], ids=["another folder", "truncated"])
def test_of_an_archive_that_has_no_address_a_good_copy_is_asked_for(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "clips.tar.gz").write_bytes(raw)
    with pytest.raises(DataError, match=r"; put a good copy there$"):
        archives.unpack(tmp_path / "clips.tar.gz", replace(CLIPS, urls=()), tmp_path)


def test_an_archive_without_a_top_folder_gets_one(tmp_path: Path) -> None:
    raw = packed(EXPECTED)
    (tmp_path / "clips.tar.gz").write_bytes(raw)
    assert contents(archives.unpacked(archive_of(raw, inside=""), tmp_path)) == EXPECTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.tar.gz", "clips_v1"]


# --- folders that take nothing


def test_a_data_dir_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(DataError, match=r"data_dir='.*/data': clips\.tar\.gz is not there, and .*; choose another"):
        archives.unpacked(archive_of(GOOD), tmp_path / "data")


@pytest.mark.skipif(sys.platform == "win32", reason="rights of folders are others on Windows")
@pytest.mark.parametrize("present", [False, True])
def test_a_data_dir_that_takes_no_file_is_named_before_any_address_is_asked(present: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folder is closed to the user without rights
        data_dir = Path(name)
        if present:
            (data_dir / "clips.tar.gz").write_bytes(GOOD)
        data_dir.chmod(0o555)
        root = os.geteuid() == 0  # who may write everywhere
        try:
            if root:
                os.seteuid(65534)
            message = r"clips\.tar\.gz: cannot be unpacked into" if present else r"data_dir=.*cannot be written"
            with pytest.raises(DataError, match=message) as refusal:
                archives.unpacked(archive_of(GOOD), data_dir)
        finally:
            if root:
                os.seteuid(0)
            data_dir.chmod(0o755)
        assert "choose another" in str(refusal.value)
        assert "http" not in str(refusal.value)
