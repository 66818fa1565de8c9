"""What the clients of the five original projects do with an endpoint, written anew, line by line as they do it.

Each takes an Endpoint and images, asks as its original asks (the same content type, the same way of reading the answer)
and returns what that prints, counts or sends on.
"""

from __future__ import annotations

import base64
import email
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

#: The 14 findings in the order of the first project's list.
CHESTXRAY14 = (
    *("Atelectasis", "Consolidation", "Infiltration", "Pneumothorax", "Edema", "Emphysema", "Fibrosis", "Effusion"),
    *("Pneumonia", "Pleural_Thickening", "Cardiomegaly", "Nodule", "Mass", "Hernia"),
)
COCO = ("Person", "Bicycle", "Car", "Motorcycle", "Airplane")


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that boto3 asks.

    Attributes:
        name: of it.
        runtime: boto3's client.
        transform: (images by name, Accept or None) -> the output of a batch transform by file name, each image a
            request of its own with the content type application/x-image.
    """

    name: str
    runtime: Any
    transform: Callable[[Mapping[str, bytes], str | None], dict[str, str]]


class Predictor:
    """As the SageMaker SDK's: a serializer with its content type, and what is made of the answer."""

    def __init__(self, endpoint: Endpoint, content_type: str, accept: str | None, read: Callable[[bytes], Any]) -> None:
        self.endpoint, self.content_type, self.accept, self.read = endpoint, content_type, accept, read

    def predict(self, body: Any) -> Any:
        if isinstance(body, np.ndarray):
            out = io.BytesIO()
            np.save(out, body)
            body = out.getvalue()
        accept = {"Accept": self.accept} if self.accept else {}
        answer = self.endpoint.runtime.invoke_endpoint(
            EndpointName=self.endpoint.name, ContentType=self.content_type, Body=bytes(body), **accept
        )
        return self.read(answer["Body"].read())


def numpy_predictor(endpoint: Endpoint) -> Predictor:
    """The PyTorch predictor of the SDK: arrays in and out."""
    npy = "application/x-npy"
    return Predictor(endpoint, npy, npy, lambda body: np.load(io.BytesIO(body)))


def array(image: bytes) -> np.ndarray:
    """An image as the projects' own code makes a tensor of it: (1, H, W) float32 in 0..1."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(image)).convert("L"), np.float32)[None] / 255


# -- 1: ChestX-ray14 in the built-in algorithm


def top_result(endpoint: Endpoint, image: bytes) -> list[Any]:
    """invoke_endpoint(ContentType="application/x-image"); result = json.loads(...); index = np.argmax(result)."""
    payload = bytearray(image)
    response = endpoint.runtime.invoke_endpoint(
        EndpointName=endpoint.name, ContentType="application/x-image", Body=payload
    )
    result = json.loads(response["Body"].read())
    index = np.argmax(result)
    return [CHESTXRAY14[index], result[index], {CHESTXRAY14[k]: value for k, value in enumerate(result)}]


# -- 2: the built-in algorithm, a batch transform, a Lambda and a page


def diagnosis(result: list[float]) -> str:
    """The first is the probability of a normal X-ray, the second that of pneumonia."""
    if result[1] > result[0] and result[1] > 0.5:
        return "Pneumonia"
    return "Normal" if result[0] > result[1] and result[0] > 0.5 else "Failed to Predict"


def predicted_by_the_sdk(endpoint: Endpoint, image: bytes) -> str:
    """classifier.content_type = "application/x-image"; json.loads(classifier.predict(payload))."""
    classifier = Predictor(endpoint, "application/x-image", None, lambda body: body)
    return diagnosis(json.loads(classifier.predict(bytearray(image))))


def scores_of_out_files(folder: Path) -> dict[str, float]:
    """json.load(file)["prediction"] of every FILE.out below normal/ and pneumonia/; counts, precision and recall."""
    actual, predicted = [], []
    for label, name in enumerate(("normal", "pneumonia")):
        for file in sorted((folder / name).iterdir()):
            with file.open(encoding="utf-8") as opened:
                data = json.load(opened)
            predicted.append({"Normal": 0, "Pneumonia": 1}.get(diagnosis(data["prediction"]), -1))
            actual.append(label)
    truth, found = np.array(actual), np.array(predicted)
    tp, fp = np.logical_and(truth, found).sum(), np.logical_and(1 - truth, found).sum()
    tn, fn = np.logical_and(1 - truth, 1 - found).sum(), np.logical_and(truth, 1 - found).sum()
    return {"TP": int(tp), "FP": int(fp), "TN": int(tn), "FN": int(fn), "accuracy": float((tp + tn) / len(truth))}


def lambda_of_a_form(endpoint: Endpoint, event: Mapping[str, Any]) -> dict[str, Any]:
    """A form's part "file" goes to the endpoint as application/x-image; the body of the answer is the diagnosis."""
    head = f"Content-Type: {event['headers']['Content-Type']}\r\n\r\n".encode()
    parts = email.message_from_bytes(head + base64.b64decode(event["body"])).get_payload()
    image = next(part for part in parts if part.get_param("name", header="content-disposition") == "file")
    payload = bytearray(image.get_payload(decode=True))
    response = endpoint.runtime.invoke_endpoint(
        EndpointName=endpoint.name, ContentType="application/x-image", Body=payload
    )
    result = json.loads(response["Body"].read().decode("utf-8"))
    headers = {"Content-Type": "*", "Access-Control-Allow-Origin": "*"}
    return {"statusCode": 200, "headers": headers, "body": diagnosis(result)}


