"""The parts that the systems in examples/ share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from click.testing import CliRunner

from examples.kit import commands, pages, stats, work
from snncc.errors import OptionError

CONFIG = """
[both]
levels = [8, 16]
[small]
epochs = 2
[paper]
epochs = 100
"""


@dataclass(frozen=True)
class Settings:
    levels: tuple[int, ...]
    epochs: int


def config(folder: Path, text: str = CONFIG) -> Path:
    file = folder / "config.toml"
    file.write_text(text)
    return file


def test_both_sizes_share_what_stands_in_both(tmp_path: Path) -> None:
    file = config(tmp_path)
    assert commands.read(file, "small", Settings) == Settings((8, 16), 2)
    assert commands.read(file, "paper", Settings) == Settings((8, 16), 100)


@pytest.mark.parametrize(
    ("text", "named"),
    [(CONFIG + "seed = 1", "seed"), (CONFIG.replace("epochs = 100", ""), "epochs"), ("[large]", "large")],
)
def test_keys_that_are_unknown_or_missing_are_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(OptionError, match=named):
        commands.read(config(tmp_path, text), "paper", Settings)


def test_reproduce_runs_all_stages_in_order_and_a_command_one(tmp_path: Path) -> None:
    ran: list[tuple[str, Any]] = []

    def stage(name: str) -> commands.Stage:
        return lambda context: ran.append((name, context.settings.epochs))

    group = commands.system("s", config(tmp_path), Settings, {name: stage(name) for name in commands.STAGES})
    CliRunner().invoke(group, ["reproduce", "--work", str(tmp_path)], catch_exceptions=False)
    assert ran == [(name, 2) for name in commands.STAGES]
    CliRunner().invoke(group, ["compile", "--size", "paper"], catch_exceptions=False)
    assert ran[-1] == ("compile", 100)


def double(x: int) -> int:
    return 2 * x


def test_a_work_folder_holds_results_of_one_choice_of_settings(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Chosen(Settings):
        SELECTING: ClassVar = ("levels",)

    commands.settled(tmp_path / "work", Chosen((8,), 2))
    commands.settled(tmp_path / "work", Chosen((8, 16), 2))
    with pytest.raises(OptionError, match="epochs was 2, is 3") as caught:
        commands.settled(tmp_path / "work", Chosen((8, 16), 3))
    assert "--work" in str(caught.value)
    assert "levels" not in (tmp_path / "work" / "settings.json").read_text()


def test_kept_results_are_not_made_again(tmp_path: Path) -> None:
    work.keep(tmp_path / "1.json", "7")
    jobs = {tmp_path / f"{k}.json": (k,) for k in (1, 2)}
    assert list(work.finished(jobs, double, 1).values()) == [7, 4]
    assert json.loads((tmp_path / "2.json").read_text()) == 4
    assert work.digest(tmp_path / "1.json", 3) != work.digest(tmp_path / "2.json", 3)


def test_paired() -> None:
    pytest.importorskip("scipy", reason="needs scipy")
    found = stats.paired([0.9, 0.8, 0.7], [0.8, 0.8, 0.75])
    assert found["mean"] == pytest.approx(0.05 / 3)
    lost = np.array([0.1, 0.0, -0.05])
    assert found["se"] == pytest.approx(lost.std(ddof=1) / 3**0.5)
    assert 0.5 < found["p_t"] < 1
    assert stats.paired([1, 2], [1, 2])["p_t"] == 1
    with pytest.raises(ValueError, match="paired"):
        stats.paired([1, 2], [1])


def test_a_results_page_must_say_what_every_system_says(tmp_path: Path) -> None:
    part = {"metric": 0.9, "steps": 3, "synops_per_mac": 0.5}
    found = {"teacher": part, "compiled": part, "fine_tuned": part, "paired_p": 0.5}
    pages.write(tmp_path, "x", pages.table(["a", "b"], [["c", 1], ["d", None]]), found)
    assert (tmp_path / "x.md").read_text() == "| a | b |\n| --- | ---: |\n| c | 1 |\n| d |  |\n"
    assert json.loads((tmp_path / "x.json").read_text()) == found
    with pytest.raises(ValueError, match=r"compiled\.steps"):
        pages.write(tmp_path, "y", "", {**found, "compiled": {"metric": 0.9, "synops_per_mac": 1}})
    assert not (tmp_path / "y.md").exists()


@pytest.mark.parametrize("schedule", ["none", "cosine", "one-cycle", "plateau"])
@pytest.mark.parametrize("better", [True, False])
def test_the_best_epoch_is_kept_and_an_interrupted_training_goes_on(
    tmp_path: Path, schedule: str, better: bool
) -> None:
    """Whether or not the score gets better from epoch to epoch, which it does as weights grow."""
    torch = pytest.importorskip("torch", reason="needs torch")
    training = pytest.importorskip("examples.kit.training", reason="needs lightning")
    plan = training.Plan(epochs=4, steps=3, rate=0.1, schedule=schedule, patience=0, bf16=False)
    begun: list[int] = []

    def run(folder: Path, stop: int | None = None) -> tuple[dict[str, Any], Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(2, 1)
        begun.clear()

        def batches(epoch: int) -> Any:
            begun.append(epoch)
            for _ in range(3):
                yield torch.randn(4, 2)
                if epoch == stop:
                    raise RuntimeError("the power went out")

        def loss(net: Any, x: Any) -> Any:
            return (net(x)[:, 0] - x @ torch.tensor([1.0, -2.0])).square().mean()

        def score(net: Any) -> float:
            return float(net.weight[0, 0] - net.weight[0, 1]) * (1 if better else -1)

        return training.train(model, batches, loss, score, folder, plan), model.state_dict()

    whole, wanted = run(tmp_path / "whole")
    assert whole["best"]["epoch"] == (4 if better else 1) and begun == [0, 1, 2, 3]
    if schedule == "plateau":  # halved after each epoch without a better score
        last = torch.load(tmp_path / "whole" / "last.ckpt", weights_only=False)
        assert last["optimizer_states"][0]["param_groups"][0]["lr"] == (0.1 if better else 0.1 / 8)
    with pytest.raises(RuntimeError, match="power"):
        run(tmp_path / "part", stop=3)
    again, got = run(tmp_path / "part")
    assert begun == [3]
    assert again["history"] == whole["history"] and len(whole["history"]) == 4
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)
    assert run(tmp_path / "whole", stop=0)[0] == whole  # at its end: nothing is trained


def test_an_exported_network_says_what_torch_says(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")
    pytest.importorskip("onnxscript", reason="needs onnxscript")
    from examples.kit.export import export
    from snncc.ingest import ingest

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.BatchNorm2d(2), torch.nn.ReLU())
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for file in files:
        assert export(model, {"x": torch.rand(1, 1, 4, 4)}, ["y"], file, {"snncc.teacher": {"seed": 0}}) < 1e-5
    assert files[0].read_bytes() == files[1].read_bytes()
    assert [node.op for node in ingest(files[0]).nodes] == ["Conv", "BatchNormalization", "Relu"]
