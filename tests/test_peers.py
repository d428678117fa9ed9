"""The comparison with public implementations: ratios within rounds, numbers worked by hand, damaged files named."""

from __future__ import annotations

import json

import pytest

from bench import peers as command
from bench.store.files import RecordError
from bench.views import peers


def line(implementation: str, round_number: int, step: list[float], peak: int = 10**6) -> dict:
    return {
        **{"case": "time_16384", "round": round_number, "model": "s4", "framework": "torch", "commit": "0123456789"},
        **{"implementation": implementation, "train_step_seconds": step, "forward_seconds": [0.5], "peak_bytes": peak},
    }


# round 1: 6 / 2 = 3; round 2, twice as slow for both but for the other a little less: 10 / 4 = 2.5
LINES = [
    line("owner/name", 1, [5.0, 6.0, 7.0], 40_000_000),
    line(peers.OURS, 1, [2.0, 1.0], 10_000_000),
    line(peers.OURS, 1, [2.0, 9.0], 20_000_000),
    line("owner/name", 2, [10.0]),
    line(peers.OURS, 2, [4.0]),
]


def written(tmp_path, lines):
    path = tmp_path / "sitting.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))
    return path


def test_ratios_are_formed_within_rounds():
    frame = peers.comparison(LINES)
    assert frame["train_step"].tolist() == [[3.0, 2.5]]
    assert frame["forward"].tolist() == [[1.0, 1.0]]
    assert frame[["seconds", "ours_seconds", "peak", "ours_peak"]].to_numpy().tolist() == [[8.0, 3.0, 4e7, 2e7]]
    text = peers.markdown(frame)
    assert "Commits: owner/name@0123456." in text
    assert "| owner/name     |          8 / 3 | 2.8 (2.5 to 3.0) |" in text
    assert "| owner/name     |       40 |        20 |      2.0 |" in text  # megabytes
    assert "2.8 (2.5 to 3.0)" in text


def test_a_round_without_ours_is_refused():
    with pytest.raises(RecordError, match="time_16384 s4 torch owner/name: round 2 holds no process of ssm-bench"):
        peers.comparison(LINES[:-1])


@pytest.mark.parametrize(
    "change, what",
    [
        ({"peak_bytes": None}, "peak_bytes is None"),
        ({"peak_bytes": -1}, "peak_bytes is -1; expected a whole number of 1 or more"),
        ({"round": True}, "round is True; expected a whole number"),
        ({"train_step_seconds": []}, r"train_step_seconds is \[\]"),
        ({"train_step_seconds": [0.1, -0.1]}, "train_step_seconds is .*; expected a list, each entry a finite number"),
        ({"forward_seconds": [float("nan")]}, "NaN is no JSON number"),
        ({"forward_seconds": ["1"]}, "forward_seconds is .*; expected a list"),
        ({"case": ""}, "case is ''; expected a string that is not blank"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path, change, what):
    path = written(tmp_path, [*LINES, LINES[0] | change])
    with pytest.raises(RecordError, match=rf"sitting\.jsonl:6: .*{what}"):
        peers.read([path])


def test_a_document_s_table_is_made_anew_and_checked(tmp_path, capsys):
    path, document = written(tmp_path, LINES), tmp_path / "page.md"
    document.write_text("before\n<!-- peers -->\nold\n<!-- /peers -->\nafter\n")
    words = [str(path), "--readme", str(document)]
    assert command.main([*words, "--check"]) == 1
    assert "old" in document.read_text()
    assert command.main(words) == 0
    assert document.read_text().startswith("before\n<!-- peers -->\n\nTrain step and forward, case time_16384:")
    assert document.read_text().endswith("<!-- /peers -->\nafter\n")
    assert command.main([*words, "--check"]) == 0
    document.write_text("no marker\n")
    assert command.main(words) == 1
    assert "no <!-- peers -->" in capsys.readouterr().err
