"""What a machine gives: devices by name, shares of memory, the true peak of this process."""

import subprocess
import sys

import numpy as np
import pytest

from samu_batch.machine import GIB, chosen_devices, cores, default_memory, gpus, memory_bytes


def test_the_peak_is_that_of_this_process_not_of_its_parent():
    ballast = np.ones(300_000_000, np.uint8)
    code = "from samu_batch.machine import peak_memory; print(peak_memory())"
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 5_000_000 < int(child.stdout) < 150_000_000
    code = "b = bytearray(200_000_000); b[::4096] = b[::4096]; del b\n" + code
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(child.stdout) > 150_000_000
    assert ballast.all()


def test_devices_of_a_machine_without_gpus(monkeypatch):
    monkeypatch.setattr("samu_batch.machine.gpus", lambda: ())
    assert chosen_devices("all", workers=3) == ("cpu",) * 3
    assert chosen_devices("cpu", workers=None) == ("cpu",) * max(1, cores() // 8)
    with pytest.raises(ValueError, match="no GPU 0"):
        chosen_devices("0", workers=None)


def test_devices_of_a_machine_with_gpus(monkeypatch):
    monkeypatch.setattr("samu_batch.machine.gpus", lambda: ("0", "1", "2"))
    assert chosen_devices("all", workers=None) == ("0", "1", "2")
    assert chosen_devices("2,0", workers=None) == ("2", "0")
    assert chosen_devices(" 1 , 2 ", workers=4) == ("1", "2", "1", "2")
    assert set(chosen_devices("cpu", workers=None)) == {"cpu"}
    with pytest.raises(ValueError, match="no GPU 7"):
        chosen_devices("0,7", workers=None)


def test_shares():
    assert GIB // 2 <= default_memory(1000) <= default_memory(1) <= 4 * GIB
    assert memory_bytes() > GIB // 2
    assert isinstance(gpus(), tuple)
