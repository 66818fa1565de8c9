"""Patients read from file names and DICOM headers."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicoms
import images as xrays
from thorax.data import recordio
from thorax.data.formats import read_channel
from thorax.data.patients import patient_column, patient_of


@pytest.mark.parametrize(
    ("image", "patient"),
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
        # CheXpert, MIMIC-CXR, BIDS (BIMCV): the innermost folder of a patient, or the name
        ("CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", "patient00001"),
        ("files/p10/p10000032/s50414267/02aa804e-bde0afdd.jpg", "p10000032"),
        ("sub-S03044/ses-E06234/mod-rx/sub-S03044_ses-E06234_run-1_bp-chest_vp-ap_cr.png", "sub-S03044"),
        ("NORMAL/Patient 7/a.png", "Patient 7"),
        ("subject_12/a.png", "subject_12"),
        ("patient00001_study1_view1.jpg", "patient00001"),
        ("p10000032_s50414267.jpg", "p10000032"),
        ("patient1/person12_virus_3.jpeg", "patient1"),
        # nothing known: the image is its own patient
        ("p10/s50414267/a.jpg", "p10/s50414267/a.jpg"),
        ("patients_2020/a.png", "patients_2020/a.png"),
        ("subset/a.png", "subset/a.png"),
        ("submarine-1/a.png", "submarine-1/a.png"),
        ("patient/a.png", "patient/a.png"),
        ("NORMAL/image.png", "NORMAL/image.png"),
        ("person_1.png", "person_1.png"),
        ("xperson1_virus_6.jpeg", "xperson1_virus_6.jpeg"),
        ("0000001_000.png", "0000001_000.png"),
        ("00000001_000_copy.png", "00000001_000_copy.png"),
        ("IM-x.jpeg", "IM-x.jpeg"),
    ],
)
def test_patient_of(image, patient):
    assert patient_of(image) == patient


def test_the_two_counts_of_normal_images_are_different_people():
    assert patient_of("IM-0115-0001.jpeg") != patient_of("NORMAL2-IM-0115-0001.jpeg")


@given(
    who=st.integers(1, 9999),
    first=st.integers(0, 9999),
    second=st.integers(0, 9999),
    kind=st.sampled_from(["virus", "bacteria"]),
)
def test_images_of_a_person_are_one_patient(who, first, second, kind):
    assert (
        patient_of(f"person{who}_{kind}_{first}.jpeg")
        == patient_of(f"x/person{who}_virus_{second}.png")
        == f"person{who}"
    )


@given(text=st.text(min_size=1, max_size=30))
def test_any_name_has_a_patient(text):
    assert patient_of(text)


IMAGE = np.arange(6400, dtype=np.uint16).reshape(80, 80)
#: Name -> PatientID; None: the element is not there.
NUMBERS = {
    "a.dcm": "7",
    "b.dcm": " 7 ",
    "c": "8",
    "d.dcm": "",
    "e.dcm": None,
    "f.dicom": "8",
    "person3_virus_1.dcm": "7",
}
#: The images of one patient, as they must be found.
OF_ONE = [["a.dcm", "b.dcm"], ["c", "f.dicom"], ["d.dcm"], ["e.dcm"], ["person3_virus_1.dcm"], ["plain.png"]]


def write(folder, numbers):
    folder.mkdir(parents=True, exist_ok=True)
    for name, number in numbers.items():
        elements = {} if number is None else {"PatientID": number}
        (folder / name).write_bytes(dicoms.dicom(IMAGE, PatientName="Doe^Jane", **elements))
    (folder / "plain.png").write_bytes(b"no image")


def as_folders(root):
    write(root / "A", NUMBERS)
    write(root / "B", {})


def as_table(root):
    write(root, NUMBERS)
    (root / "images.csv").write_text(
        "path,label,patient\n" + "".join(f"{name},{n % 2},\n" for n, name in enumerate([*NUMBERS, "plain.png"]))
    )


def as_list(root):
    write(root, NUMBERS)
    (root / "xrays.lst").write_text(
        "".join(f"{n}\t{n % 2}\t{name}\n" for n, name in enumerate([*NUMBERS, "plain.png"]))
    )


def as_manifest(root):
    write(root, NUMBERS)
    rows = [
        json.dumps({"source-ref": f"s3://b/{name}", "label": n % 2}) for n, name in enumerate([*NUMBERS, "plain.png"])
    ]
    (root / "o.manifest").write_text("\n".join(rows))


def as_coco(root):
    write(root, NUMBERS)
    images = [*NUMBERS, "plain.png"]
    (root / "boxes.json").write_text(
        json.dumps(
            {
                "categories": [{"id": 1, "name": "Mass"}, {"id": 2, "name": "Nodule"}],
                "images": [{"id": n, "file_name": name} for n, name in enumerate(images)],
                "annotations": [{"image_id": n, "category_id": 1 + n % 2} for n in range(len(images))],
            }
        )
    )


def as_records(root):
    write(root.parent / "loose", NUMBERS)
    with recordio.Writer(root / "xrays.rec") as writer:
        for n, name in enumerate([*NUMBERS, "plain.png"]):
            writer.write(recordio.pack((root.parent / "loose" / name).read_bytes(), n % 2, n), n)
    (root / "xrays.lst").write_text(
        "".join(f"{n}\t{n % 2}\t{name}\n" for n, name in enumerate([*NUMBERS, "plain.png"]))
    )


def as_shards(root):
    write(root.parent / "loose", NUMBERS)
    with tarfile.open(root / "xrays.tar", "w") as tar:
        for n, name in enumerate([*NUMBERS, "plain.png"]):
            about = root.parent / "loose" / f"{n}.json"
            about.write_text(json.dumps({"id": name, "label": "AB"[n % 2]}))
            tar.add(about, f"{n}.json")
            tar.add(root.parent / "loose" / name, f"{n}.dcm")


@pytest.mark.parametrize("lay_out", [as_folders, as_table, as_list, as_manifest, as_coco, as_records, as_shards])
def test_the_header_of_a_dicom_image_tells_its_patient_where_nothing_else_does(tmp_path, lay_out):
    (tmp_path / "images").mkdir()
    lay_out(tmp_path / "images")
    listing = read_channel("train", tmp_path / "images")
    of: dict[str, list[str]] = {}
    for image, patient in zip(listing.ids, listing.patients, strict=True):
        if not image.startswith("B/"):
            of.setdefault(patient, []).append(image.removeprefix("A/"))
    assert sorted(sorted(images) for images in of.values()) == OF_ONE
    assert not {"7", "8"} & set(of)  # bundles travel, numbers of patients do not


def test_records_without_a_list_tell_patients_by_their_headers(tmp_path):
    with recordio.Writer(tmp_path / "xrays.rec") as writer:
        for n, number in enumerate(["7", "8", "7", None]):
            image = dicoms.dicom(IMAGE, PatientID=number) if number else b"no image"
            image += bytes(-len(image) % 4) + recordio.MAGIC * (n == 2)  # so this one is stored in parts
            writer.write(recordio.pack(image, n % 2, n), n)
    first, second, again, other = read_channel("train", tmp_path).patients
    assert first == again != second
    assert other == "xrays/3"


def test_images_of_another_kind_do_not_hide_that_one_number_is_on_all_images(tmp_path):
    with recordio.Writer(tmp_path / "xrays.rec") as writer:
        for n in range(4):
            writer.write(
                recordio.pack(dicoms.dicom(IMAGE, PatientID="ANONYMOUS") if n % 2 else b"no image", n // 2, n), n
            )
    assert len(set(read_channel("train", tmp_path).patients)) == 4


@pytest.mark.parametrize("torn", [False, True])
def test_one_number_for_all_images_but_one_without_is_no_patient(tmp_path, torn):
    for name in "AB":
        write(tmp_path / name, {f"{k}.dcm": "ANONYMOUS" for k in range(3)} | {"blank.dcm": ""})
        if torn:
            (tmp_path / name / "blank.dcm").write_bytes((tmp_path / name / "blank.dcm").read_bytes()[:200])
    assert len(set(read_channel("train", tmp_path).patients)) == 10


def test_patients_of_all_parts_of_a_channel_are_found_together(tmp_path):
    """COCO's annotations of train and of validation: number 7 is on images of both, and alone in validation."""
    write(tmp_path, {"a.dcm": "7", "b.dcm": "8", "c.dcm": "7", "d.dcm": "7"})
    for part, images in (("train", ["a.dcm", "b.dcm"]), ("val", ["c.dcm", "d.dcm"])):
        (tmp_path / f"instances_{part}.json").write_text(
            json.dumps(
                {
                    "categories": [{"id": 1, "name": "Mass"}],
                    "images": [{"id": n, "file_name": name} for n, name in enumerate(images)],
                    "annotations": [{"image_id": 0, "category_id": 1}],
                }
            )
        )
    a, b, c, d = read_channel("train", tmp_path).patients
    assert a == c == d != b


