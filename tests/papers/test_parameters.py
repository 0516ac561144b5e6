"""Parameters that a reader turns: every notebook against its page's options, and bad names, types and values in all three ways
of running a notebook: ``echolib notebook --set``, papermill, and the cells by hand."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import nbformat
import papermill
import pytest
from papermill.exceptions import PapermillExecutionError
from papermill.inspection import inspect_notebook
from typer.testing import CliRunner

from echolib.cli import app
from echolib.config import load_profile
from echolib.errors import ConfigError, EcholibError, RecordError
from echolib.ledger.ledger import Ledger
from echolib.pages import overview, reader
from echolib.pages.catalogue import source, title
from echolib.pages.notebooks import parameters_of, validate
from echolib.papers.book import BOOK

ROOT = Path(__file__).parents[2]
DESK = load_profile(ROOT / "profiles" / "desk.yml")
#: (notebook, parameter, value, what the sentence says).
BAD = (
    ("simlvseg_table1", "methods", ["U-Net"], "takes a list of different methods: EchoNet-Dynamic; nnU-Net"),
    ("simlvseg_table1", "worst", 0, "takes a whole number from 1 to 20; not 0"),
    ("simlvseg_table1", "seeds", [-1], "takes different whole numbers, 0 or more; not [-1]"),
    ("simlvseg_table1", "seeds", [0, 0], "takes different whole numbers, 0 or more; not [0, 0]"),
    ("simlvseg_table1", "seeds", [], "takes different whole numbers, 0 or more; not []"),
    ("simlvseg_table1", "seeds", [0.5], "takes different whole numbers, 0 or more; not [0.5]"),
    ("simlvseg_figure6", "presets", ["dextrocardia"], "takes a list of different kinds of clips: foreshortening"),
    ("simlvseg_figure7", "frames_si", [8], "takes a list of different square numbers from 4 to 256; not [8]"),
    ("simlvseg_figure7", "frames_3d", [24], "takes a list of different multiples of 16 up to 256; not [24]"),
    ("simlvseg_figure7", "periods", [0], "takes a list of different whole numbers from 1 to 32; not [0]"),
    ("simlvseg_figure8", "ratios", [1.5], "takes a list of different shares between 0 and 1"),
    ("simlvseg_figure8", "ratios", ["some"], "takes a list of different shares between 0 and 1"),
    ("simlvseg_figure8", "ratios", 0.3, "takes a list of different shares between 0 and 1"),
    ("simlvseg_figure8", "network", "nnunet2d", "takes a network that sees several frames, one of si_uniformer_s"),
    ("simlvseg_figure8", "mask", [0.3], "the page has no parameter 'mask'; its parameters: profile, seeds, ratios, network"),
    ("simlvseg_figure9", "cutoff_hz", 0.0, "takes a frequency above 0 Hz, up to 25 Hz; not 0.0"),
    ("simlvseg_table2", "backbones", ["VGG"], "takes a list of different backbones: MobileNetV3"),
    ("simlvseg_table3", "views", ["3CH"], "takes a list of different views: 4CH, 2CH; not ['3CH']"),
    ("simlvseg_table3", "qualities", ["Bad"], "takes a list of different image qualities: Good, Medium, Poor"),
    ("simlvseg_table3", "padding", "around", "takes one of before, after; not 'around'"),
    ("ejection_fraction", "network", "unet", "takes one of DeepLabV3, nnU-Net, SimLVSeg-SI, SimLVSeg-3D; not 'unet'"),
    ("phantom_atlas", "seeds", [0], "the page has no parameter 'seeds'; its parameters: profile, clips, frames, draws, shown"),
    ("simlvseg_runtime", "runs", 0, "takes a whole number from 1 to 10,000; not 0"),
)
#: Values that are no page's own, one set a page.
GOOD = (
    ("simlvseg_table1", {"methods": ["nnU-Net", "SimLVSeg-SI"], "seeds": [0, 4], "worst": 3}),
    ("simlvseg_table2", {"backbones": ["ResNet-18", "UniFormer-S"], "seeds": [1]}),
    ("simlvseg_table3", {"views": ["2CH"], "qualities": ["Poor"], "padding": "after"}),
    ("simlvseg_figure6", {"presets": ["effusion"]}),
    ("simlvseg_figure7", {"frames_si": [36], "frames_3d": [48], "periods": [4]}),
    ("simlvseg_figure8", {"ratios": ["none", 0.25], "network": "unet3d"}),
    ("simlvseg_figure9", {"cutoff_hz": 8}),
)


@pytest.fixture
def nothing_is_computed(monkeypatch):
    """Whatever asks the ledger for a result fails."""
    for name in ("require", "evaluate", "make"):
        monkeypatch.setattr(Ledger, name, lambda *_: pytest.fail("something was computed"))


@pytest.fixture
def by_hand(monkeypatch):
    """Runs a notebook's cells up to the one that opens the page, as a kernel would; takes the parameters cell's lines."""
    def run(notebook: str, lines: str) -> dict:
        cells = [c.source for c in nbformat.read(source(notebook, ROOT), as_version=4).cells if c.cell_type == "code"]
        executed, names = [""], {}
        monkeypatch.setattr(reader, "get_ipython", lambda: SimpleNamespace(user_ns={"In": executed}))
        for text in (f"{cells[0]}\n{lines}", cells[1].split("\nledger")[0]):
            executed.append(text)
            exec(compile(ast.parse(text), notebook, "exec"), names)
        return names
    return run



@pytest.mark.parametrize("notebook", BOOK.notebooks)
def test_a_notebook_declares_what_its_page_takes(notebook):
    declared, fields = parameters_of(source(notebook, ROOT)), type(BOOK.of_notebook(notebook)[0].options).model_fields
    assert list(declared)[0] == "profile" and set(declared) == {"profile", *fields}
    for name, field in fields.items():
        shown = declared[name].default
        assert (tuple(shown) if isinstance(shown, list) else shown) == field.default, f"{name}: two defaults"
        assert field.description, f"{name}: nothing says what it takes"
    text = nbformat.read(source(notebook, ROOT), as_version=4).cells[2].source.replace("\n", " ")
    given = ", ".join(f"{name}={name}" for name in fields)
    assert f'open_page("{notebook}", profile, ' in text and sorted(given.split(", ")) == sorted(
        text.split(f'open_page("{notebook}", profile, ')[1].split(")")[0].split(", ")), "every parameter reaches the page"


def test_the_book_lists_the_parameters_of_every_notebook():
    page = overview.parameters_html(BOOK, {name: title(name, ROOT) for name in BOOK.notebooks})
    for notebook in BOOK.notebooks:
        row = next((part for part in page.split("<tr>") if f'href="../notebooks/{notebook}.html"' in part), "")
        declared = [name for name in parameters_of(source(notebook, ROOT)) if name != "profile"]
        assert re.findall(r"<code>(\w+)</code>", row) == declared, notebook


@pytest.mark.parametrize("notebook", BOOK.notebooks)
def test_papermill_itself_reads_every_parameter(notebook):
    """Else it says 'Passed unknown parameter' of one that the notebook has."""
    assert set(inspect_notebook(source(notebook, ROOT))) == set(parameters_of(source(notebook, ROOT)))


@pytest.mark.parametrize(("notebook", "name", "value", "words"), BAD)
def test_the_batch_refuses_a_bad_parameter_in_one_sentence(monkeypatch, nothing_is_computed, notebook, name, value, words):
    monkeypatch.chdir(ROOT)
    said = CliRunner().invoke(app, ["notebook", notebook, "--profile", "desk", "--set", f"{name}={value!r}"])
    assert isinstance(said.exception, EcholibError)
    text = str(said.exception)
    assert text.startswith(f"{notebook}: ") and name in text and words in text and "\n" not in text


@pytest.mark.parametrize(("notebook", "name", "value", "words"), BAD)
def test_the_cells_refuse_a_bad_parameter_alike(monkeypatch, nothing_is_computed, by_hand, notebook, name, value, words):
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError) as caught:
        by_hand(notebook, f'profile = "desk"\n{name} = {value!r}')
    text = str(caught.value)
    assert text.startswith(f"{notebook}: ") and name in text and words in text and "\n" not in text


@pytest.mark.parametrize(("notebook", "values"), GOOD)
def test_good_values_are_taken_in_each_way_and_the_page_says_so(monkeypatch, by_hand, notebook, values):
    monkeypatch.chdir(ROOT / "notebooks")
    BOOK.check(notebook, ROOT, DESK, values)
    texts = {name: str(value) if isinstance(value, list) else value for name, value in values.items()}
    page, as_text = (by_hand(notebook, "\n".join(f"{n} = {v!r}" for n, v in ({"profile": "desk"} | given).items()))["page"]
                     for given in (values, texts))
    assert page.options == as_text.options, "papermill -p gives a list as text"
    assert set(page.options.changed) == set(values) and all(f"<code>{n} = " in page.notice.data for n in values)
    assert "Not the page of profile desk" in page.notice.data
    keys = {s.key for s in page.entry.needs(page.profile).runs}
    assert keys == {s.key for s in BOOK.needs(notebook, DESK, values).runs} and keys


def test_the_profile_s_own_page_has_no_notice(monkeypatch, by_hand):
    monkeypatch.chdir(ROOT)
    page = by_hand("simlvseg_table1", 'profile = "desk"')["page"]
    assert page.notice.data == "" and page.head.data.count("<details") == 1
    assert "<code>&#x27;desk&#x27;</code>" in page.head.data and "--profile desk --set seeds=[0]</code>" in page.head.data


def test_pictures_that_are_not_committed_are_a_notice_on_a_reader_s_page_alone(monkeypatch, by_hand):
    monkeypatch.chdir(ROOT)

    def draw():
        raise RecordError("evaluation 0 was committed without the example <x>")

    turned = by_hand("simlvseg_table1", 'profile = "desk"\nworst = 7')["page"]
    assert "committed without the example &lt;x&gt;" in turned.pictures(draw).data
    assert turned.pictures(lambda: "drawn") == "drawn"
    with pytest.raises(RecordError):
        by_hand("simlvseg_table1", 'profile = "desk"')["page"].pictures(draw)


def test_the_runs_follow_the_values():
    needs = BOOK.needs("simlvseg_figure8", DESK, {"ratios": [0.25], "seeds": [7], "network": "unet3d"})
    assert [(s.model.name, s.parents["init"].recipe.ratio, s.seed) for s in needs.runs] == [("unet3d", 0.25, 7)]
    views = BOOK.needs("simlvseg_table3", DESK, {"views": ["2CH"], "seeds": [0]}).evaluations
    assert {s.data.views for s in views if s.data.layout == "camus"} == {("2CH",)}


def test_a_value_of_the_profile_is_not_a_parameter(monkeypatch, nothing_is_computed):
    monkeypatch.chdir(ROOT)
    said = CliRunner().invoke(app, ["notebook", "simlvseg_table1", "--set", "profile=desk"])
    assert "expected --profile" in str(said.exception)


def test_a_profile_without_ablations_says_so():
    with pytest.raises(ConfigError, match="runs no ablations, so ratios cannot be set"):
        BOOK.needs("simlvseg_figure8", DESK.model_copy(update={"ablation": None, "further": ()}), {"ratios": [0.3]})


def test_a_corrected_name_is_forgotten(monkeypatch):
    cells = ["", "# Parameters\nratois = [0.3]\n", "%matplotlib inline", "# Parameters\nratios = [0.3]\n"]
    monkeypatch.setattr(reader, "get_ipython", lambda: SimpleNamespace(user_ns={"In": cells[:3]}))
    assert reader.executed_parameters() == ["ratois"]
    monkeypatch.setattr(reader, "get_ipython", lambda: SimpleNamespace(user_ns={"In": cells}))
    assert reader.executed_parameters() == ["ratios"]


@pytest.fixture
def kernels(monkeypatch):
    """Kernels import this checkout, wherever they run and whatever is installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
