"""Events of maps: throttled, but what was told last is always heard."""

import threading
import time

from samu_batch.events import MapEvent, Throttled


def test_the_latest_of_each_map_goes_out_and_not_more_often_than_allowed():
    sent, seconds = [], 0.05
    begin = time.monotonic()
    tell = Throttled(sent.append, seconds=seconds)
    for done in range(200):
        tell(MapEvent("a", "enhance", done=done))
        tell(MapEvent("b", "enhance", done=done))
        time.sleep(0.001)
    while not sent or {event.done for event in sent[-1]} != {199}:
        assert time.monotonic() < begin + 20
        time.sleep(0.01)
    assert len(sent) <= (time.monotonic() - begin) / seconds + 1
    assert all(len({event.id for event in events}) == len(events) for events in sent)


def test_nothing_of_a_map_goes_out_once_it_is_forgotten():
    sent, out = [], threading.Event()

    def send(events):
        sent.extend(event.id for event in events)
        out.set()

    tell = Throttled(send, seconds=0.05)
    tell(MapEvent("first", "fetch"))
    out.wait(20)
    out.clear()
    tell(MapEvent("a", "fetch"))
    tell(MapEvent("b", "fetch"))
    tell.forget("a")
    assert out.wait(20)
    assert sent == ["first", "b"]
