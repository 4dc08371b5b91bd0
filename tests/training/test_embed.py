"""Equations 2 to 6 of CryoSAMU are what plain loops make of them; the paper's ambiguities are settled as written."""

import math

import numpy as np
import pytest

from samu_training import embed


@pytest.fixture
def chains():
    rng = np.random.default_rng(0)
    return [0.4 * rng.standard_normal((length, 7)).astype(np.float32) for length in (5, 11, 3)]


def loop_weights(vectors):
    """Equations 3 to 5, element by element."""
    n = len(vectors)
    s = [
        [sum(float(a) * float(b) for a, b in zip(vectors[i], vectors[j], strict=True)) for j in range(n)]
        for i in range(n)
    ]
    w = [[math.exp(s[i][j]) / sum(math.exp(s[k][j]) for k in range(n)) for j in range(n)] for i in range(n)]
    return s, w, [sum(w[i][j] for j in range(n)) / n for i in range(n)]


def test_padding_adds_zeros_behind_each_chain(chains):
    padded = embed.pad_chains(chains)
    assert padded.shape == (3, 11, 7)
    for row, chain in zip(padded, chains, strict=True):
        np.testing.assert_array_equal(row[: len(chain)], chain)
        assert not row[len(chain) :].any()


def test_equation_2_divides_by_the_padded_length(chains):
    means = embed.chain_embeddings(embed.pad_chains(chains))
    for mean, chain in zip(means, chains, strict=True):
        np.testing.assert_allclose(mean, [sum(float(row[k]) for row in chain) / 11 for k in range(7)], atol=1e-12)


def test_equations_3_to_5_are_the_loops(chains):
    vectors = embed.pad_chains(chains)[1]
    similarities, weights, importance = loop_weights(vectors)
    np.testing.assert_allclose(embed.similarity(vectors), similarities, atol=1e-12)
    np.testing.assert_allclose(embed.attention_weights(embed.similarity(vectors)), weights, atol=1e-12)
    np.testing.assert_allclose(embed.importance(np.array(weights)), importance, atol=1e-12)
    np.testing.assert_allclose(embed.weigh(vectors), importance, atol=1e-12)


def test_equation_6_is_the_loop(chains):
    padded = embed.pad_chains(chains)
    weights = np.array([0.2, 0.5, 0.3])
    pooled = embed.pool_chains(padded, weights)
    assert pooled.shape == (11, 7)
    for j in range(11):
        for k in range(7):
            assert pooled[j, k] == pytest.approx(sum(weights[i] * padded[i, j, k] for i in range(3)), abs=1e-12)


def test_column_sums_are_one_and_rows_by_the_formula_would_say_nothing(chains):
    similarities = embed.similarity(embed.pad_chains(chains)[1])
    columns = embed.attention_weights(similarities)
    np.testing.assert_allclose(columns.sum(axis=0), 1)
    importance = embed.importance(columns)
    assert importance.sum() == pytest.approx(1)
    assert np.ptp(importance) > 0.01
    np.testing.assert_allclose(embed.importance(columns.T), 1 / 11)  # S is symmetric: its softmax along rows


def test_huge_similarities_do_not_overflow():
    weights = embed.weigh(np.array([[100.0, 0.0], [0.0, 200.0], [0.0, 0.0]]))
    np.testing.assert_allclose(weights, [4 / 9, 4 / 9, 1 / 9])


def test_min_max_reaches_from_zero_to_one_and_keeps_differences_in_proportion():
    values = np.array([[-2.0, 0.0], [1.0, 6.0]])
    np.testing.assert_allclose(embed.min_max(values), [[0, 0.25], [0.375, 1]])
    np.testing.assert_array_equal(embed.min_max(np.full((2, 2), 3.0)), 0)


@pytest.mark.parametrize("residues", [1, 3, 7, 8, 9, 20])
def test_resampling_takes_the_heaviest_or_repeats_the_sorted_list(residues):
    rng = np.random.default_rng(residues)
    embedding, weights = rng.standard_normal((residues, 4)), rng.random(residues)
    by_weight = sorted(range(residues), key=lambda j: -weights[j])
    expected = (by_weight * math.ceil(8 / residues))[:8]
    np.testing.assert_array_equal(embed.resample(embedding, weights, 8), embedding[expected])


def test_the_whole_has_one_size_whatever_the_chains(chains):
    for given in (chains, chains[:1], [np.vstack([chains[1]] * 90)]):
        embedding = embed.fixed_size(given)
        assert embedding.shape == (800, 7)
        assert embedding.dtype == np.float32
        assert embedding.min() >= 0
        assert embedding.max() <= 1


def test_the_whole_is_the_parts_in_the_order_of_the_paper(chains):
    padded = embed.pad_chains(chains)
    _, _, of_chains = loop_weights(padded.sum(axis=1) / 11)
    pooled = sum(w * chain for w, chain in zip(of_chains, padded, strict=True))
    _, _, of_residues = loop_weights(pooled)
    scaled = (pooled - pooled.min()) / (pooled.max() - pooled.min())
    rows = sorted(range(11), key=lambda j: -of_residues[j])
    np.testing.assert_allclose(embed.fixed_size(chains, 6), scaled[rows[:6]], atol=1e-6)


def test_the_order_of_the_chains_changes_nothing(chains):
    np.testing.assert_allclose(embed.fixed_size(chains), embed.fixed_size(chains[::-1]), atol=1e-6)


@pytest.mark.parametrize("nothing", [[], [np.zeros((0, 7), np.float32)]])
def test_no_residue_is_an_error(nothing):
    with pytest.raises(ValueError, match="no residues"):
        embed.fixed_size(nothing)