@pytest.mark.parametrize(("given", "words"), [
    ({"ratois": "[0.3, 0.6]"}, "the page has no parameter 'ratois'; its parameters: profile, seeds, ratios, network"),
    ({"ratios": "[0.3, 0.6"}, "parameter 'ratios' takes a list of different shares between 0 and 1"),
    ({"seeds": "[-1]"}, "parameter 'seeds' takes different whole numbers, 0 or more")])
def test_papermill_stops_at_a_bad_parameter(tmp_path, kernels, given, words):
    """In a kernel of its own, from notebooks/, as plain papermill runs it."""
    with pytest.raises(PapermillExecutionError) as caught:
        papermill.execute_notebook(source("simlvseg_figure8", ROOT), tmp_path / "out.ipynb", {"profile": "desk"} | given,
                                   cwd=ROOT / "notebooks", progress_bar=False, kernel_name="python3")
    assert caught.value.ename == "ConfigError" and words in caught.value.evalue and "\n" not in caught.value.evalue


@pytest.mark.slow
def test_papermill_runs_a_page_of_a_reader_s_own(tmp_path, kernels):
    """The command of the book, with lists as text; every record that it needs is committed."""
    out = tmp_path / "out.ipynb"
    given = {"profile": "desk", "ratios": "[0.3, 0.6]", "seeds": "[0]"}
    papermill.execute_notebook(source("simlvseg_figure8", ROOT), out, given, cwd=ROOT, progress_bar=False, kernel_name="python3")
    shown = "".join(o.get("data", {}).get("text/html", "") for c in nbformat.read(out, as_version=4).cells
                    if c.cell_type == "code" for o in c.outputs)
    assert "Not the page of profile desk" in shown and "ratios = [0.3, 0.6]" in shown
    assert "mask 30 %" in shown and "mask 60 %" in shown


def test_types_that_the_notebook_declares_hold_as_well():
    file = source("simlvseg_figure8", ROOT)
    with pytest.raises(EcholibError, match=r"parameter 'seeds' takes Optional\[list\[int\]\], not"):
        validate(file, {"seeds": [True]})
