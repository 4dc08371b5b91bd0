"""The paper's way of training: augmentation, structure, several processes; and what a configuration file says."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_batch.model import ModelSpec
from samu_engines.network import CONFIGS as NETWORKS
from samu_engines.network import SAMU_LITE, Network, NetworkConfig
from samu_engines.torch_cpu import read_network
from samu_training import curves
from samu_training.augment import torchio_augmentation
from samu_training.checkpoint import Learner, Progress
from samu_training.crops import Crops, Mixed
from samu_training.losses import HALO, disagreement, overlap_shift
from samu_training.processes import Processes
from samu_training.stream import batches
from samu_training.structure import Embeddings, note_structure
from samu_training.train import Step, _in_two, _learner, train
from samu_training.train_options import parse_options

CONFIGS = Path(__file__).parents[2] / "training" / "configs"
NEEDED = ["--pairs", "p", "--validation", "p", "--run", "r"]
ALONE = Processes(rank=0, count=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Two pairs with a structure each, and one without a molecule."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for number, structure in enumerate(("1abc", "2def", "")):
        pair = rng.random((2, 28, 30, 26)).astype(np.float16)
        pair[1] *= bool(structure)
        np.save(folder / f"{number:05d}.npy", pair)
        note_structure(folder, f"{number:05d}.npy", structure)
    return folder


@pytest.fixture(scope="module")
def embeddings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    for number, name in enumerate(("1abc", "2def")):
        np.save(folder / f"{name}.npy", np.random.default_rng(number).random((800, 512)).astype(np.float16))
    return folder


def test_a_configuration_is_a_command_line_that_the_command_line_overrules():
    chosen = parse_options(None, ["--config", str(CONFIGS / "paper.toml"), "--batch", "3", *NEEDED])
    assert (chosen.network, chosen.loss, chosen.rate, chosen.clip) == ("samu", "smooth-l1", 1e-4, 0.5)
    assert (chosen.batch, chosen.augment, chosen.precision) == (3, "torchio", "float16")
    plain = parse_options(None, ["samu-lite", "--rate", "5e-4", *NEEDED])
    assert (plain.network, plain.rate, plain.loss, plain.augment) == ("samu-lite", 5e-4, "density", "none")
    assert parse_options(None, ["--config", str(CONFIGS / "samu-lite.toml"), *NEEDED]).network == "samu-lite"


@pytest.mark.parametrize(("capability", "precision"), [("AVX2", "float32"), ("AVX512", "bfloat16")])
def test_a_processor_that_would_emulate_bfloat16_trains_in_float32(capability, precision, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    words = ["--config", str(CONFIGS / "samu-lite.toml"), *NEEDED]
    assert parse_options(None, words).precision == precision
    assert parse_options(None, [*words, "--precision", "bfloat16"]).precision == "bfloat16"


def test_a_configuration_with_a_wrong_name_is_refused(tmp_path, capsys):
    (tmp_path / "wrong.toml").write_text('network = "samu"\nlearning-rate = 1e-4\n')
    with pytest.raises(SystemExit):
        parse_options(None, ["--config", str(tmp_path / "wrong.toml"), *NEEDED])
    assert "--learning-rate" in capsys.readouterr().err


def test_training_starts_from_the_weights_that_a_model_ships(tmp_path):
    shipped = ModelSpec.load("samu-lite").weights
    words = ["samu-lite", *NEEDED[:-1], str(tmp_path), "--start", str(shipped)]
    started = _learner(parse_options(None, words), ALONE).network
    for name, weights in read_network(shipped, "samu-lite").state_dict().items():
        assert torch.equal(weights, started.state_dict()[name]), name


def test_a_network_with_a_part_more_starts_from_the_weights_it_shares(tmp_path, monkeypatch):
    small = dataclasses.replace(SAMU_LITE, widths=(8, 16))
    held = Network(dataclasses.replace(small, gate=()))
    torch.save({"network": held.state_dict()}, tmp_path / "held.pt")
    monkeypatch.setitem(NETWORKS, "samu-lite", small)
    words = ["samu-lite", *NEEDED[:-1], str(tmp_path / "run"), "--start", str(tmp_path / "held.pt")]
    started = _learner(parse_options(None, words), ALONE).network.state_dict()
    assert all(torch.equal(weights, started[name]) for name, weights in held.state_dict().items())
    assert any(name.startswith("gate.") for name in started)


def test_what_comes_before_a_gate_is_trained_without_it(tmp_path):
    shipped = ModelSpec.load("samu-lite").weights
    words = ["--config", str(CONFIGS / "samu-lite.toml"), *NEEDED[:-1], str(tmp_path), "--start", str(shipped)]
    started = _learner(parse_options(None, words), ALONE).network
    assert started.gate is None
    held = read_network(shipped, "samu-lite").state_dict()
    names = {name for name in held if not name.startswith("gate.")}
    assert started.state_dict().keys() == names < held.keys()
    assert all(torch.equal(weights, held[name]) for name, weights in started.state_dict().items())
    assert _learner(parse_options(None, ["samu-lite", *words[2:]]), ALONE).network.gate is not None


def test_what_is_frozen_stays_and_the_rest_learns(pairs, tmp_path):
    parts = ["middle", "decoder.0"]
    words = ["--config", str(CONFIGS / "samu-lite.toml"), "--pairs", str(pairs), "--validation", str(pairs)]
    words += ["--run", str(tmp_path / "run"), "--precision", "float32", "--steps", "1", "--agreement", "0"]
    words += ["--start", str(ModelSpec.load("samu-lite").weights), "--warm-up", "1"]
    chosen = parse_options(None, [*words, "--freeze", *parts])
    started = {name: weights.clone() for name, weights in _learner(chosen, ALONE).network.state_dict().items()}
    for name, weights in train(chosen, ALONE).network.state_dict().items():
        assert torch.equal(weights, started[name]) == name.startswith(tuple(f"{part}." for part in parts)), name


def test_a_part_to_freeze_that_there_is_not_is_refused_by_name(tmp_path):
    words = ["samu-lite", *NEEDED[:-1], str(tmp_path / "run"), "--freeze", "middel"]
    with pytest.raises(SystemExit, match=r"middel.*stem, .*encoder\.0, .*middle, "):
        _learner(parse_options(None, words), ALONE)


def test_a_start_that_shares_nothing_is_refused(tmp_path):
    torch.save({"network": {"other": torch.zeros(1)}}, tmp_path / "held.pt")
    words = ["samu-lite", *NEEDED[:-1], str(tmp_path / "run"), "--start", str(tmp_path / "held.pt")]
    with pytest.raises(SystemExit, match="holds no weights of this network"):
        _learner(parse_options(None, words), ALONE)


@pytest.mark.parametrize(("network", "edge"), [("samu-lite", 32), ("samu-lite", 56), ("samu", 16), ("samu", 28)])
def test_crops_that_the_coarsest_lattice_does_not_fit_are_refused(network, edge, capsys):
    with pytest.raises(SystemExit):
        parse_options(None, [network, *NEEDED, "--edge", str(edge), "--precision", "bfloat16"])
    assert f"crops for {network} need a multiple of" in capsys.readouterr().err


def test_crops_too_small_to_overlap_inside_their_halos_are_refused(capsys):
    with pytest.raises(SystemExit):
        parse_options(None, ["samu", *NEEDED, "--edge", "24", "--agreement", "30"])
    assert "with --agreement crops need 32 voxels" in capsys.readouterr().err
    assert parse_options(None, ["samu", *NEEDED, "--edge", "32", "--agreement", "30"]).edge == 32


def test_torchio_changes_what_is_shown_and_follows_from_the_generator():
    pytest.importorskip("torchio")
    augment = torchio_augmentation()
    cube = np.random.default_rng(0).random((1, 24, 24, 24)).astype(np.float32)
    state = torch.get_rng_state()
    ones, again = ([augment(cube, np.random.default_rng(seed)) for seed in range(12)] for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)  # that of dropout is left alone
    assert all(np.array_equal(a, b) for a, b in zip(ones, again, strict=True))
    assert all(a.shape == cube.shape and a.min() >= 0 and a.max() <= 1 for a in ones)
    changed = sum(not np.allclose(a, cube) for a in ones)
    assert 3 <= changed < 12  # each of three with probability 1/4: 0.58 of all


def test_two_cubes_agree_on_what_both_show():
    """Of a long crop both halves show the same voxels; what is compared of them is what inference would keep."""
    long = torch.rand(2, 1, 36, 24, 24)
    cubes, targets = _in_two([long, 2 * long], 24)
    assert cubes.shape == (4, 1, 24, 24, 24)
    assert torch.equal(targets, 2 * cubes)
    first, second = cubes.chunk(2)
    wide = torch.rand(2, 1, 48, 32, 32)
    assert disagreement(wide[:, :, :32], wide[:, :, 16:], shift=16) == 0
    elsewhere = wide[:, :, 16:].clone()
    elsewhere[:, :, :7], elsewhere[:, :, 9:], elsewhere[..., :7] = 9, 9, 9
    assert disagreement(wide[:, :, :32], elsewhere, shift=16) == 0
    elsewhere[0, 0, 8, 20, 20] += 1
    assert disagreement(wide[:, :, :32], elsewhere, shift=16) == pytest.approx(1 / (2 * 2 * 18 * 18))
    assert torch.equal(first[:, :, 12:], second[:, :, :12])


def test_real_pairs_are_drawn_as_often_as_asked(tmp_path):
    for name, value in (("simulated", 0.25), ("real", 0.5)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "00000.npy", np.full((2, 30, 30, 30), value, np.float16))
    simulated, real = (Crops(tmp_path / name, edge=24) for name in ("simulated", "real"))
    mixed, rng = Mixed(simulated, real, share=0.4), np.random.default_rng(0)
    drawn = [mixed.draw(rng)[1].max() for _ in range(400)]
    assert set(drawn) == {0.25, 0.5}
    assert np.mean([value == 0.5 for value in drawn]) == pytest.approx(0.4, abs=0.06)


def options(pairs, tmp_path, *more):
    words = ["samu", "--pairs", pairs, "--validation", pairs, "--run", tmp_path, "--edge", "24", "--batch", "4"]
    return parse_options(None, [str(word) for word in (*words, "--loss", "smooth-l1", *more)])


def first_batches(pairs, chosen, count=3, **more):
    stream = batches(Crops(pairs, edge=24, **more), chosen, ALONE, first=0)
    return [next(stream) for _ in range(count)]


def test_crops_come_with_the_embedding_of_their_structure(pairs, embeddings, tmp_path):
    held = Embeddings(embeddings, pairs=pairs)
    known = {name: held.of(f"{number:05d}.npy") for number, name in enumerate(("1abc", "2def"))}
    chosen = options(pairs, tmp_path)
    seen = set()
    for source, target, structure in first_batches(pairs, chosen, embeddings=held):
        assert source.shape == target.shape == (4, 1, 24, 24, 24)
        assert structure.shape == (4, 800, 512)
        for crop, embedding in zip(target, structure, strict=True):
            assert bool(crop.any()) == bool(embedding.any())
            seen |= {name for name, values in known.items() if np.array_equal(values, embedding.numpy())}
    assert seen == {"1abc", "2def"}
    (embeddings / "2def.npy").rename(embeddings / "lost.npy")
    with pytest.raises(FileNotFoundError, match="2def"):
        held.of("00001.npy")
    (embeddings / "lost.npy").rename(embeddings / "2def.npy")
    with pytest.raises(FileNotFoundError, match="does not say"):
        held.of("00009.npy")


def learn(chosen, stream):
    torch.manual_seed(0)
    config = NetworkConfig(patch=1, widths=(32, 32), blocks=1, attention_levels=(0,), structure_channels=512)
    network = Network(config)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    step = Step(chosen, Learner(network=network, optimiser=optimiser, scaler=scaler, progress=Progress()), ALONE)
    for batch in stream:
        step(batch, rate=1e-3)
    return network


def test_structure_reaches_the_loss_in_two_steps(pairs, embeddings, tmp_path):
    chosen = options(pairs, tmp_path, "--precision", "float32")
    plain = first_batches(pairs, chosen, 2)
    with_structure = first_batches(pairs, chosen, 2, embeddings=Embeddings(embeddings, pairs=pairs))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(plain, with_structure, strict=True))
    start, without, taught = (learn(chosen, stream) for stream in ([], plain, with_structure))
    values = "middle.structure.attention.v_proj_weight"
    moved = {name: not torch.equal(w, start.state_dict()[name]) for name, w in taught.state_dict().items()}
    assert moved[values]
    assert not torch.equal(without.state_dict()["stem.weight"], taught.state_dict()["stem.weight"])
    unseen = dict(without.named_parameters())[values]
    assert unseen.grad is None  # absent embeddings: the attention is passed by
    nothing = [[*batch, torch.zeros(4, 800, 512)] for batch in plain]
    # Not the weights: those that a group norm undoes have gradients of rounding alone, and Adam makes steps of them.
    networks = learn(chosen, nothing), without, start
    with torch.no_grad():
        found, expected, begun = (network.eval()(plain[0][0]) for network in networks)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert (begun - expected).abs().max() > 1e-2


# After "--": torchrun takes --run for the beginning of one of its own options.
LAUNCHER = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]


def trained(pairs, run, *more, launcher=("-m",), steps=3):
    command = [sys.executable, *launcher, "samu_training.train", "samu-lite", "--pairs", pairs, "--validation", pairs]
    command += ["--run", run, "--steps", steps, "--edge", "32", "--threads", "1", "--precision", "float32"]
    command += ["--loss", "smooth-l1", "--every", "0", "--warm-up", "1", "--rate", "1e-3", *more]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return torch.load(run / "checkpoint.pt", weights_only=True), ran.stdout


def test_the_papers_network_trains_as_the_papers_configuration_says(pairs, embeddings, tmp_path):
    pytest.importorskip("torchio")
    run = tmp_path / "run"
    command = [sys.executable, "-m", "samu_training.train", "--config", CONFIGS / "paper.toml", "--pairs", pairs]
    command += ["--embeddings", embeddings, "--validation", pairs, "--run", run, "--stop-after", 2, "--edge", 24]
    command += ["--batch", 1, "--workers", 1, "--threads", 1, "--precision", "auto", "--every", 1000]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True)
    kept = torch.load(run / "checkpoint.pt", weights_only=True)
    assert kept["step"] == 2
    assert sum(weights.numel() for weights in kept["network"].values()) == pytest.approx(12.220e6, rel=1e-3)
    assert all(weights.isfinite().all() for weights in kept["network"].values())


def test_cubes_that_are_to_agree_see_a_map_at_other_places_of_the_lattice_as_neighbours_do_at_inference():
    for edge in (32, 48, 64):
        shift = overlap_shift(edge)
        assert 0 < shift <= edge // 2
        assert shift % 8 == 50 % 8
        assert edge - shift > 2 * HALO


def test_agreement_is_learnt(pairs, tmp_path):
    """The heavier it weighs, the less a network says otherwise of the same voxels in two cubes."""
    shift = overlap_shift(32)
    long = torch.rand(2, 1, 32 + shift, 32, 32, generator=torch.Generator().manual_seed(1))
    apart = {}
    for weight in ("1e-6", "1e3"):
        more = ("--batch", "1", "--edge", "32", "--agreement", weight, "--every", "1000")
        checkpoint, _ = trained(pairs, tmp_path / weight, *more, steps=12)
        network = Network(SAMU_LITE)
        network.load_state_dict(checkpoint["network"])
        cubes, _ = _in_two([long, long], 32)
        with torch.no_grad():
            enhanced = network.eval()(cubes)
        apart[weight] = float(disagreement(*enhanced.chunk(2), shift=shift) / enhanced.std())
    assert apart["1e3"] < 0.7 * apart["1e-6"]


def test_real_pairs_are_read_where_they_are_asked_for(pairs, tmp_path):
    (tmp_path / "none").mkdir()
    command = [
        sys.executable,
        "-m",
        "samu_training.train",
        "samu-lite",
        "--edge",
        "48",
        "--steps",
        "1",
        "--pairs",
        pairs,
    ]
    command += ["--validation", pairs, "--run", tmp_path / "run", "--real", tmp_path / "none", "--real-share", "1"]
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert ran.returncode != 0
    assert f"{tmp_path / 'none'} holds no pairs" in ran.stderr


def distance(one, other):
    return sum(float((a - b).square().sum()) for a, b in zip(one.values(), other.values(), strict=True)) ** 0.5


def test_each_process_of_several_has_its_own_gpu_before_they_meet(monkeypatch):
    for name, value in (("RANK", "5"), ("WORLD_SIZE", "8"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    calls = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: calls.append(("set_device", device)))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda backend: calls.append(("init", backend)))
    joined = Processes.join("cuda")
    assert calls == [("set_device", 1), ("init", "nccl")]
    assert (joined.rank, joined.count, joined.device) == (5, 8, torch.device("cuda", 1))


def test_two_processes_are_one_with_the_joint_batch_and_resume_exactly(pairs, tmp_path):
    torch.manual_seed(0)
    start = Network(SAMU_LITE).state_dict()
    alone, _ = trained(pairs, tmp_path / "alone", "--batch", "4")
    both, printed = trained(pairs, tmp_path / "both", "--batch", "2", launcher=LAUNCHER)
    trained(pairs, tmp_path / "parts", "--batch", "2", "--stop-after", "2", launcher=LAUNCHER)
    parts, _ = trained(pairs, tmp_path / "parts", "--batch", "2", launcher=LAUNCHER)
    assert both["step"] == parts["step"] == alone["step"] == 3
    assert len(both["generators"]) == 2
    # Sums in another order: of what was learnt, hardly anything.
    learnt = distance(alone["network"], start)
    assert distance(both["network"], alone["network"]) < 1e-2 * learnt
    for name, weights in both["network"].items():
        assert torch.equal(weights, parts["network"][name]), name
    # One process writes: each step is logged once, and one says that it is done.
    steps = [json.loads(line)["step"] for line in (tmp_path / "both" / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2, 3]
    assert len(re.findall("done: 3 steps", printed)) == 1
    pytest.importorskip("matplotlib")
    curves.draw(tmp_path / "both", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
