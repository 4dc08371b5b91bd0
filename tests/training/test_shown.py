"""Maps as a gate is trained on them: shown as to the network, noisy or cut out, and crops of them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from samu_training import shown as shown_module
from samu_training.shown import AROUND, Shown, crowded, noisier, show, write_shown


def belted(*, bright):
    """Return source and target: a slab of molecule, and one of unmodelled density beside it."""
    target, source = (np.zeros((64, 64, 64), np.float32) for _ in range(2))
    target[:, 10:30], source[:, 10:30] = 0.6, 0.8
    source[:, 36:56] = bright
    return source, target


def test_maps_with_much_beside_the_molecule_are_told_from_others():
    assert crowded(*belted(bright=0.5))
    assert not crowded(*belted(bright=0.1))
    assert not crowded(np.ones((8, 8, 8), np.float32), np.zeros((8, 8, 8), np.float32))  # no molecule


@pytest.fixture
def plain(monkeypatch):
    """Nothing is drawn: neither noise nor cut, and brightness stays."""
    monkeypatch.setattr(shown_module, "NOISY", 0)
    monkeypatch.setattr(shown_module, "CUT", 0)
    monkeypatch.setattr(shown_module, "BRIGHTNESS", (1, 1))
    monkeypatch.setattr(shown_module, "DIM", 0)


@pytest.mark.usefixtures("plain")
def test_a_map_lies_amid_nothing_and_is_clipped():
    pair = np.random.default_rng(0).normal(size=(2, 20, 33, 48)).astype(np.float32)
    shown = show(pair, np.random.default_rng(0))
    assert shown.shape == (2, 64, 80, 80)
    box = (slice(None), *(slice(AROUND, AROUND + n) for n in pair.shape[1:]))
    np.testing.assert_array_equal(shown[box], np.where(pair < 1e-6, 0, np.minimum(pair, 1)))
    shown[box] = 0
    assert not shown.any()


@pytest.mark.usefixtures("plain")
def test_a_share_of_the_maps_is_dim(monkeypatch):
    monkeypatch.setattr(shown_module, "DIM", 0.25)
    pair = np.ones((2, 8, 8, 8), np.float32)
    shown = np.array([show(pair, np.random.default_rng(seed)).max(axis=(1, 2, 3)) for seed in range(200)])
    assert (shown[:, 1] == 1).all()
    assert 0.15 < (shown[:, 0] < 0.55).mean() < 0.35
    assert shown[:, 0].min() > 0.12


@pytest.mark.usefixtures("plain")
def test_a_cut_map_ends_within_the_molecule(monkeypatch):
    monkeypatch.setattr(shown_module, "CUT", 1)
    pair = np.ones((2, 40, 40, 40), np.float32)
    lengths = set()
    for seed in range(20):
        shown = show(pair, np.random.default_rng(seed))
        lengths |= {len(np.unique(where)) for where in np.nonzero(shown[0])}
        np.testing.assert_array_equal(shown[0] > 0, shown[1] > 0)
    assert min(lengths) >= 20
    assert max(lengths) <= 40
    assert len(lengths) > 5


def test_noise_is_as_strong_as_asked_and_keeps_to_the_mask(monkeypatch):
    rng = np.random.default_rng(0)
    target = np.zeros((48, 48, 48), np.float32)
    target[16:32, 16:32, 16:32] = 0.5
    source = target * rng.uniform(0.5, 1.5, target.shape).astype(np.float32)
    source[:4] = -0.01  # solvent that is not masked
    monkeypatch.setattr(shown_module, "NOISE", (1, 1))
    noisy = noisier(source, target, rng)
    assert not noisy[(source == 0)].any()
    assert np.percentile(noisy[noisy != 0], 99.9) == pytest.approx(1)
    ratio = noisy[:4].std() / noisy[target > 0].std()
    assert ratio == pytest.approx(2**-0.5, rel=0.15)  # inside, signal and noise of the same spread


@pytest.mark.usefixtures("plain")
def test_what_is_stored_is_what_the_network_gives_and_nothing_is_made_twice(tmp_path):
    pairs = [tmp_path / folder / "00000.npy" for folder in ("plain", "dense")]
    for number, pair in enumerate(pairs):
        pair.parent.mkdir()
        np.save(pair, np.random.default_rng(number).random((2, 20, 20, 20)).astype(np.float16))
    same = torch.nn.AvgPool3d(1, stride=1)
    write_shown(same, pairs, tmp_path / "shown", seed=1)
    # Pairs of two folders, which bear the same names, are both there.
    for name, pair in zip(("plain_00000.npy", "dense_00000.npy"), pairs, strict=True):
        source, enhanced, target = np.load(tmp_path / "shown" / name)
        np.testing.assert_allclose(enhanced, source, atol=4e-3)
        inner = (slice(AROUND, AROUND + 20),) * 3
        np.testing.assert_array_equal(target[inner], np.load(pair)[1])
    (tmp_path / "shown" / "plain_00000.npy").write_bytes(b"kept")
    write_shown(same, pairs, tmp_path / "shown", seed=1)
    assert (tmp_path / "shown" / "plain_00000.npy").read_bytes() == b"kept"


def test_crops_are_windows_turned_with_nothing_beyond_the_map(tmp_path):
    source, target = belted(bright=0.1)
    np.save(tmp_path / "0.npy", np.stack([source, 2 * source, target]).astype(np.float16))
    shown, rng = Shown(tmp_path, often=3), np.random.default_rng(0)
    with_molecule = 0
    for _ in range(30):
        crop = shown.draw(rng, edge=48, longer=16)
        assert crop.shape == (3, 64, 48, 48)
        np.testing.assert_allclose(crop[1], 2 * crop[0], atol=2e-3)
        with_molecule += bool(crop[2].any())
    assert with_molecule > 20


def test_crowded_maps_are_drawn_more_often(tmp_path):
    for name, bright in (("0", 0.1), ("1", 0.5)):
        source, target = belted(bright=bright)
        np.save(tmp_path / f"{name}.npy", np.stack([source, source, target]).astype(np.float16))
    shown, rng = Shown(tmp_path, often=3), np.random.default_rng(0)
    bright = [np.isclose(shown.draw(rng, edge=64, longer=0)[0], 0.5, atol=0.01).any() for _ in range(200)]
    assert 0.65 < np.mean(bright) < 0.85


def test_a_folder_without_maps_is_named(tmp_path):
    with pytest.raises(SystemExit, match="holds no maps: make some"):
        Shown(tmp_path, often=1)