def test_a_header_longer_than_the_first_look_tells_its_patient_all_the_same(tmp_path):
    with recordio.Writer(tmp_path / "xrays.rec") as writer:
        for n, number in enumerate(["7", "7", "8"]):
            data_set = dicoms.data_set(IMAGE, PatientID=number)
            data_set.add_new((0x0009, 0x0010), "LO", "OURS")
            data_set.add_new((0x0009, 0x1001), "OB", bytes(70_000))
            file = io.BytesIO()
            data_set.save_as(file, enforce_file_format=True)
            writer.write(recordio.pack(file.getvalue(), n % 2, n), n)
    first, again, other = read_channel("train", tmp_path).patients
    assert first == again != other


def test_a_table_goes_before_the_header(tmp_path):
    write(tmp_path / "images", {"a.dcm": "7", "b.dcm": "7", "c.dcm": "8"})
    (tmp_path / "images" / "images.csv").write_text("path,label,patient\na.dcm,0,x\nb.dcm,1,y\nc.dcm,1,x\n")
    assert list(read_channel("train", tmp_path / "images").patients) == ["x", "y", "x"]


def test_one_number_for_all_images_is_no_patient(tmp_path):
    for name in "AB":
        write(tmp_path / name, {f"{k}.dcm": "ANONYMOUS" for k in range(3)})
    assert Counter(read_channel("train", tmp_path).patients).most_common(1)[0][1] == 1


