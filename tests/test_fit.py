"""The training loop: learns, goes on exactly after kill -9, splits over processes, keeps to a budget."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snncc.comparison.metrics import Metric
from snncc.errors import FormatError, OptionError
from snncc.graph import Array
from snncc.model import Model
from tests.training import Images, network, train

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
from snncc.trainer import SpikingModule  # noqa: E402
from snncc.trainer.evaluation import Evaluation, evaluate  # noqa: E402
from snncc.trainer.fit import BEST, LAST, Batches, Epoch, Settings, fit  # noqa: E402
from snncc.trainer.losses import Objective  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
LEARNING = ("epochs=4", "noise=1", "schedule=plateau")


def process(folder: Path, *options: str, launch: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(launch or ()), "-m", "tests.training", str(folder), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


def weights(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / "weights.pt")
    return found


def test_kill_9_then_resume_gives_the_same_weights(tmp_path: Path) -> None:
    """Killed in the first epoch, at the first batch of the second one, and in the middle of it; three batches each.
    The data set draws random numbers, the schedule depends on the epochs that are done."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    done = process(whole, *LEARNING)
    assert done.returncode == 0, done.stderr
    for batch in (2, 4, 2):
        assert process(killed, *LEARNING, f"kill={batch}").returncode == -signal.SIGKILL
    done = process(killed, *LEARNING)
    assert done.returncode == 0, done.stderr
    own, other = weights(whole), weights(killed)
    assert own.keys() == other.keys()
    assert all(torch.equal(own[name], other[name]) for name in own)
    assert (whole / "metrics.csv").read_bytes() == (killed / "metrics.csv").read_bytes()


def test_two_processes_are_one(tmp_path: Path) -> None:
    """The same batches: sums of float32 gradients differ in their last digits, and weights by less than 1e-5."""
    one, two = tmp_path / "one", tmp_path / "two"
    done = process(one, "epochs=4", "loss=bce")
    assert done.returncode == 0, done.stderr
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = process(two, "epochs=4", "loss=bce", launch=torchrun)
    assert done.returncode == 0, done.stderr
    own, other = weights(one), weights(two)
    assert all(torch.allclose(own[name], other[name], rtol=0, atol=1e-5) for name in own)
    start = SpikingModule(network()).state_dict()
    assert max(float((own[name] - start[name]).abs().max()) for name in own) > 0.05


@pytest.mark.parametrize(("size", "world"), [(24, 1), (23, 2), (5, 4), (17, 4)])
def test_processes_share_each_batch(monkeypatch: pytest.MonkeyPatch, size: int, world: int) -> None:
    """Every sample is drawn once, but for those that fill up the last batch; the shares of a batch are equal."""
    parts = []
    for rank in range(world):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(world))
        parts.append(list(Batches(size, Settings(batch=8), [])))
    assert all(len({len(share) for share in batch}) == 1 for batch in zip(*parts, strict=True))
    drawn = [k for part in parts for share in part for k in share]
    assert set(drawn) == set(range(size)) and len(drawn) == size + -size % world


def test_learns_and_keeps_the_best(tmp_path: Path) -> None:
    options = {"epochs": "8", "schedule": "cosine", "batch": "4"}
    module, found = train(tmp_path, **options)
    first, best = found.history[0].found, found.best.found
    assert [epoch.number for epoch in found.history] == list(range(9))
    assert best.metric == max(epoch.found.metric for epoch in found.history) > first.metric + 0.3
    objective = Objective.of("bce-dice", ["synops:0.2"])
    assert best == evaluate(module, Images(6, 1), objective, Metric("dice", 0.5), batch=4)
    saved = torch.load(found.checkpoint)
    assert all(torch.equal(saved[name], value) for name, value in module.state_dict().items())
    again, same = train(tmp_path, **options)  # nothing is left to do
    assert same.history == found.history and same.best == found.best
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), module.parameters(), strict=True))


class Later:
    """A metric by which every epoch is better than the one before."""

    def __init__(self) -> None:
        self.calls = 0

    def counts(self, output: Array, target: Any) -> Array:
        return np.zeros(1)

    def value(self, counts: Array) -> float:
        self.calls += 1
        return float(self.calls)


@pytest.mark.parametrize("relearn", [False, True])
def test_relearned_scales_hold_what_grows(relearn: bool, tmp_path: Path) -> None:
    module = SpikingModule(network())
    settings = Settings(epochs=1, batch=8, rates={"weights": 0.3}, clip=0, relearn=relearn)
    fit(module, Images(), Images(2, 1), Objective.of("bce"), Later(), tmp_path, settings)
    off = [float((link.weight * link.scale - link.whole_weight()).detach().abs().max()) for link in module.links]
    assert (max(off) < 0.51) == relearn
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=False)["state_dict"]
    assert all(torch.equal(checkpoint[f"spiking.{n}"], value) for n, value in module.state_dict().items())
    assert np.isfinite(Model(module.saved()).run({"x": np.zeros((1, 1, 8, 8), np.float32)}).outputs["y"]).all()


