"""Several processes that unpack one archive, or one that is killed: the folder is whole, or it is not there."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from commands import ROOT
from test_archives import CLIPS, EXPECTED, FILES, archive_of, contents, packed

from datasets.files import archives

# A process that unpacks: argument 1 the data_dir, 2 the archive's checksum, 3 the moment (time.time()) it begins.
UNPACKER = f"""
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import test_archives
archive = replace(test_archives.CLIPS, checksum=sys.argv[2])
time.sleep(max(0.0, float(sys.argv[3]) - time.time()))
print(test_archives.archives.unpacked(archive, Path(sys.argv[1])))
"""

MANY = packed({**FILES, **{f"clips/yes/{number}.wav": b"%d" % number for number in range(1, 2000)}})


def unpacker(data_dir: Path, begin: float) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", UNPACKER, str(data_dir), archive_of(MANY).checksum, str(begin)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_both_end_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "clips.tar.gz").write_bytes(MANY)
    begin = time.time() + 1.5
    both = [unpacker(tmp_path, begin) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].strip() for process in both]
    assert said == [str(tmp_path / "clips_v1")] * 2
    assert len(contents(tmp_path / "clips_v1")) == 2002
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.tar.gz", "clips_v1"]


def test_the_folder_of_a_process_that_was_first_stays(tmp_path: Path) -> None:
    """It appears while this one unpacks."""
    path = tmp_path / "clips.tar.gz"
    path.write_bytes(MANY)

    def be_first() -> None:
        while not list(tmp_path.glob(".clips_v1.*.tmp/clips/yes")):
            time.sleep(0.001)
        for name, raw in EXPECTED.items():
            (tmp_path / "clips_v1" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "clips_v1" / name).write_bytes(raw)

    other = threading.Thread(target=be_first, daemon=True)
    other.start()
    assert archives.unpack(path, CLIPS, tmp_path) == tmp_path / "clips_v1"
    other.join(timeout=10)
    assert contents(tmp_path / "clips_v1") == EXPECTED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clips.tar.gz", "clips_v1"]


def test_a_killed_process_leaves_nothing_that_is_trusted(tmp_path: Path) -> None:
    (tmp_path / "clips.tar.gz").write_bytes(MANY)
    process = unpacker(tmp_path, 0.0)
    while len(list(tmp_path.glob(".clips_v1.*.tmp/clips/yes/*"))) < 10:
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.communicate()[0] == ""
    archive = archive_of(MANY)
    assert archives.find(archive, tmp_path) is None
    assert len(contents(archives.unpacked(archive, tmp_path))) == 2002