def test_a_damaged_header_tells_no_patient(tmp_path):
    write(tmp_path / "A", {"a.dcm": "7", "b.dcm": "8", "c.dcm": "7"})
    write(tmp_path / "B", {})
    whole = (tmp_path / "A" / "a.dcm").read_bytes()
    (tmp_path / "A" / "a.dcm").write_bytes(whole[:200])
    (tmp_path / "A" / "b.dcm").write_bytes(b"")
    assert len(set(read_channel("train", tmp_path).patients)) == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Image Index", "Patient ID", "Patient Age"], "Patient ID"),
        (["patientId", "Target"], "patientId"),
        (["dicom_id", "subject_id", "study_id"], "subject_id"),
        (["ImageID", "PatientID"], "PatientID"),
        (["subject", "PATIENT"], "PATIENT"),
        (["Patient Age", "PatientSex_DICOM", "patients"], ""),
        ([], ""),
    ],
)
def test_the_column_of_the_patient(names, expected):
    assert patient_column(names) == expected


@pytest.mark.parametrize("lay_out", [as_folders, as_table, as_list, as_manifest, as_coco, as_records, as_shards])
def test_every_format_says_of_how_many_images_nobody_knows_the_patient(tmp_path, lay_out):
    """Of NUMBERS two images have no PatientID, and plain.png is none of DICOM; as_folders has a second plain.png."""
    (tmp_path / "images").mkdir()
    lay_out(tmp_path / "images")
    listing = read_channel("train", tmp_path / "images")
    (note,) = [note for note in listing.notes if "the patient is not known" in note]
    unknown, count = (4, 9) if lay_out is as_folders else (3, 8)
    assert note.startswith(f"the patient is not known of {unknown} of the {count} images (no column, folder, file name")


def test_where_every_patient_is_known_nothing_is_said(tmp_path):
    for name, image in (("A", "person1_virus_1.jpeg"), ("B", "IM-0001-0001.jpeg")):
        xrays.put(tmp_path / name / image)
    assert read_channel("train", tmp_path).notes == ()
