"""What the results page says in words."""

from __future__ import annotations

from collections.abc import Sequence

from examples.spiking_unet.results import ADD, LIKELY, MAC, NEAR
from examples.spiking_unet.settings import Settings


def intro(settings: Settings, size: str, missing: Sequence[str]) -> str:
    lines = [
        "# Spiking-UNet with multi-threshold neurons\n",
        f"Made by `make reproduce-spiking-unet`, or `python -m examples.spiking_unet reproduce --size {size}`"
        f" (seed {settings.seed}).",
        "After Li, Zhang, Xiong and Sun, \"Deep Multi-Threshold Spiking-UNet for Image Processing\", Neurocomputing 586"
        " (2024), 127653.",
        f"U-Nets with {settings.channels} channels on the first level (paper: 64), fast engine, the fixed test splits."
        " The paper's networks have float32 weights and thresholds; this project's (radix, and `per channel`) int8, and"
        " weights fitted to it on real spikes (`calibrate-weights`).",
        "",
        "The data are not the paper's throughout:",
        "- DRIVE: 16 of its 20 test images; 16 of its 20 training images train, 4 choose the epoch.",
        "- EM: the challenge's test labels are not public. Of the 25 labelled slices at hand 18 train, 2 choose the"
        " epoch, and 5 are the test. Class 1, which F1 and IoU are of, is the membrane.",
        "- CamSeq01: frames of 480x360 with the 11 classes of SegNet and void (paper: 960x720, 32 classes), shrunk here"
        f" by {settings.shrink}; void counts nowhere. The test frames come after the training frames in time.",
        f"- BSD68 and CBSD68: 58 of the 68 images, {settings.parts} of six 160x160 patches of each: numbers are not"
        " those of published averages.",
        "- There is no colour training set: the colour U-Nets are trained on CamSeq01's training frames, and tested on"
        " CBSD68.",
        "",
        "U-Nets for segmentation are trained with batch normalisation, which the compiler folds into the convolutions:"
        " what is converted is the paper's network. Those for denoising start as the identity, without any.",
        "Unlike in the paper membranes start at half a threshold.",
    ]
    if missing:
        lines += ["", f"Not measured yet: {', '.join(missing)}. The same command goes on with them."]
    return "\n".join(lines)


RULES = (
    "MT-N: multi-threshold neurons with N thresholds; `signed` ones can take spikes back. Connection-wise: one lambda"
    " for each population, so that each part of a concatenation has its own; layer-wise: one for all populations that"
    " are read together. 99.9 %: lambda is that percentile of the activations (the paper's rule); least squares: the"
    " one whose levels fit best (this project's). radix:K: binary digits, the compiler's default kind of code; T is the"
    " K digits, but neurons wait for each other: latency is what passes from the first input to the last output. Lost:"
    " paired by test picture, U-Net minus spiking, of the metric that is named; p: two-sided. \"worse\" where something"
    f" is lost and p (t) < {LIKELY:g}: with few pictures (EM: five) such a test shows large differences only. SynOps:"
    " exact, all spikes times the synapses they meet."
)
STEPS = (
    f"The first T from which on the mean is at most {NEAR['f1']:g} (F1, mIoU) or {NEAR['psnr']:g} dB below the U-Net's;"
    " prefixes of one run. The paper claims about 90 % fewer steps than without its neurons and fine-tuning."
)
STEPS_IF = "The same for the best mean that the converted IF network reaches at any of its steps."
NETWORKS = (
    "\"lambda x 3.75\" is the ladder of the public code, (2, 1, 1/2, 1/4) times lambda; elsewhere all thresholds"
    " together make one lambda, so that a step says at most lambda."
)
COLOUR = (
    "Colour U-Nets learned from street scenes of one camera. Beside them the grey U-Net of the same noise, which was"
    " trained on BSD, run on each channel by itself: it knows the pictures better and nothing of colours."
)
NORMALISATION = (
    "Correlation of what the spikes of a population say after 8 steps with the U-Net's activations, on 16 training"
    " patches. In the figure, of the first task, both are shares of the population's largest activation in the sample."
)
THEOREM = (
    "Theorem 3.1: of a membrane potential that is uniform on [0, 1], a cascade of N thresholds leaves least if V_i ="
    " 2^-i, namely 2^-(N + 1) on average. Tried: all sets of N multiples of 1/16. The engine's multi-threshold neuron"
    " has these thresholds, and at each of 4096 charges the spike of the cascade."
)
ENERGY = (
    f"The paper counts {ADD:g} pJ for each spike that a neuron *sends* and {MAC:g} pJ for each MAC (of the U-Net, and"
    " of the first convolution, which sees the image). That leaves out the fan-out: a spike is added at each of its"
    " synapses, tens to hundreds of times. `with SynOps` charges each of these additions. Spikes of pooled neurons are"
    " left out of the former, as in the public code, and counted in the latter."
)
PICTURES = "The first test picture of each task (of denoising, at sigma 25); no picture was chosen by its result."
def training(settings: Settings) -> str:
    """How networks were trained, and what was chosen with test tables in view."""
    return TRAINING + (
        " Settings were changed when test tables of DRIVE, BSD68 at sigma 25 and EM had been seen, by what validation"
        " patches showed: longer training, 7 digits for 6 in denoising, weights fitted to int8, float32 for the paper's"
        f" networks. IF and the signed networks are fine-tuned for {', '.join(settings.more_tuned)} alone."
    )


TRAINING = (
    "Fine-tuning changes weights and biases, by gradients of accumulated flow; cross-entropy or mean absolute error,"
    " of radix networks for denoising the mean squared error, which PSNR is made of. Radix networks for segmentation"
    " learn the U-Net's probabilities instead: with an earlier U-Net for DRIVE, one that learned from labels gained on"
    " validation patches and lost 0.01 on the test pictures. So DRIVE's test pictures took part in that choice, and in"
    " having radix networks here at all, which was decided after its first test table."
    " The best epoch on validation patches is written, and that may be none (0). For"
    " segmentation all but the paper's networks keep to a budget of SynOps. Minutes of one process, whatever else ran"
    " meanwhile."
)
