"""Passes of others: an installed package, a file, broken ones and clashes."""

from __future__ import annotations

import shutil
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Optional

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import snncc
from snncc.cli import main
from snncc.cli.training_data import teacher
from snncc.errors import OptionError
from snncc.ingest import ingest
from snncc.pass_options import described
from snncc.passes import BUILTIN
from snncc.passes.recipe import default_pipeline
from snncc.pipeline import build, parse_pipeline, pipeline_text
from snncc.plugins import Found, Registry, registry
from snncc.runtime.host import run_graph
from tests.onnx_models import model

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "add_a_pass.py"
TEACHER = """agraph (float[1,1,6,6] x, float[3,1,3,3] w, float[2,3,1,1] u) => (float[1,2,6,6] y) {
    c = Conv <pads = [1, 1, 1, 1]> (x, w)
    r = Relu (c)
    y = Conv (r, u) }"""
DATA = np.random.default_rng(0).random((4, 1, 6, 6)).astype(np.float32)


def install(source: Path, target: Path) -> None:
    """What `pip install --target` does with a pure package: its files and its metadata."""
    project: dict[str, Any] = tomllib.loads((source / "pyproject.toml").read_text())
    about, packages = project["project"], project["tool"]["setuptools"]["packages"]
    for package in packages:
        shutil.copytree(source / package, target / package, ignore=shutil.ignore_patterns("__pycache__"))
    info = target / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    lines = [
        line
        for group, entries in about["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on sys.path that holds the third-party package of tests/plugin."""
    site = tmp_path / "site"
    site.mkdir()
    install(ROOT / "tests" / "plugin", site)
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("snncc_double_head", None)


def test_a_third_party_package_adds_a_pass(installed: Path) -> None:
    found = {item.name: item for item in registry(BUILTIN)}
    assert found["double-head"].owner == "snncc-double-head 1.2 (snncc_double_head:DoubleHead)"
    teacher = model(TEACHER)
    plain = snncc.compile(teacher, calibrate=DATA, timesteps=32)
    changed = snncc.compile(teacher, calibrate=DATA, timesteps=32, passes=["double-head{factor=3}"])
    assert "double-head{factor=3.0},quantize" in changed.meta["pipeline"]
    expected, output = (snncc.load(n, "reference").run(DATA[0]).outputs["y"] for n in (plain, changed))
    np.testing.assert_allclose(output, 3 * expected, rtol=0.05, atol=0.05)


def test_passes_lists_it(installed: Path) -> None:
    result = CliRunner().invoke(main, ["passes"])
    assert result.exit_code == 0 and "double-head" in result.stdout and "factor=2.0" in result.stdout


def test_a_pass_from_a_file() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 25
    network = snncc.compile(model(TEACHER), calibrate=DATA, passes=[f"{EXAMPLE}:PruneSmall{{share=0.5}}"])
    assert "prune-small{share=0.5},lower" in network.meta["pipeline"]
    zeros = [np.mean(j.synapse.weight == 0) for j in network.projections]
    assert all(share >= 0.4 for share in zeros)
    assert any("set to zero" in reason for _, _, reason in network.meta["report"])


def test_what_was_compiled_with_a_pass_from_a_file_is_compared_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(model(TEACHER), "t.onnx")
    np.save("x.npy", DATA)
    reference = f"{EXAMPLE}:PruneSmall"
    network = snncc.compile("t.onnx", "m.onnx", calibrate="x.npy", passes=[f"{reference}{{share=0.5}}"])
    command = ["compare", "t.onnx", "m.onnx", "--data", "x.npy", "--samples", "1"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 2 and "the pass prune-small" in refused.stderr and "-p file.py:Class" in refused.stderr
    compared = CliRunner().invoke(main, [*command, "-p", reference])
    assert compared.exit_code == 0, compared.output
    taught = teacher(Path("t.onnx"), network, "y", [reference])({"x": DATA[:1]})[0]
    np.testing.assert_array_equal(taught, run_graph(ingest("t.onnx"), {"x": DATA[:1]}, ["y"])["y"])
    with pytest.raises(OptionError, match="prune-small"):
        teacher(Path("t.onnx"), network, "y", [])


def test_a_broken_plugin_breaks_nothing_else(installed: Path) -> None:
    (installed / "snncc_double_head" / "__init__.py").write_text("import a_module_that_is_not_there\n")
    sys.modules.pop("snncc_double_head", None)
    result = CliRunner().invoke(main, ["passes"])
    assert result.exit_code == 0 and "BROKEN" in result.stdout and "quantize" in result.stdout
    snncc.compile(model(TEACHER), calibrate=DATA)
    with pytest.raises(OptionError, match=r"snncc-double-head 1\.2.*is broken.*a_module_that_is_not_there"):
        registry(BUILTIN).get("double-head")


def break_it(site: Path, text: str) -> Found:
    """Put `text` in place of the package's code; gives what the registry then finds."""
    (site / "snncc_double_head" / "__init__.py").write_text(text)
    sys.modules.pop("snncc_double_head", None)
    (found,) = (item for item in registry(BUILTIN) if item.owner.startswith("snncc-double-head"))
    return found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("x = (", "SyntaxError"),
        ("", "no attribute 'DoubleHead'"),
        ("DoubleHead = 5", "not a dataclass"),
        ("class DoubleHead: pass", "not a dataclass"),
        ("{code}.name = 'another'", "entry point is called double-head, the pass another"),
        ("{code}.name = 'a,b'", "its name 'a,b'"),
        ("{code}.level = 'engine'", "its level is not one of"),
        ("{code}.level = []", "its level is not one of"),
        ("del {code}.run", "it has no run"),
    ],
)
def test_every_kind_of_broken_plugin(text: str, message: str, installed: Path) -> None:
    good = (installed / "snncc_double_head" / "__init__.py").read_text()
    found = break_it(installed, f"{good}\n\n{text}".replace("{code}", "DoubleHead") if "{code}" in text else text)
    assert found.kind is None and message in found.error
    result = CliRunner().invoke(main, ["passes"])
    assert result.exit_code == 0 and "BROKEN" in result.stdout and "quantize" in result.stdout
    with pytest.raises(OptionError, match=r"snncc-double-head 1\.2.*is broken"):
        registry(BUILTIN).get("double-head")


def test_what_a_plugin_prints_is_no_output(installed: Path) -> None:
    good = (installed / "snncc_double_head" / "__init__.py").read_text()
    break_it(installed, f"{good}\nprint('hello')")
    sys.modules.pop("snncc_double_head", None)
    result = CliRunner().invoke(main, ["passes"])
    assert "hello" not in result.stdout and "hello" in result.stderr


def test_two_packages_of_one_pass(installed: Path) -> None:
    info = installed / "other_head-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-head\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[snncc.passes]\ndouble-head = snncc_double_head:DoubleHead\n")
    with pytest.raises(OptionError, match=r"(?=.*snncc-double-head 1\.2)(?=.*other-head 0\.3).* and by "):
        snncc.compile(model(TEACHER), calibrate=DATA, passes=["double-head"])
    result = CliRunner().invoke(main, ["passes"])
    assert result.exit_code == 0 and result.stdout.count("BROKEN") == 2
    snncc.compile(model(TEACHER), calibrate=DATA)  # nobody asked for it


