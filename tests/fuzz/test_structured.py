"""Damage that keeps the form and changes the values, drawn by hypothesis: CSV rows, cfg lines, JSON, YAML, parameter cells."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import nbformat
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_notebook

from echolib.config import Profile, load_profile
from echolib.data import echonet
from echolib.data.cohort import Report, read_rows
from echolib.data.echonet import FILE_LIST_COLUMNS
from echolib.errors import ConfigError, DataError, NotebookError, RecordError
from echolib.ledger.records import Record, read_record
from echolib.pages.notebooks import parameters_of, validate
from tests.data import fakes
from tests.fuzz.readers import READERS, make

FEW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
TEXT = (st.text(st.characters(codec="utf-8"), max_size=40)
        | st.sampled_from(["", "nan", "-1", "1e999", "9" * 400, "0X0001", "TRAIN", "\0"]))
PLAIN = st.recursive(st.none() | st.booleans() | st.integers(-2 ** 70, 2 ** 70) | st.floats() | TEXT,
                     lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6)


@FEW
@given(st.lists(st.lists(TEXT, min_size=8, max_size=10), max_size=6), st.sampled_from([",", ";"]),
       st.sampled_from(["\n", "\r\n", "\r"]))
def test_rows_of_any_cells_are_read_or_reported_with_their_row(cells, comma, end):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "FileList.csv"
        path.write_bytes(end.join([",".join(FILE_LIST_COLUMNS), *(comma.join(row) for row in cells)]).encode())
        report = Report()
        try:
            table = read_rows(path, path.name, FILE_LIST_COLUMNS, report)
        except DataError as error:
            assert error.file == path.name
            return
        assert all(f.file == path.name and f.row >= 1 for f in report.findings)
        assert len(table) <= len(path.read_bytes().splitlines()) and (table["line"] >= 2).all()


@FEW
@given(st.dictionaries(st.sampled_from(FILE_LIST_COLUMNS), TEXT.filter(lambda t: not set(t) & set(',"\r\n\0')), min_size=1))
def test_any_values_in_a_study_leave_the_others_alone(changes):
    with tempfile.TemporaryDirectory() as folder:
        root = _echonet(Path(folder) / "data")
        lines = (root / "FileList.csv").read_text().splitlines()
        cells = dict(zip(FILE_LIST_COLUMNS, lines[2].split(","), strict=True)) | changes
        (root / "FileList.csv").write_text("\n".join([*lines[:2], ",".join(cells.values()), *lines[3:]]) + "\n", encoding="utf-8")
        cohort = echonet.read(root)
        if changes.get("FileName", "0X0001").strip() not in ("0X0000", "0X0000.avi", "0X0002", "0X0002.avi"):
            assert {"0X0000", "0X0002"} <= set(cohort.studies.index)
        assert all(f.file for f in cohort.report.findings)


def _echonet(root: Path, made: dict[str, Path] = {}) -> Path:  # noqa: B006 - written once, then linked
    if not made:
        made["root"] = fakes.write_echonet(Path(tempfile.mkdtemp()) / "data", splits=("TRAIN", "VAL", "TEST"))
    (root / "Videos").mkdir(parents=True)
    for path in made["root"].rglob("*.*"):
        (root / path.relative_to(made["root"])).write_bytes(path.read_bytes())
    return root


def _replaced(value: object, draw) -> object:
    """The same JSON value with one of its leaves, or one of its keys, exchanged."""
    if isinstance(value, dict) and value and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: _replaced(value[key], draw)}
    if isinstance(value, dict) and value and draw(st.booleans()):
        key = draw(st.sampled_from(sorted(value)))
        return {draw(TEXT) if k == key else k: v for k, v in value.items()}
    return draw(PLAIN)


@FEW
@given(st.data())
def test_a_record_with_any_value_exchanged(data):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "in"
        make(next(r for r in READERS if r.name == "run record"), root)
        path = root / "run" / "record.json"
        path.write_text(json.dumps(_replaced(json.loads(path.read_text()), data.draw)))
        try:
            assert isinstance(read_record(path), Record)
        except RecordError as error:
            assert "run/record.json" in str(error)


@FEW
@given(st.data())
def test_a_profile_with_any_value_exchanged(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "smoke.yml"
        whole = yaml.safe_load((Path(__file__).parents[2] / "profiles" / "smoke.yml").read_text())
        path.write_text(yaml.safe_dump(_replaced(whole, data.draw), allow_unicode=True), encoding="utf-8")
        try:
            assert isinstance(load_profile(path), Profile)
        except ConfigError as error:
            assert "smoke.yml" in str(error)


def test_a_profile_that_stands_for_gigabytes_is_refused_with_a_short_message(tmp_path):
    """Aliases of aliases: nine characters a line, nine times as much text."""
    levels = "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True))
    (tmp_path / "bomb.yml").write_text("a: &a [x]\n" + levels)
    try:
        load_profile(tmp_path / "bomb.yml")
    except ConfigError as error:
        assert "bomb.yml" in str(error) and len(str(error)) < 5000
    else:
        raise AssertionError("not refused")


WORDS = st.sampled_from(["int", "str", "float", "bool", "list", "dict", "tuple", "None", "3", "'int'", "...", "open"])
ANNOTATION = st.recursive(WORDS,
                          lambda inner: st.builds("{}[{}]".format, inner, inner) | st.builds("{} | {}".format, inner, inner)
                          | st.builds("{}[{}, {}]".format, inner, inner, inner), max_leaves=4)


@FEW
@given(ANNOTATION, PLAIN, PLAIN)
def test_any_annotation_default_and_value_of_a_parameter(annotation, default, value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.ipynb"
        cell = new_code_cell(f"x: {annotation} = {default!r}", metadata={"tags": ["parameters"]})
        nbformat.write(new_notebook(cells=[cell]), path)
        try:
            assert list(parameters_of(path)) == ["x"]
            assert validate(path, {"x": value}).keys() == {"x"}
        except NotebookError as error:
            assert "page.ipynb" in str(error)
