"""Inference engines and trained weights of samu-batch. They satisfy its protocol by shape and import nothing of it."""

from pathlib import Path


def weights_folder() -> Path:
    """Return the folder of the shipped models: one ONNX file and one sidecar each."""
    return Path(__file__).parent / "weights"
