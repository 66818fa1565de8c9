"""Patients read from file names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thorax.data.patients import patient_of


@pytest.mark.parametrize(
    ("film", "patient"),
    [
        # Kaggle, "Chest X-Ray Images (Pneumonia)"
        ("person12_bacteria_46.jpeg", "person12"),
        ("PNEUMONIA/person1946_bacteria_4875.jpeg", "person1946"),
        ("person1_virus_6.jpeg", "person1"),
        ("NORMAL/IM-0115-0001.jpeg", "IM-0115"),
        ("IM-0001-0001-0002.jpeg", "IM-0001"),
        ("NORMAL2-IM-1427-0001.jpeg", "NORMAL2-IM-1427"),
        ("NORMAL2-IM-0123.jpeg", "NORMAL2-IM-0123"),
        # NIH ChestX-ray14
        ("00000001_000.png", "00000001"),
        ("images_001/images/00030805_012.png", "00030805"),
        # nothing known: the film is its own patient
        ("NORMAL/film.png", "NORMAL/film.png"),
        ("person_1.png", "person_1.png"),
        ("xperson1_virus_6.jpeg", "xperson1_virus_6.jpeg"),
        ("0000001_000.png", "0000001_000.png"),
        ("00000001_000_copy.png", "00000001_000_copy.png"),
        ("IM-x.jpeg", "IM-x.jpeg"),
    ],
)
def test_patient_of(film, patient):
    assert patient_of(film) == patient


def test_the_two_counts_of_normal_films_are_different_people():
    assert patient_of("IM-0115-0001.jpeg") != patient_of("NORMAL2-IM-0115-0001.jpeg")


@given(who=st.integers(1, 9999), first=st.integers(0, 9999), second=st.integers(0, 9999), kind=st.sampled_from(["virus", "bacteria"]))
def test_films_of_a_person_are_one_patient(who, first, second, kind):
    assert patient_of(f"person{who}_{kind}_{first}.jpeg") == patient_of(f"x/person{who}_virus_{second}.png") == f"person{who}"


@given(text=st.text(min_size=1, max_size=30))
def test_any_name_has_a_patient(text):
    assert patient_of(text)
