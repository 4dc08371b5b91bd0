"""One engine in a process: for one map at a time, in the order of asking, and only once there is something for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from samu_batch.model import identity_spec
from samu_batch.process_engine import _OneAtATime

SPEC = identity_spec()


def test_an_engine_serves_one_map_at_a_time():
    inside, most = 0, 0

    class Engine:
        spec, batch = SPEC, 1

        def stream(self, batches):
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            for each in batches:
                time.sleep(0.005)
                yield each
            inside -= 1

    engine = _OneAtATime(Engine())
    with ThreadPoolExecutor(4) as pool:
        streams = [pool.submit(lambda: list(engine.stream(iter(range(5))))) for _ in range(4)]
    assert [stream.result() for stream in streams] == [[0, 1, 2, 3, 4]] * 4
    assert most == 1


def test_an_engine_is_taken_only_once_a_batch_is_read_and_in_the_order_of_asking():
    class Engine:
        spec, batch = SPEC, 1

        def stream(self, batches):
            yield from batches

    engine = _OneAtATime(Engine())
    reading, read = threading.Event(), threading.Event()

    def slowly_read():
        reading.set()
        assert read.wait(10)
        yield "slow"

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(lambda: list(engine.stream(slowly_read())))
        assert reading.wait(10)
        assert list(engine.stream(iter(["quick"]))) == ["quick"]
        read.set()
        assert slow.result() == ["slow"]
    served = []

    def named(name):
        for each in engine.stream(iter([name])):
            served.append(each)

    first = engine.stream(iter([0]))
    next(first)
    with ThreadPoolExecutor(6) as pool:
        for name in range(1, 7):
            pool.submit(named, name)
            time.sleep(0.02)
        assert list(first) == []
    assert served == [1, 2, 3, 4, 5, 6]
