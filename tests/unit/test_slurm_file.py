"""The file of `--slurm`: its keys are checked, and a wrong one is named."""

import numpy as np
import pytest
from click.testing import CliRunner

from samu_batch.cli import cli
from samu_batch.executors.slurm_file import read_slurm_file

RIGHT = 'jobs = 8\ncores = 4\nmemory = "16 GB"\n'


def enhance(folder, text, entry, *options):
    (folder / "slurm.toml").write_text(text)
    words = ["enhance", entry, "-o", folder / "run", "--engine", "identity", "--slurm", folder / "slurm.toml", *options]
    return CliRunner().invoke(cli, list(map(str, words)))


def test_jobs_are_ours_and_the_rest_is_the_clusters(tmp_path):
    path = tmp_path / "slurm.toml"
    path.write_text(RIGHT + 'queue = "gpu"\njob_extra_directives = ["--gres=gpu:1"]\n')
    jobs = read_slurm_file(path)
    assert (jobs.jobs, jobs.cores, jobs.memory) == (8, 4, 16 * 10**9)
    assert jobs.settings == {
        "cores": 4,
        "memory": "16 GB",
        "queue": "gpu",
        "job_extra_directives": ["--gres=gpu:1"],
    }


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (RIGHT + 'partition = "gpu"\n', "no such key: partition"),
        ("jobs = 8\n", "cores, memory must be given"),
        (RIGHT.replace("8", "0"), "jobs takes a number above 0, not 0"),
        (RIGHT.replace("16 GB", "much"), "memory takes a size"),
        (RIGHT + 'job_extra_directives = "--gres=gpu:1"\n', "job_extra_directives takes a list of texts"),
        ("jobs: 8\n", "slurm.toml: "),
    ],
)
def test_what_is_wrong_is_named_and_nothing_runs(tmp_path, text, named):
    result = enhance(tmp_path, text, "1234")
    assert result.exit_code == 2
    assert named in result.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", [["--executor", "serial"], ["--scheduler", "tcp://a:1"], ["--workers", "2"], ["--devices", "0,1"]]
)
def test_options_that_are_against_it_are_refused(tmp_path, option):
    result = enhance(tmp_path, RIGHT, "1234", *option)
    assert result.exit_code == 2
    assert option[0] in result.output


def test_a_machine_without_slurm_is_told_so(tmp_path, monkeypatch, make_map):
    pytest.importorskip("dask_jobqueue", reason="--slurm needs dask-jobqueue")
    monkeypatch.setenv("PATH", str(tmp_path))
    result = enhance(tmp_path, RIGHT, make_map(tmp_path / "map.mrc", np.ones((8, 8, 8), np.float32)))
    assert result.exit_code == 2
    assert "there is no sbatch, squeue, scancel here" in result.output
