"""What memory has room for: series are taken in order, and what does not fit is refused with its reason."""

import pytest

from nbcad.dicom import FileRecord, Series, Slice, room
from nbcad.dicom.room import Room
from nbcad.dicom.rules import Decision
from nbcad.language.message import EMPTY, verbatim

TAKEN, REFUSED = Decision("x", EMPTY), Decision("x", verbatim("why"))
STACK = 10 * 100 * 100  # pixels


def _series(patient="P", study="1") -> Series:
    image = Slice(None, "1", 100, 100, None, (1.0, 1.0), FileRecord("IM"), stored=None)
    return Series(
        study_uid=study, series_uid="2", patient_id=patient, age=None, description="", weighting="T2", plane="axial",
        phantom=False, slices=[image] * 10,
    )  # fmt: skip


@pytest.fixture(params=["reading", "keeping"])
def for_two(monkeypatch, request):
    """Room for two series: for what is kept of one while another one is read, or for what is kept of both."""
    monkeypatch.setattr(room, "READING", (10.6 if request.param == "reading" else 100) * STACK)
    monkeypatch.setattr(room, "KEPT", (100 if request.param == "reading" else 3.1) * STACK)


def _taken(decide: Room, *series: Series) -> list[bool]:
    return [not decide(one).reason for one in series]


def test_series_beyond_the_room_of_a_patient_are_refused_with_the_reason(for_two):
    decide = Room(lambda _: TAKEN)
    assert _taken(decide, _series(), _series(), _series()) == [True, True, False]
    said = str(decide(_series()).reason)
    assert "0.1 million pixels" in said and "1 GiB" in said and "--series" in said
    assert _taken(decide, _series("Q")) == [True]


def test_studies_without_patient_id_have_room_of_their_own_and_refused_series_take_none(for_two):
    decide = Room(lambda _: TAKEN)
    assert _taken(decide, *(_series("", study) for study in "1122")) == [True] * 4
    decisions = iter([REFUSED, REFUSED, TAKEN, TAKEN])
    decide = Room(lambda _: next(decisions))
    assert [decide(_series()) for _ in range(4)] == [REFUSED, REFUSED, TAKEN, TAKEN]
