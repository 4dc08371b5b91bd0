"""What was downloaded in passing goes away with its map."""

import pytest

from samu_batch import locate
from samu_batch.entries import Entry
from samu_batch.fetch import cache_path
from samu_batch.revision import Revision, notes_of, write_notes
from samu_batch.run_directory import RunDirectory
from samu_batch.task import MapOptions


@pytest.fixture
def downloaded(tmp_path):
    """A task, and where its map lies with its notes."""
    entry = Entry("EMD-1234", "EMD-1234", "emdb")
    task = RunDirectory(tmp_path / "run").task(entry, MapOptions(model="any", cache=tmp_path / "cache"))
    path = cache_path(entry, tmp_path / "cache" / "passing" / task.token)
    path.parent.mkdir(parents=True)
    path.touch()
    write_notes(path, Revision(url="http://archive/emd_1234.map.gz", etag='"1"'))
    return task, path


def test_nothing_stays(downloaded, tmp_path):
    task, _ = downloaded
    locate.forget(task)
    assert not list((tmp_path / "cache").iterdir())
    locate.forget(task)  # nothing to do


def test_a_worker_killed_meanwhile_leaves_no_map_without_its_notes(downloaded, monkeypatch):
    """Else the next run takes it for a map that somebody put there, and its receipt does not say whence it came."""
    task, path = downloaded

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(locate.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        locate.forget(task)
    assert not path.exists()
    assert notes_of(path).exists()
