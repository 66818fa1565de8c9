"""Turns between clients: next is who has used least."""

from __future__ import annotations

import threading
import time

import pytest

from thorax.serving.turns import FairQueue, Turns


def test_a_client_with_many_items_waits_for_one_with_few():
    queue: FairQueue[str] = FairQueue()
    for k in range(6):
        queue.push("many", f"many {k}")
    assert queue.pop() == "many 0"
    queue.push("few", "few 0")
    queue.push("few", "few 1")
    assert queue.first() == "few 0"
    assert [queue.pop() for _ in range(len(queue))] == [
        "few 0",
        "many 1",
        "few 1",
        "many 2",
        "many 3",
        "many 4",
        "many 5",
    ]


def test_items_of_the_server_itself_come_first():
    queue: FairQueue[int] = FairQueue()
    queue.push("a", 1)
    queue.push_first(2)
    assert (queue.first(), queue.pop(), queue.pop(), len(queue)) == (2, 2, 1, 0)


def test_who_used_much_long_ago_is_not_punished_for_ever():
    """While nobody else came it took nothing from anybody."""
    queue: FairQueue[str] = FairQueue()
    for _ in range(1000):
        queue.push("old", "old")
        queue.pop(5.0)
    queue.push("new", "new 0")
    queue.push("new", "new 1")
    queue.push("old", "old")
    assert [queue.pop(5.0) for _ in range(3)] == ["new 0", "new 1", "old"] or len(queue) == 0
    queue.push("old", "old")
    queue.push("new", "new 2")
    assert len({queue.pop(5.0), queue.pop(5.0)}) == 2


def test_clients_are_forgotten():
    queue: FairQueue[int] = FairQueue()
    for k in range(20_000):
        queue.push(f"client {k}", k)
        queue.pop()
    assert len(queue._used) <= 1001


def test_a_place_is_given_on_and_a_deadline_kept():
    turns, order = Turns(1), []

    def work(client: str) -> None:
        with turns.turn(client, time.monotonic() + 30, 1.0):
            order.append(client)

    with turns.turn("a", time.monotonic() + 30, 1.0):
        threads = []
        for client in ("a", "a", "a", "b"):
            threads.append(threading.Thread(target=work, args=(client,)))
            threads[-1].start()
            while len(turns._queue) < len(threads):
                time.sleep(0.002)
        with pytest.raises(TimeoutError), turns.turn("c", time.monotonic() + 0.05):
            raise AssertionError
    for thread in threads:
        thread.join(30)
    assert order[0] == "b" and order[1:] == ["a", "a", "a"]
    with turns.turn("c", time.monotonic()):
        pass


def test_many_threads_each_get_a_place():
    turns, at_once, most = Turns(3), [], []

    def work(k: int) -> None:
        for _ in range(50):
            with turns.turn(f"{k % 4}", time.monotonic() + 30):
                at_once.append(k)
                most.append(len(at_once))
                at_once.remove(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(most) == 600 and max(most) <= 3 and turns._free == 3
