"""A model's file as the engines on CPUs take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samu_engines.spec import Spec


def read_for_cpus(spec: Spec) -> bytes:
    """Return the model's ONNX file, its group norms written out (:func:`samu_engines.variants.with_exact_norms`)."""
    assert spec.weights is not None
    stored = spec.weights.read_bytes()
    if b"GroupNormalization" not in stored:  # then nothing is to be changed, and onnx need not be imported
        return stored
    import onnx

    from samu_engines.variants import with_exact_norms

    exact: bytes = with_exact_norms(onnx.load_from_string(stored)).SerializeToString()
    return exact
