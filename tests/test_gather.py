"""The tables of the gather kernel, one property each, and what comes of them: currents by the textbook's definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from snncc.graph import Array
from snncc.runtime import buffers, fast
from snncc.runtime.census import Census
from snncc.runtime.gather import Form, gathers
from snncc.runtime.layout import padded, spatial
from snncc.runtime.plan import Link, make_plan
from snncc.runtime.projections import project, prove
from snncc.synapses import Conv, ConvTranspose, Dense
from snncc.synapses.routing import Upsample, apply_all
from snncc.synapses.taps import taps
from tests.test_fast_engine import CASES, Step, T, integers, same, through, weighted

R = np.random.default_rng(11)
SHAPE = (5, 6, 4)


def link_of(shape: tuple[int, ...], step: Step, signed: str = "") -> Link:
    link = make_plan(through(shape, step, pre_signed=signed))[2].links[0]
    prove(link)
    return link


def formed(link: Link, form: Form) -> Link:
    """The same projection in another form."""
    table = taps(link.projection.synapse, link.projection.routing, link.inner)
    missing = (1,) * (3 - len(table.axes))
    weight = table.weight.reshape(*missing, *table.weight.shape)
    size, ways = spatial(link.inner), table.multiplicity.reshape(*missing, *table.multiplicity.shape)
    found = gathers(link.axes, weight.astype(np.int16), size, link.signs, link.scale, form)
    link = replace(link, gathers=found, census=Census.of(link.axes, weight, ways, size, {0: found[0].rows}))
    prove(link)
    return link


def check(link: Link, share: float = 0.4) -> None:
    """Currents, and as many rows of weights as the census expects. share: of neurons that fire, either sign."""
    rng, synapse, shape = np.random.default_rng(3), link.projection.synapse, link.pre_shape
    fired = rng.random((T, link.signs, *shape)) < share
    if link.signs == 2:
        fired[:, 1] &= ~fired[:, 0]
    train: Array = np.zeros((1, T, link.signs, int(np.prod(shape[1:])), padded(shape[0]) // 8), np.uint8)
    buffers.pack(fired[None], train)
    (planes,) = buffers.relayout(train, link.relayout, shape)
    assert link.census is not None
    expected = int(link.census.count(planes)[3].sum())
    depth, height, width = link.out
    currents, rows = [], 0
    for z in range(depth):
        flat = np.full(T * height * width * padded(link.channels), 3, link.scale.dtype)
        where = (planes, 0, T, z * height, (z + 1) * height)
        rows += project(link, 0, *where, flat, True, buffers.Scratch(), None, np.zeros(T, np.uint64))
        currents.append(flat.reshape(T, 1, height, width, -1)[..., : link.channels])
    found = np.moveaxis(np.concatenate(currents, 1), -1, 1)  # [T, C, Z, Y, X]
    spikes = fired[:, 0].astype(np.float64) - (fired[:, 1] if link.signs == 2 else 0)
    post = (link.channels, *(n for n in link.out[3 - len(link.inner) + 1 :]))
    for t in range(T):
        want = weighted(synapse, apply_all(link.projection.routing, spikes[t], shape), post)
        np.testing.assert_array_equal(found[t].reshape(post), want)
    assert rows == expected > 0


FORMS: list[tuple[int, Form]] = [
    (16, Form((2, 2), 64, packed=True)),
    (16, Form((1, 2), 32)),
    (32, Form((2, 1), 64, packed=True)),
    (32, Form((1, 2), 64)),
    (64, Form((1, 1), 64, packed=True)),
    (48, Form((2, 1), 32, packed=True)),  # three chunks
    (80, Form((1, 1), 16)),
    (96, Form((1, 1), 32)),
    (128, Form((1, 1), 64)),
]


@pytest.mark.parametrize(("channels", "form"), FORMS, ids=str)
def test_forms(channels: int, form: Form) -> None:
    """Blocks, chunks and parts; spikes of both signs, which are slots of their own."""
    link = link_of(SHAPE, ((), same(integers(R, channels, 5, 3, 3))), "plain")
    lanes = form.lanes // (form.block[0] * form.block[1])
    for parts in (1, 4):
        other = formed(link, replace(form, parts=parts))
        assert len(other.gathers) == parts and other.gathers[0].chunks == channels // lanes
        assert [g.opens for g in other.gathers] == [True] + [False] * (parts - 1)
        assert [g.closes for g in other.gathers] == [False] * (parts - 1) + [True]
        check(other)
    assert sum(g.most_slots for g in other.gathers) == 2 * (form.block[0] + 2)  # signs, lines of a receptive field


@pytest.mark.parametrize("sign", [-127, 127, 0])
def test_bytes_at_their_border(sign: int) -> None:
    """All events there are of the largest weights: 258 * 127 is the last such sum that int16 holds."""
    weight = np.full((33, 258), sign, np.float32) if sign else R.choice([-127.0, 127.0], (33, 258)).astype(np.float32)
    link = link_of((258,), ((), Dense(weight)))
    (gather,) = link.gathers
    assert gather.form.packed and gather.weights.dtype == np.int16 and gather.largest <= 258 * 127 < 2**15
    check(link, 1.0)
    check(link)
    weight[0, 0] = 128
    (gather,) = link_of((258,), ((), Dense(weight))).gathers
    assert not gather.form.packed


def test_a_sum_too_large_for_int16_in_one() -> None:
    """Its parts fit; where no parts help, int32 does."""
    link = link_of((64, 4, 5), ((), same(np.full((16, 64, 3, 3), 127, np.float32))))
    assert len(link.gathers) > 1 and all(g.weights.dtype == np.int16 for g in link.gathers)
    assert max(g.largest for g in link.gathers) < 2**15 <= 64 * 9 * 127
    check(link, 1.0)
    (gather,) = link_of((259,), ((), Dense(np.full((16, 259), 127, np.float32)))).gathers
    assert gather.weights.dtype == np.int32


def stretches(link: Link, block: tuple[int, int] = (1, 1)) -> int:
    """The most that an output's receptive field is made of."""
    (gather,) = formed(link, Form(block, 16 * block[0] * block[1])).gathers
    return int(np.diff(gather.runs[0]).max())


