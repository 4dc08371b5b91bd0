import threading
import time

import pytest

from samu_batch.ahead import ahead, each_ahead


def test_items_arrive_in_order():
    with ahead(range(100)) as items:
        assert list(items) == list(range(100))


def test_works_ahead_but_not_without_bound():
    made = []

    def source():
        for number in range(20):
            made.append(number)
            yield number

    with ahead(source(), depth=2) as items:
        assert next(items) == 0
        deadline = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        # One is consumed, two wait in the queue, and one is held by the thread.
        assert len(made) == 4


def test_a_failure_is_raised_where_the_consumer_asks():
    def source():
        yield 1
        raise ValueError("broken at the second item")

    with ahead(source()) as items:
        assert next(items) == 1
        with pytest.raises(ValueError, match="second item"):
            next(items)


def test_leaving_early_stops_the_thread():
    def endless():
        while True:
            yield 0

    with ahead(endless()) as items:
        next(items)
    assert not [thread for thread in threading.enumerate() if thread.name == "samu-ahead"]


def test_leaving_early_closes_what_the_source_holds():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(True)

    held = source()
    with ahead(held) as items:
        next(items)
    assert closed


def test_each_ahead_gives_all_results_and_takes_no_more_than_it_may():
    taken, room = [], [False]

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = each_ahead(items(), lambda number, stop: number * number, count=4, full=lambda: room[0])
    first = next(results)
    assert len(taken) == 4
    room[0] = True
    some = [next(results) for _ in range(3)]
    assert len(taken) == 4  # while it is full, what is begun is finished
    room[0] = False
    assert sorted([first, *some, *results]) == [number * number for number in range(20)]


def test_each_ahead_raises_what_work_raises_and_stops_the_others():
    stopped = []

    def work(number, stop):
        if number == 0:
            raise ValueError("bad")
        stopped.append(stop.wait(10))

    with pytest.raises(ValueError, match="bad"):
        list(each_ahead(range(3), work, count=3))
    assert stopped == [True, True]


def test_each_ahead_is_left_by_a_signal_that_comes_while_a_thread_starts(monkeypatch):
    class Signalled(BaseException):
        pass

    def interrupted(thread):
        raise Signalled

    def work(number, stop):
        stop.wait(5)
        return number

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(Signalled):
            next(each_ahead(range(3), work, count=2))