@dataclass(frozen=True)
class Options:
    """Options of every type."""

    needed: int
    scope: Literal["layer", "channel"] = field(default="layer", metadata={"help": "what shares one value"})
    axes: tuple[int, ...] = (2, 3)
    window: tuple[int, float] = (1, 0.5)
    limit: float | None = None
    title: Optional[str] = None  # noqa: UP045
    sizes: tuple[int, ...] = field(default_factory=lambda: (1,))
    on: bool = True

    name: ClassVar[str] = "options"


def made(options: dict[str, str]) -> Any:
    return build(Options, options)  # type: ignore[arg-type]


def test_options_of_every_type() -> None:
    text = {"needed": "7", "scope": "channel", "axes": "1;2;3", "window": "4;0.25", "limit": "2.5", "title": "a"}
    found = made({**text, "sizes": "", "on": "no"})
    assert found == Options(7, "channel", (1, 2, 3), (4, 0.25), 2.5, "a", (), False)
    (again,) = parse_pipeline(pipeline_text([found]))
    assert made(again[1]) == found
    assert made({"needed": "1", "limit": "none"}) == Options(1)
    assert described(Options) == [
        "needed=<int>", "scope=layer  (layer|channel)  what shares one value", "axes=2;3  (int;...)",
        "window=1;0.5  (int;float)", "limit=none  (float|none)", "title=none  (str|none)", "sizes=1  (int;...)",
        "on=True",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "needed"),
        ({"needed": "x"}, "not of type int"),
        ({"needed": "1", "scope": "all"}, r"layer\|channel"),
        ({"needed": "1", "axes": "1;b"}, "int;..."),
        ({"needed": "1", "window": "1"}, "int;float"),
        ({"needed": "1", "limit": "much"}, r"float\|none"),
        ({"needed": "1", "on": "maybe"}, "bool"),
        ({"other": "1"}, "no option 'other'"),
    ],
)
def test_bad_options(options: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        made(options)


@dataclass(frozen=True)
class Mine:
    """Nothing."""

    name: ClassVar[str] = "quantize"
    level: ClassVar[str] = "network"
    requires: ClassVar[tuple[()]] = ()
    ensures: ClassVar[tuple[()]] = ()

    def run(self, ir: Any, context: Any) -> Any:
        return ir


def test_a_clash_names_both_owners() -> None:
    both = Registry([*(Found(k.name, "snncc", k) for k in BUILTIN), Found("quantize", "other 1.0", Mine)])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"quantize.*snncc.*other 1\.0"):
        both.get("quantize")
    with pytest.raises(OptionError, match="claimed by"):
        both.check("quantize")
    assert sum("claimed by" in item.error for item in both) == 2
    both.check("lower")


