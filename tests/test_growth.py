"""Exponents of growth: worked by hand, between records that differ in their length alone."""

from __future__ import annotations

import math

import pytest
from test_table import record

from bench.store.files import RecordError
from bench.views import growth, tables


def at(framework, length, seconds, **changes):
    data = {"length": length, "channels": 1, "classes": 10}
    made = record(framework, step=(seconds,) * 5, data=data, **changes)
    made["config"]["task"]["length"] = length
    return made


def test_exponents_of_known_growth():
    records = [at("torch", length, 1e-6 * length**1.5) for length in (1024, 4096, 65536)]
    records += [at("jax", 1024, 0.01), at("jax", 4096, 0.04)]
    records += [at("jax", 4096, 9.0, status="failed"), at("jax", 4096, 0.02)]  # of one cell, the newest that is ok
    records += [at("torch", 16384, 1.0, n=32), record("torch", task="train")]  # another model; no step was timed
    frame = growth.exponents(records)
    assert frame[["from", "to"]].to_numpy().tolist() == [[1024, 4096], [1024, 65536]]
    assert frame["torch"].tolist() == pytest.approx([1.5, 1.5])
    assert frame["jax"].iloc[0] == pytest.approx(0.5)
    assert math.isnan(frame["jax"].iloc[1])
    text = growth.markdown(records)
    assert "1.50 |" in text
    assert "– |" in text


def test_nothing_to_compare_is_an_error():
    with pytest.raises(RecordError, match=r"no two records .* differ in task\.length alone"):
        growth.markdown([at("torch", 1024, 0.1), at("torch", 2048, 0.1, n=32)])


def test_it_is_a_table_of_documents():
    records = [at("torch", length, float(length)) for length in (10, 100)]
    text = tables.updated_document("<!-- table:growth -->\n<!-- /table:growth -->\n", records)
    assert "1.00 |" in text
