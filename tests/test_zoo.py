"""The zoo: architectures of the field times exporters. Slow; docs/coverage.md shows what came of each entry."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from tests.zoo.coverage import FILE, expected, verdicts
from tests.zoo.entries import ENTRIES, LIMITS
from tests.zoo.harness import Entry, complaints, examine, limit


def test_every_entry_has_a_name_of_its_own() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)


def test_the_page_shows_every_entry_and_its_verdict() -> None:
    page = FILE.read_text(encoding="utf-8")
    assert verdicts(page) == expected(ENTRIES), "run python -m tests.zoo"


@pytest.mark.slow
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_it_compiles_as_stated_or_is_refused_with_a_reason(entry: Entry) -> None:
    assert not complaints(entry, examine(entry))


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_the_spiking_network_tends_to_the_teacher_where_nothing_is_rounded(name: str) -> None:
    assert limit(next(entry for entry in ENTRIES if entry.architecture == name)) < 0.02
