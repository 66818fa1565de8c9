"""Batches of many requests: whole, bounded, never waited for alone, and each image with its own fate."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from thorax.serving.batcher import Batcher


class Model:
    """Answers with an image's grey value; fails on 13; waits at the gate; remembers the sizes of its batches."""

    def __init__(self) -> None:
        self.gate, self.sizes = threading.Event(), []
        self.gate.set()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.sizes.append(len(images))
        self.gate.wait(20)
        if (images == 13).any():
            raise ValueError("unlucky")
        return images[:, 0, :1].astype(np.float32)


def image(value: int) -> np.ndarray:
    return np.full((2, 2), value, np.uint8)


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def batcher(model):
    made = Batcher(model, max_batch=4, max_wait=5.0, workers=1)
    yield made
    model.gate.set()
    made.close()


def ask(batcher, *values: int, client: str = ""):
    """Asks in a thread of its own: (thread, its results)."""
    results: list[object] = []

    def work() -> None:
        try:
            results.append(batcher.score([image(v) for v in values], 20, client).ravel().tolist())
        except Exception as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, results


def until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_images_of_many_requests_share_a_forward_pass(model, batcher):
    """The first goes alone, as no other request is known; those that come meanwhile go together, up to max_batch."""
    model.gate.clear()
    asked = [ask(batcher, 1)]
    until(lambda: model.sizes == [1])
    asked += [ask(batcher, v, v + 1) for v in (10, 20, 30)]
    until(lambda: len(batcher._images) == 6)
    model.gate.set()
    for thread, _ in asked:
        thread.join(20)
    assert [results for _, results in asked] == [[[1.0]], [[10.0, 11.0]], [[20.0, 21.0]], [[30.0, 31.0]]]
    assert model.sizes == [1, 4, 2]


def test_a_batch_waits_for_images_that_are_being_read(model, batcher):
    with batcher.expect() as ticket:
        thread, results = ask(batcher, 5)
        until(lambda: len(batcher._images) == 1)
        time.sleep(0.05)
        assert model.sizes == []
        other, _ = ask(batcher, 6)
        until(lambda: len(batcher._images) == 2)
        ticket.arrive()
        thread.join(20)
        other.join(20)
    assert (results, model.sizes) == ([[5.0]], [2])


def test_but_not_for_longer_than_max_wait(model):
    batcher = Batcher(model, max_batch=4, max_wait=0.02, workers=1)
    with batcher.expect():
        assert batcher.score([image(5)], 20).tolist() == [[5.0]]
    batcher.close()


def test_an_image_that_fails_does_not_fail_its_batch(model, batcher):
    model.gate.clear()
    first, _ = ask(batcher, 1)
    until(lambda: model.sizes == [1])
    asked = [ask(batcher, v) for v in (2, 13, 3)]
    until(lambda: len(batcher._images) == 3)
    model.gate.set()
    for thread, _ in [(first, None), *asked]:
        thread.join(20)
    assert [asked[0][1], asked[2][1]] == [[[2.0]], [[3.0]]]
    assert isinstance(asked[1][1][0], ValueError)
    assert model.sizes == [1, 3, 1, 1, 1]


def test_failures_are_counted_until_a_forward_pass_succeeds(batcher):
    for count in (1, 2):
        with pytest.raises(ValueError, match="unlucky"):
            batcher.score([image(13)], 20)
        assert batcher.failures == count
    batcher.score([image(1)], 20)
    assert batcher.failures == 0


def test_images_of_a_request_that_timed_out_are_not_scored(model, batcher):
    model.gate.clear()
    thread, _ = ask(batcher, 1)
    until(lambda: model.sizes == [1])
    with pytest.raises(TimeoutError):
        batcher.score([image(2), image(3)], 0.02)
    assert not batcher.stuck(20)
    assert batcher.stuck(0.01)
    model.gate.set()
    thread.join(20)
    assert batcher.score([image(4)], 20).tolist() == [[4.0]]
    assert model.sizes == [1, 1]


def test_what_waits_is_answered_before_the_end(model):
    batcher = Batcher(model, max_batch=1, max_wait=0, workers=2)
    model.gate.clear()
    asked = [ask(batcher, v) for v in range(5)]
    until(lambda: len(model.sizes) == 2 and len(batcher._images) == 3)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    model.gate.set()
    closing.join(20)
    for thread, _ in asked:
        thread.join(20)
    assert [results for _, results in asked] == [[[float(v)]] for v in range(5)]
    with pytest.raises(RuntimeError, match="the server is stopping"):
        batcher.score([image(1)])


def test_many_callers_each_get_their_own(model):
    batcher = Batcher(model, max_batch=4, max_wait=0.001, workers=3)
    wrong: list[int] = []

    def work(k: int) -> None:
        for i in range(30):
            with batcher.expect() as ticket:
                value = 14 + (k * 31 + i * 7) % 200
                ticket.arrive()
                if batcher.score([image(value), image(value + 1)], 20).ravel().tolist() != [value, value + 1]:
                    wrong.append(value)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert wrong == []
    assert batcher._coming == 0
    assert max(model.sizes) <= 4 and sum(model.sizes) == 480


def test_a_client_with_many_images_does_not_hold_up_who_has_one(model, batcher):
    """The batches are small then, and the other's image is in one of the first."""
    order = []
    batcher._score = lambda images: order.extend(images[:, 0, 0].tolist()) or model(images)
    model.gate.clear()
    first, _ = ask(batcher, 1)
    until(lambda: model.sizes == [1])
    many, answers = ask(batcher, *range(20, 32), client="1.1.1.1")
    until(lambda: len(batcher._images) == 12)
    few, answer = ask(batcher, 50, client="1.1.1.2")
    until(lambda: len(batcher._images) == 13)
    model.gate.set()
    for thread in (first, many, few):
        thread.join(20)
    assert answer == [[50.0]] and answers == [[float(value) for value in range(20, 32)]]
    assert order.index(50) <= 2 and model.sizes[1] == 1


def test_the_server_itself_comes_first(model, batcher):
    """Its question whether the model predicts does not wait for the images of others."""
    order = []
    batcher._score = lambda images: order.extend(images[:, 0, 0].tolist()) or model(images)
    model.gate.clear()
    first, _ = ask(batcher, 1)
    until(lambda: model.sizes == [1])
    many, _ = ask(batcher, *range(20, 28), client="1.1.1.1")
    until(lambda: len(batcher._images) == 8)
    own = threading.Thread(target=batcher.score, args=([image(7)], 20, None))
    own.start()
    until(lambda: len(batcher._images) == 9)
    model.gate.set()
    for thread in (first, many, own):
        thread.join(20)
    assert order[1] == 7
