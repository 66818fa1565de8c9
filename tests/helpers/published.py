"""Published sets as they lie on disk, imitated: their tables' layouts, and tiny images."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import dicoms
import images

FINDINGS = (
    "No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,"
    "Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def _finding(k: int) -> str:
    """The cells of image k: Edema is 1, 0 or, for each tenth, -1; the negative ones say No Finding."""
    edema = "-1.0" if k % 10 == 9 else "1.0" if k % 2 else ""
    return f"{'' if edema else '1.0'},,,,,{edema},,,,,,,,"


def table(file: Path, lines: Sequence[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line + "\n" for line in lines)
    file.write_bytes(gzip.compress(text.encode()) if file.suffix == ".gz" else text.encode())


def put(file: Path, k: int) -> None:
    """Image k of its formula."""
    images.put(file, seed=k)


def _put_dicom(file: Path, k: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(dicoms.dicom(images.grey(seed=k)))


def chexpert(root: Path, train: int = 24, valid: int = 8) -> dict[str, str]:
    """CheXpert-v1.0-small below `root`: two studies a patient, each with a frontal and a lateral view."""
    base, header = root / "CheXpert-v1.0-small", f"Path,Sex,Age,Frontal/Lateral,AP/PA,{FINDINGS}"
    first = 1
    for part, count in (("train", train), ("valid", valid)):
        lines = [header]
        for k in range(count):
            study, view = k // 2, ("view1_frontal", "view2_lateral")[k % 2]
            path = f"{part}/patient{first + study // 2:05d}/study{1 + study % 2}/{view}.jpg"
            put(base / path, k)
            sex = "Male" if study // 2 % 2 else "Female"
            about = f"{sex},{40 + study // 2},{'Lateral,' if k % 2 else 'Frontal,AP'}"
            lines.append(f"CheXpert-v1.0-small/{path},{about},{_finding(study)}")
        first += count
        table(base / f"{part}.csv", lines)
    return {"labels": "Edema"}


def mimic_cxr(root: Path) -> dict[str, str]:
    """Two images a study; the last study has no labels."""
    labels, metadata, split = (
        [f"subject_id,study_id,{FINDINGS}"],
        ["dicom_id,subject_id,study_id,ViewPosition,StudyDate"],
        [],
    )
    for k in range(32):
        subject, study, name = 10000032 + k // 2, 50414267 + k // 2, f"02aa804e-bde0afdd-{k:08d}"
        put(root / f"files/p10/p{subject}/s{study}/{name}.jpg", k // 2)
        metadata.append(f"{name},{subject},{study},{'LATERAL' if k % 2 else 'PA'},21800506")
        split.append(f"{name},{study},{subject},{'train' if k < 20 else 'validate' if k < 26 else 'test'}")
        if k % 2 == 0 and k < 30:
            devices = ("", "1.0", "-1.0", "0.0")[k // 2 % 4]
            labels.append(f"{subject},{study},{_finding(k // 2)}{devices}")
    for kind, lines in (
        ("chexpert", labels),
        ("negbio", labels),
        ("metadata", metadata),
        ("split", ["dicom_id,study_id,subject_id,split", *split]),
    ):
        table(root / f"mimic-cxr-2.0.0-{kind}.csv.gz", lines)
    return {"labels": "Edema"}


PADCHEST_HEADER = (
    ",ImageID,ImageDir,StudyDate_DICOM,StudyID,PatientID,PatientBirth,PatientSex_DICOM,ViewPosition_DICOM,Projection,"
    "Labels"
)


def padchest(root: Path) -> dict[str, str]:
    """24 images; one more whose list is blank, one that holds a remark only, one that is an empty file."""
    lines = [PADCHEST_HEADER]
    lists = ["\"['scoliosis', 'pleural effusion']\"" if k % 2 else "['normal']" for k in range(24)]
    for k, text in enumerate([*lists, "", "['unchanged']", "['normal']"]):
        name = f"2165{k:04d}_00-1.png"
        put(root / str(k % 2) / name, k)
        lines.append(f"{k},{name},{k % 2},20140915,{1000 + k},{8398 + k // 2},1930.0,F,POSTEROANTERIOR,PA,{text}")
    (root / "0" / name).write_bytes(b"")
    table(root / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", lines)
    return {"labels": "pleuraleffusion,scoliosis"}


def rsna(root: Path) -> dict[str, str]:
    """A row per box; every fourth image has two."""
    lines, classes = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for k in range(24):
        name = f"0004cfab-14fd-4e49-80ba-{k:012d}"
        _put_dicom(root / "stage_2_train_images" / f"{name}.dcm", k)
        boxes = [f"{name},264.0,152.0,213.0,379.0,1"] * (1 + (k % 4 == 1)) if k % 2 else [f"{name},,,,,0"]
        lines += boxes
        kind = "Lung Opacity" if k % 2 else "Normal" if k % 4 else "No Lung Opacity / Not Normal"
        classes += [f"{name},{kind}"] * len(boxes)
    table(root / "stage_2_train_labels.csv", lines)
    table(root / "stage_2_detailed_class_info.csv", classes)
    return {}


def vindr_kaggle(root: Path) -> dict[str, str]:
    """Three readers an image; of odd ones two see a nodule, of one in three one sees a fracture."""
    lines = ["image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"]
    for k in range(24):
        name = f"50a418190bc3fb1ef1633bf9{k:08d}"
        _put_dicom(root / "train" / f"{name}.dicom", k)
        for reader in range(3):
            found = ["Nodule/Mass"] * (2 if k % 2 and reader else 0) + ["ILD"] * (k % 3 == 0 and reader == 0)
            for finding in found or ["No finding"]:
                lines.append(f"{name},{finding},14,R{8 + reader},,,,")
    table(root / "train.csv", lines)
    return {"labels": "Nodule/Mass"}


def vindr_physionet(root: Path) -> dict[str, str]:
    found = "Nodule/Mass,ILD,Other disease"
    train, test = [f"image_id,rad_id,{found}s,No finding"], [f"image_id,{found},No finding"]
    for k in range(24):
        name, part = f"50a418190bc3fb1ef1633bf9{k:08d}", "train" if k < 16 else "test"
        _put_dicom(root / part / f"{name}.dicom", k)
        if part == "test":
            test.append(f"{name},{k % 2},0,1,{1 - k % 2}")
        for reader in range(3 * (part == "train")):
            nodule, ild = int(k % 2 and reader > 0), int(k % 3 == 0 and reader == 0)
            train.append(f"{name},R{8 + reader},{nodule}.0,{ild}.0,0.0,{int(not (nodule or ild))}.0")
    table(root / "annotations/image_labels_train.csv", train)
    table(root / "annotations/image_labels_test.csv", test)
    return {"labels": "Nodule/Mass"}


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
)


def nih_sample(root: Path) -> dict[str, str]:
    """Kaggle's sample: sample_labels.csv, the images below sample/images, and again in a copy of it."""
    lines = [NIH_HEADER]
    for k in range(24):
        name = f"{k // 2 + 13:08d}_{k % 2:03d}.png"
        for folder in ("sample/images", "sample/sample/images"):
            put(root / folder / name, k)
        lines.append(f"{name},{'Effusion|Mass' if k % 2 else 'No Finding'},0,{k // 2 + 13:08d},060Y,M,PA,1,1,1,1")
    table(root / "sample_labels.csv", lines)
    return {"labels": "Effusion"}