# -- 3: a network of its own, asked with tensors, and a Lambda


def sums_over_folders(endpoint: Endpoint, normal: list[bytes], pneumonia: list[bytes]) -> tuple[int, int]:
    """normal_sum += np.argmax(predictor.predict(tensor)), and the same for pneumonia."""
    predictor = numpy_predictor(endpoint)
    normal_sum = sum(int(np.argmax(predictor.predict(array(image)))) for image in normal)
    return normal_sum, sum(int(np.argmax(predictor.predict(array(image)))) for image in pneumonia)


def lambda_of_a_body(endpoint: Endpoint, event: Mapping[str, Any]) -> dict[str, Any]:
    """The category with the highest number, as JSON. The image is in the event: addresses are not fetched."""
    categories = ["normal", "pneumonia"]
    image = base64.b64decode(event["body"])
    response = endpoint.runtime.invoke_endpoint(
        EndpointName=endpoint.name, ContentType="application/x-image", Body=bytearray(image)
    )
    result = json.loads(response["Body"].read())
    return {"statusCode": 200, "body": json.dumps(categories[int(np.argmax(result))])}


# -- 4: script mode with the default functions, with its own, and a batch transform


def rows_of_default_functions(endpoint: Endpoint, images: list[bytes]) -> list[int]:
    """predictor.predict(batch).argmax(axis=1), arrays in and out."""
    batch = np.concatenate([array(image) for image in images])
    found: list[int] = numpy_predictor(endpoint).predict(batch).argmax(axis=1).tolist()
    return found


def image_predictor(endpoint: Endpoint, image: bytes) -> int:
    """IdentitySerializer("image/jpeg") in, NumpyDeserializer() out."""
    npy = "application/x-npy"
    predictor = Predictor(endpoint, "image/jpeg", npy, lambda body: np.load(io.BytesIO(body), allow_pickle=True))
    return int(np.argmax(predictor.predict(image)))


def confusion_of_a_transform(endpoint: Endpoint, normal: list[bytes], pneumonia: list[bytes]) -> list[list[int]]:
    """Rows are the truth, columns np.argmax(json.loads(output)), of a transform whose output is JSON."""
    named = {f"{label}/{k}": body for label, found in enumerate((normal, pneumonia)) for k, body in enumerate(found)}
    matrix = np.zeros((2, 2), int)
    for name, text in endpoint.transform(named, "application/json").items():
        matrix[int(name[0]), int(np.argmax(json.loads(text)))] += 1
    return [[int(n) for n in row] for row in matrix]


# -- 5: MS-COCO in the built-in algorithm, several labels an image


def printed_probabilities(endpoint: Endpoint, image: bytes) -> str:
    """for idx, val in enumerate(classes): print("%s:%f " % (classes[idx], prob[idx]), end="")."""
    classifier = Predictor(endpoint, "application/x-image", None, lambda body: body)
    prob = json.loads(classifier.predict(bytearray(image)))
    return "".join(f"{COCO[idx]}:{prob[idx]:f} " for idx, _ in enumerate(COCO))
