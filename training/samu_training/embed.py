"""Structures as embeddings of one size: CryoSAMU, section 3.2, equations 2 to 6.

``python -m samu_training.embed STRUCTURES... --weights FILE -o FOLDER`` writes one float16 (800, 512) array for each
structure, and ``embeddings.json`` with the SHA-256 of the weights. The encoder is :mod:`samu_training.esm_if1`; its
published weights were never loaded by the authors of this code: it ran with random weights of the same architecture.

Where the paper can be read in more than one way:

* Equation 4 divides by a sum over a row, the text calls the softmax column-wise. Rows that sum to one make equation 5
  give 1/C to every chain, whatever the embeddings: importance would mean nothing. The text is followed.
* Equation 2 divides by R, the length all chains are padded to. It is taken at its word: a chain shorter than the
  longest has a smaller mean and so weighs less.
* Similarities are plain dot products, not divided by the root of the width. They are computed in float64.
* Min-max normalisation: of weights it would change no order and so no result. It is applied to the pooled embedding,
  with one minimum and one maximum for all its values, after the weights of the residues are known. The network
  normalises each row once more, so little depends on this.
* More than L residues: the first L by weight, in the order of weight. Fewer: the sorted list as a whole is repeated
  and cut to L, so that the heaviest residues come once more where L is no multiple. Equal weights keep the order of
  the sequence. The network's attention takes its keys as a set, so their order does not matter to it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LENGTH = 800
"""Rows of the embedding of a structure."""


def pad_chains(chains: Sequence[NDArray[np.floating]]) -> Floats:
    """Stack the embeddings of chains, (R_i, d) each, into (C, R, d) with R the longest; zeros behind the shorter.

    Raises
    ------
    ValueError
        There is no residue.
    """
    if not any(map(len, chains)):
        raise ValueError("no residues to embed")
    padded = np.zeros((len(chains), max(map(len, chains)), chains[0].shape[1]))
    for row, chain in zip(padded, chains, strict=True):
        row[: len(chain)] = chain
    return padded


def chain_embeddings(embeddings: Floats) -> Floats:
    """Average (C, R, d) over residues, padding included: (C, d), equation 2."""
    means: Floats = embeddings.mean(axis=1)
    return means


def similarity(vectors: Floats) -> Floats:
    """Return the dot product of each two of (n, d) vectors: (n, n), equation 3."""
    return vectors @ vectors.T


def attention_weights(similarities: Floats) -> Floats:
    """Softmax down each column of (n, n): equation 4 as the text has it; each column sums to one."""
    weights: Floats = np.exp(similarities - similarities.max(axis=0))
    weights /= weights.sum(axis=0)
    return weights


def importance(weights: Floats) -> Floats:
    """Average (n, n) attention weights over each row: (n,), equation 5; they sum to one."""
    means: Floats = weights.mean(axis=1)
    return means


def weigh(vectors: Floats) -> Floats:
    """Return the importance of each of (n, d) vectors among them, (n,): equations 3 to 5."""
    return importance(attention_weights(similarity(vectors)))


def pool_chains(embeddings: Floats, weights: Floats) -> Floats:
    """Sum (C, R, d) embeddings weighted by (C,): (R, d), equation 6."""
    return np.tensordot(weights, embeddings, axes=1)


def min_max(values: Floats) -> Floats:
    """Scale an array to reach from 0 to 1; a constant one becomes zeros."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def resample(embedding: Floats, weights: Floats, length: int = LENGTH) -> Floats:
    """Return ``length`` rows of (R, d), by falling (R,) weight: the first ones, or all of them again and again."""
    by_weight = np.argsort(-weights, kind="stable")
    return embedding[np.resize(by_weight, length)]


def fixed_size(chains: Sequence[NDArray[np.floating]], length: int = LENGTH) -> NDArray[np.float32]:
    """Return the embedding of a structure.

    Parameters
    ----------
    chains
        (R_i, d) for each chain, as :meth:`samu_training.esm_if1.Encoder.encode` gives them.
    length
        L, the rows wanted.

    Returns
    -------
    NDArray
        float32 (L, d), each value in [0, 1]: what ``Network.forward`` takes as ``structure``, without the batch axis.

    Raises
    ------
    ValueError
        There is no residue.
    """
    embeddings = pad_chains(chains)
    pooled = pool_chains(embeddings, weigh(chain_embeddings(embeddings)))
    return resample(min_max(pooled), weigh(pooled), length).astype(np.float32)


def main() -> None:
    """Write the embedding of each structure."""
    from samu_training.esm_if1 import Encoder, read_backbones

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structures", nargs="+", type=Path, help="PDB or mmCIF files, also .gz")
    parser.add_argument("--weights", required=True, type=Path, help="esm_if1_gvp4_t16_142M_UR50.pt")
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder for NAME.npy")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    named = {path.name.split(".")[0].lower(): path for path in arguments.structures}
    if len(named) < len(arguments.structures):
        parser.error("two structures have the same name, and so would their embeddings")
    encoder = Encoder(arguments.weights, device=arguments.device)
    arguments.output.mkdir(parents=True, exist_ok=True)
    residues: dict[str, int] = {}
    for name, path in named.items():
        try:
            backbones = read_backbones(path)
        except (ValueError, RuntimeError) as error:
            print(f"left out: {error}")
            continue
        embedding = fixed_size([encoder.encode(backbone) for backbone in backbones])
        np.save(arguments.output / f"{name}.npy", embedding.astype(np.float16))
        residues[name] = sum(map(len, backbones))
    record = {"weights_sha256": encoder.sha256, "residues": residues}
    (arguments.output / "embeddings.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