@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_a_receptive_field_is_one_stretch(dilation: int) -> None:
    synapse = Conv(integers(R, 16, 5, 3, 3), (1, 1), (dilation, dilation), (dilation,) * 4)
    link = link_of((5, 6, 12), ((), synapse))
    assert stretches(link) == 1
    assert sorted(link.gathers[0].visit) == list(range(12))
    check(link)


def test_a_pooling_in_front_costs_no_classes() -> None:
    """A mean over 2 x 2 and a convolution of stride 1 on the means, as one convolution of stride 2."""
    weight = integers(R, 16, 5, 3, 3).repeat(2, 2).repeat(2, 3)
    link = link_of((5, 8, 12), ((), Conv(weight, (2, 2), (1, 1), (2, 2, 2, 2))))
    assert len(link.axes[2].classes) == 6
    (gather,) = formed(link, Form((1, 1), 16)).gathers
    assert gather.x_classes == 3 and stretches(link) == 1
    check(link)


@pytest.mark.parametrize(
    "step",
    [
        ((Upsample((2, 2)),), Conv(integers(R, 16, 5, 3, 3), (1, 1), (1, 1), (1,) * 4)),
        ((), ConvTranspose(integers(R, 5, 16, 4, 4), (2, 2), (1, 1), (1,) * 4, (0, 0))),
    ],
    ids=["upsampling", "transposed"],
)
def test_phases(step: Step) -> None:
    """Outputs between inputs meet two of them, in two ways that take turns."""
    link = link_of(SHAPE, step)
    (gather,) = formed(link, Form((1, 1), 16)).gathers
    assert gather.most_slots == 2 and gather.phase.tolist() in ([0, 1] * 6, [1, 0] * 6)
    assert gather.unit.tolist() == [2 * padded(5) * gather.row_bytes] * 2
    check(formed(link, gather.form))
    check(link)


def test_groups() -> None:
    """Five groups as a block of four and one of one, which begins at other bytes and channels."""
    link = link_of((80, 3, 4), ((), same(integers(R, 80, 16, 3, 3), 5)), "plain")
    assert {(g.first_byte, g.bytes, g.first_channel) for g in link.gathers} == {(0, 8, 0), (8, 2, 64)}
    assert all(g.opens and g.closes for g in link.gathers)
    check(link)


def test_rows_that_were_not_counted_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fast, "BREAK_EVEN", dict.fromkeys(fast.BREAK_EVEN, 2.0))  # all events are listed
    engine = fast.FastEngine(through(*CASES["conv2d"]))
    values = {"in": np.ones(CASES["conv2d"][0], np.float32)}
    assert sum(engine.run(values, T).counts.synops["a->b"]) > 0
    own = project

    def one_more(link: Link, *rest: Any) -> int:
        return own(link, *rest) + (link.kernel == "gather")

    monkeypatch.setattr(fast, "project", one_more)
    with pytest.raises(AssertionError, match="rows of weights were counted but not added"):
        engine.run(values, T)
