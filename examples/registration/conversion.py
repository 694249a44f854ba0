"""The spiking networks: which teacher, which neurons, and whether they are fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import snncc
from examples.kit.work import digest
from examples.registration.data import volumes
from examples.registration.settings import Settings
from examples.registration.teacher import Lesson, lessons, random_pairs
from snncc.network import Network

HERE = Path(__file__).parent
# SpikeReg's leaks by block: four of the encoder, the bottleneck, four of the decoder; its neurons reset to zero
TAUS = (0.9, 0.85, 0.8, 0.75, 0.7, 0.75, 0.8, 0.85, 0.9)
ENCODER = 4


def _blocks() -> list[list[str]]:
    """Populations of each block, by the names that the export gives its ReLUs: two a block, one in the bottleneck."""
    names = ["relu", *(f"relu_{k}" for k in range(1, 17))]
    sizes = [1 if k == ENCODER else 2 for k in range(len(TAUS))]
    return [[names.pop(0) for _ in range(size)] for size in sizes]


BLOCKS = _blocks()
LEAKY = ";".join(f"{name}:leaky:{tau}:zero" for tau, block in zip(TAUS, BLOCKS, strict=True) for name in block)
WINNERS = dict.fromkeys((name for block in BLOCKS[1 : ENCODER + 1] for name in block), 0.1)
BARRIERS = "rate-barriers{layers=" + ";".join(block[-1] for block in BLOCKS[: ENCODER + 1]) + "}"


@dataclass(frozen=True)
class Spiking:
    """One network: of which teacher, how it is compiled, and how it is fine-tuned.

    Args:
        lesson: its teacher. code: of the default form, or "". neuron: of a rate code, "leaky" for SpikeReg's. steps:
            time steps. percentile: of the values above zero, for its thresholds (0: least squares). barriers: do the
            encoder's blocks and the bottleneck hand on rates? tuned: is it fine-tuned? distill: weight of the distance
            from the teacher's displacement. winners: is it fine-tuned with SpikeReg's winners-take-all?
    """

    lesson: str
    code: str = ""
    neuron: str = "signed"
    steps: int = 4
    percentile: float = 0
    barriers: bool = False
    tuned: bool = False
    distill: float = 0.0
    winners: bool = False

    @property
    def form(self) -> str:
        """What it is, for people and file names."""
        if self.code:
            return self.code.replace(":", "-")
        parts = [self.neuron, f"T{self.steps}", *([f"p{self.percentile:g}"] if self.percentile else [])]
        return "-".join([*parts, *(["rates"] if self.barriers else [])])

    @property
    def name(self) -> str:
        """One for each network."""
        how = {"tuned": self.tuned, "kd": self.distill, "wta": self.winners}
        return "-".join([self.lesson, self.form, *(key for key, there in how.items() if there)])

    @property
    def start(self) -> Spiking:
        """What it is before fine-tuning."""
        return Spiking(self.lesson, self.code, self.neuron, self.steps, self.percentile, self.barriers)

    def options(self) -> dict[str, Any]:
        """Of `snncc.compile`."""
        if self.code:
            return {"code": self.code}
        found: dict[str, Any] = {"neuron": self.neuron, "timesteps": self.steps}
        if self.percentile:
            found |= {"calibration": f"percentile:{self.percentile:g}:positive", "per": "layer"}
        if self.neuron == "leaky":
            exceptions = "neurons{kind=leaky:0.9:zero,layers=" + LEAKY + "}"
            found |= {"neuron": "leaky:0.9:zero", "passes": (exceptions, *([BARRIERS] if self.barriers else []))}
        return found


def conversions(settings: Settings) -> list[Spiking]:
    """All networks that are compiled."""
    main, found = "hippocampus", []
    for lesson in (main, "brain"):
        found += [Spiking(lesson, code=code) for code in settings.codes]
        found += [Spiking(lesson, steps=steps) for steps in settings.steps]
    found += [paper(main, steps, settings.percentiles[0]) for steps in settings.steps]
    found += [paper(main, settings.paper_steps, percentile) for percentile in settings.percentiles[1:]]
    found += [paper(main, settings.paper_steps, p, barriers=True) for p in settings.percentiles]
    chosen = settings.tuned_percentile
    found += [paper("brain", settings.paper_steps, p) for p in dict.fromkeys((settings.percentiles[0], chosen))]
    found.append(paper("brain", settings.paper_steps, chosen, barriers=True))
    for lesson in ("average", "no-skips", "velocity", "label-dice"):
        found.append(Spiking(lesson, code=settings.codes[-1]))
    return found + [run.start for run in tunings(settings) if run.start not in found]


def paper(lesson: str, steps: int, percentile: float, **more: Any) -> Spiking:
    """SpikeReg's neurons: leaky, reset to zero, one threshold a layer, a percentile of what is above zero."""
    return Spiking(lesson, neuron="leaky", steps=steps, percentile=percentile, **more)


def tunings(settings: Settings) -> list[Spiking]:
    """All networks that are fine-tuned, in order of importance."""
    chosen, steps, main = settings.tuned_percentile, settings.paper_steps, ("hippocampus", "brain")
    return [
        *(Spiking(lesson, code=code, tuned=True) for code in settings.tuned_codes for lesson in main),
        paper("hippocampus", steps, chosen, tuned=True),
        paper("hippocampus", steps, chosen, tuned=True, distill=settings.distill),
        paper("label-dice", steps, chosen, tuned=True),
        paper("hippocampus", steps, chosen, tuned=True, winners=True),
        paper("brain", steps, chosen, tuned=True),
        Spiking("hippocampus", steps=settings.signed_steps, tuned=True),
    ]


def lesson_of(run: Spiking, settings: Settings) -> Lesson:
    """The teacher of a network."""
    (found,) = (lesson for lesson in lessons(settings) if lesson.name == run.lesson)
    return found


def teacher_file(name: str, settings: Settings, work: Path) -> Path:
    """The teacher that was trained in the folder `work`; where brains are at 2 mm, else the one that lies here."""
    trained = work / "teachers" / name / "teacher.onnx"
    return trained if trained.exists() or not settings.halved else HERE / f"{name}.onnx"


def mark(name: str, settings: Settings, work: Path) -> str:
    """Stands for a teacher in the names of all that was made from it."""
    return digest(teacher_file(name, settings, work))


def calibration(lesson: Lesson, settings: Settings, file: Path) -> Iterator[dict[str, Any]]:
    """Random training pairs, the same in every call."""
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        pairs = list(random_pairs(lesson.data, settings.calibration))
    known = volumes(file)
    for pair in pairs:
        images = (known[f"images/{name}"][None, None].astype("float32") / 255 for name in pair)
        yield dict(zip(("fixed", "moving"), images, strict=True))


def convert(run: Spiking, settings: Settings, teacher: Path, data: Path, file: Path) -> Network:
    """Compile a network into `file`."""
    lesson = lesson_of(run, settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    return snncc.compile(teacher, file, calibrate=lambda: calibration(lesson, settings, data), **run.options())
