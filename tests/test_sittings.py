"""Sittings: many records and certificates in one file, read like the files that it was made of."""

from __future__ import annotations

import json

import pytest
from test_records import certificate, full_record

from bench import sitting, table
from bench.store.records import (
    RecordError,
    find_done,
    new_id,
    read_certificates,
    read_records,
    write_certificate,
    write_record,
)
from bench.store.sittings import pack

NAME = "2026-11-22-epyc.sitting.jsonl"


@pytest.fixture
def measured(tmp_path):
    """A folder of three records and a certificate."""
    folder = tmp_path / "mine"
    for number in range(3):
        write_record(full_record() | {"id": new_id("s4", str(number))}, folder)
    write_certificate(certificate(), folder)
    return folder


def test_a_sitting_is_read_like_the_folder_that_it_was_made_of(measured, tmp_path, capsys):
    target = tmp_path / "kept" / NAME
    assert sitting.main([str(measured), str(target)]) == 0
    assert "3 records, 1 certificates" in capsys.readouterr().out
    assert len(target.read_text().splitlines()) == 4
    assert read_records(target.parent) == read_records(target) == read_records(measured)
    assert len(read_records(target)[0]) == 3
    assert read_certificates(target.parent) == read_certificates(measured)
    assert len(read_certificates(measured)[0]) == 1
    tables = []
    for place in (measured, target):
        assert table.main([str(place), "--format", "csv"]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]


def test_beside_the_files_that_it_was_made_of_a_second_copy_is_told(measured):
    pack(measured, measured / NAME)
    records, warnings = read_records(measured)
    assert len(records) == len(warnings) == 3
    assert all("line" in warning and "a second copy" in warning for warning in warnings)


def test_resume_looks_at_runs_of_its_own_folder_and_not_at_what_was_kept(measured, tmp_path):
    wanted = read_records(measured)[0][0]
    assert find_done(measured, wanted) is not None
    pack(measured, tmp_path / "kept" / NAME)
    assert find_done(tmp_path / "kept", wanted) is None


def test_one_damaged_line_is_named_and_the_rest_is_read(measured, tmp_path):
    target = tmp_path / NAME
    pack(measured, target)
    lines = target.read_text().splitlines()
    spoiled = json.loads(lines[1])
    spoiled["seed" if "seed" in spoiled else "passed"] = "seven"
    target.write_text("\n".join([lines[0], json.dumps(spoiled), *lines[2:]]))
    records, warnings = (a + b for a, b in zip(read_records(target), read_certificates(tmp_path), strict=True))
    assert len(records) == 3
    assert len(warnings) == 1
    assert f"{NAME} line 2" in warnings[0]


def test_a_cut_line_is_named_and_nothing_of_the_file_is_believed(measured, tmp_path):
    target = tmp_path / NAME
    pack(measured, target)
    target.write_text(target.read_text()[:-40])
    records, warnings = read_records(target)
    assert records == []
    assert f"{NAME} line 4: not whole JSON" in warnings[0]


@pytest.mark.parametrize(
    "target, complaint",
    [("a.jsonl", r"ends in \.sitting\.jsonl; call it a\.sitting\.jsonl"), (NAME, "is there already")],
)
def test_a_name_that_would_not_be_read_or_is_taken_is_refused(measured, tmp_path, target, complaint, capsys):
    (tmp_path / NAME).write_text("")
    with pytest.raises(RecordError, match=complaint):
        pack(measured, tmp_path / target)
    assert sitting.main([str(measured), str(tmp_path / target)]) == 1
    assert str(tmp_path / target) in capsys.readouterr().err.replace("\n", "")


def test_a_folder_with_a_damaged_record_or_none_is_not_packed(measured, tmp_path):
    next(measured.glob("*.json")).write_text("{")
    with pytest.raises(RecordError, match="not packed"):
        pack(measured, tmp_path / NAME)
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="holds no record"):
        pack(tmp_path / "empty", tmp_path / NAME)
    assert not (tmp_path / NAME).exists()