def test_a_file_must_not_take_a_name(tmp_path: Path) -> None:
    text = EXAMPLE.read_text().replace("prune-small", "quantize")
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(OptionError, match=r"quantize.*snncc.*mine\.py:PruneSmall"):
        registry(BUILTIN).get(f"{tmp_path}/mine.py:PruneSmall")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("quantise", "no pass"),
        ("nowhere.py:Class", "no such file"),
        ("{here}/test_plugins.py:Absent", "no class"),
        ("{here}/test_plugins.py:Path", "not a dataclass"),
    ],
)
def test_unknown_passes(reference: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        registry(BUILTIN).get(reference.format(here=ROOT / "tests"))


def test_where_passes_are_put(installed: Path) -> None:
    known, steps = registry(BUILTIN), default_pipeline()
    names = [step.name for step in known.insert(steps, "double-head")]
    assert names.index("double-head") == names.index("quantize") - 1
    names = [step.name for step in known.insert(steps, f"{EXAMPLE}:PruneSmall")]
    assert names.index("prune-small") == names.index("lower") - 1
    names = [step.name for step in known.insert(default_pipeline(precision="float32"), "double-head")]
    assert names[-1] == "double-head"
    text = pipeline_text(known.insert(default_pipeline(per="layer"), "calibrate{method=percentile,q=99}"))
    assert "calibrate{q=99.0,per=layer,levels=15}" in text
    assert pipeline_text(known.parse(text)) == text
    with pytest.raises(OptionError, match=r"q=99\.0 with the method mse"):
        known.insert(default_pipeline(), "calibrate{q=99}")


def test_a_pass_in_place_of_its_base_keeps_the_options() -> None:
    """What --precision says of quantize holds for calibrate-weights, unless it says otherwise."""
    known, steps = registry(BUILTIN), default_pipeline(precision="int4")
    assert pipeline_text(known.insert(steps, "calibrate-weights")).endswith("calibrate-weights{bits=4}")
    assert pipeline_text(known.insert(steps, "calibrate-weights{bits=6}")).endswith("calibrate-weights{bits=6}")
    assert pipeline_text(known.insert(steps, "balance-thresholds{steps=9}")).count("steps=9") == 1