FOUR_HEADER = "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass"


def nih_four(root: Path) -> dict[str, str]:
    """The 4 findings of radiologists: YES and NO, in two tables of parts; beside them what single readers said."""
    names = [f"{k + 13:08d}_000.png" for k in range(24)]
    lines = [f"{name},NO,{'YES' if k % 2 else 'NO'},YES,NO" for k, name in enumerate(names)]
    for k, name in enumerate(names):
        put(root / "images" / name, k)
    folder = root / "four_findings_expert_labels"
    table(folder / "validation_labels.csv", [FOUR_HEADER, *lines[:16]])
    table(folder / "test_labels.csv", [FOUR_HEADER, *lines[16:]])
    table(folder / "individual_readers.csv", [f"Reader ID,{FOUR_HEADER}", *(f"1,{line}" for line in lines)])
    return {"labels": "Pneumothorax", "own_split": "false"}


#: Name -> (data_format, writer that returns the hyperparameters of a job).
SETS = {
    "chexpert": ("chexpert", chexpert),
    "mimic_cxr": ("mimic_cxr", mimic_cxr),
    "padchest": ("padchest", padchest),
    "rsna": ("rsna", rsna),
    "vindr-kaggle": ("vindr", vindr_kaggle),
    "vindr-physionet": ("vindr", vindr_physionet),
    "nih-sample": ("nih", nih_sample),
    "nih-four": ("nih", nih_four),
}