def test_evaluation_is_what_engines_say(tmp_path: Path) -> None:
    """Dice, SynOps and rates of the module, and of the saved network on the engine that `snncc run` uses."""
    module, found = train(tmp_path, epochs="1")
    path = tmp_path / "m.snn.onnx"
    module.save(path, data="images")
    model, images, dice, synops, events = Model(module.saved()), Images(6, 1), [], 0, 0
    metric = Metric("dice", 0.5)
    with torch.no_grad():
        outputs = module(torch.as_tensor(images.images))
    for k in range(len(images)):
        result = model.run(images.images[k : k + 1])
        assert all(np.array_equal(outputs[name][k : k + 1].numpy(), value) for name, value in result.outputs.items())
        dice.append(metric.value(metric.counts(result.outputs["y"], images.truth[k : k + 1])))
        synops += result.counts.totals["synops"]
        events += result.counts.totals["events"]
    own = found.best.found
    assert own.metric == pytest.approx(np.mean(dice), abs=1e-12)
    assert own.synops == synops / len(images) / model.network.meta["teacher"]["macs"]
    sizes = {p.name: p.size for p in model.network.populations}
    assert sum(rate * sizes[name] * 4 for name, rate in own.rates.items()) == pytest.approx(events / len(images))


@pytest.mark.parametrize(("budget", "best"), [(None, 3), (0.5, 2), (0.35, 1), (0.1, 1)])
def test_the_best_epoch_keeps_to_the_budget(budget: float | None, best: int) -> None:
    found = [(0.60, 0.90), (0.30, 0.80), (0.45, 0.85), (0.70, 0.95)]  # SynOps, metric
    history = [Epoch(k, 0.0, Evaluation(0.0, metric, synops, {})) for k, (synops, metric) in enumerate(found)]
    assert max(history, key=lambda epoch: epoch.rank(budget)).number == best


def test_early_stop_also_when_resumed(tmp_path: Path) -> None:
    """With so small a learning rate no epoch is better than the one before training."""
    data, settings = Images(8), Settings(epochs=9, stop=2, batch=8, rates={"biases": 1e-12})
    for _ in range(2):
        found = fit(SpikingModule(network()), data, data, Objective.of("bce"), None, tmp_path, settings)
        assert len(found.history) == 3 and found.best.number == 0


def test_other_settings_are_refused(tmp_path: Path) -> None:
    train(tmp_path, epochs="1")
    with pytest.raises(OptionError, match="other settings") as caught:
        train(tmp_path, epochs="2")
    assert caught.value.file is not None and "remove this folder" in str(caught.value)


def test_parameters_without_a_rate_stay(tmp_path: Path) -> None:
    data, module = Images(8), SpikingModule(network())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fit(module, data, data, Objective.of("bce"), None, tmp_path, Settings(1, 4, {"thresholds": 0.05}))
    changed = [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]
    assert {name.rpartition(".")[2] for name in changed} == {"threshold"}
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_ctrl_c_goes_up_as_one(tmp_path: Path) -> None:
    """Also when it comes in the middle of a batch; SIGINT works again afterwards."""
    handler = signal.getsignal(signal.SIGINT)

    def interrupted(trace: Any, target: Any) -> Any:
        if torch.is_grad_enabled():
            os.kill(os.getpid(), signal.SIGINT)
        return Objective.of("bce")(trace, target)

    data = Images(8)
    with pytest.raises(KeyboardInterrupt):
        fit(SpikingModule(network()), data, data, interrupted, None, tmp_path)
    assert signal.getsignal(signal.SIGINT) == handler


def test_a_batch_that_processes_cannot_share(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(OptionError, match="a batch of 8 for 3 processes"):
        train(tmp_path)


@pytest.mark.parametrize("name", [LAST, BEST])
def test_a_damaged_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    train(tmp_path, epochs="1")
    (tmp_path / name).write_bytes(b"no checkpoint")
    with pytest.raises(FormatError, match="damaged checkpoint") as caught:
        train(tmp_path, epochs="1")
    assert caught.value.file == str(tmp_path / name) and "remove this folder" in str(caught.value)


def test_something_must_learn(tmp_path: Path) -> None:
    data = Images(8)
    with pytest.raises(OptionError, match="no parameter of this network"):  # which has no leaks
        fit(SpikingModule(network()), data, data, Objective.of("bce"), None, tmp_path, Settings(rates={"leaks": 0.1}))


@pytest.mark.parametrize(
    "wrong",
    [
        {"schedule": "step"}, {"epochs": 0}, {"batch": 0}, {"seed": -1}, {"budget": float("nan")}, {"clip": -1.0},
        *({"rates": {"weights": rate}} for rate in (-1.0, 0.0, float("nan"), float("inf"))),
    ],
)  # fmt: skip
def test_wrong_settings(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Settings(**wrong)
