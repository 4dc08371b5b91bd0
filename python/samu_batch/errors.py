"""The tree of errors, each with a stable ``kind``.

::

    SamuError
    ├── NotFoundError (FileNotFoundError)   not-found             the entry or the file does not exist
    ├── FetchError (OSError)                fetch                 the download failed or arrived damaged
    ├── TruncatedError (ValueError)         truncated             a local file is shorter than it says
    ├── MapFormatError (ValueError)         map-format            not a readable MRC/CCP4 map
    ├── UnsupportedGeometryError (ValueError) unsupported-geometry  a skewed cell, a stack, an impossible axis order
    ├── EmptyMapError (ValueError)          empty-map             no density to scale by
    ├── NonFiniteError (ValueError)         non-finite            NaN or infinity in the map
    ├── TooLargeError (ValueError)          too-large             more voxels than the limit allows
    ├── StoreError (OSError)                store                 reading or writing scratch or output failed
    ├── EngineError (RuntimeError)          engine                the engine cannot load or run
    ├── OutOfMemoryError (MemoryError)      out-of-memory         host or device memory is exhausted
    ├── WorkerLostError (RuntimeError)      worker-lost           the worker process died
    ├── InterruptedRunError (RuntimeError)  interrupted           a signal stopped the map
    ├── TimeLimitError (TimeoutError)       time-limit            the map cannot finish within the task's limit
    ├── UnreadableError (OSError)           unreadable            the file exists but cannot be read
    └── InternalError (RuntimeError)        internal              a defect of samu-batch itself

Kinds are part of the contract with scripts of users: the list is append-only. Rust raises the same classes
(``rust/py/src/errors.rs``). This module imports nothing.
"""


class SamuError(Exception):
    """Base of every error that samu-batch raises on purpose; ``kind`` says which sort it is."""

    kind = "internal"


class NotFoundError(SamuError, FileNotFoundError):
    """The entry or the file does not exist."""

    kind = "not-found"


class FetchError(SamuError, OSError):
    """The download failed, or what arrived is not what the server promised."""

    kind = "fetch"


class TruncatedError(SamuError, ValueError):
    """A local file is shorter than its header or its gzip trailer says."""

    kind = "truncated"


class MapFormatError(SamuError, ValueError):
    """The file is not a readable MRC/CCP4 map."""

    kind = "map-format"


class UnsupportedGeometryError(SamuError, ValueError):
    """The map's cell or axes are valid, but outside what the method can treat."""

    kind = "unsupported-geometry"


class EmptyMapError(SamuError, ValueError):
    """The map holds no density to scale by."""

    kind = "empty-map"


class NonFiniteError(SamuError, ValueError):
    """The map holds NaN or infinity."""

    kind = "non-finite"


class TooLargeError(SamuError, ValueError):
    """The map would need more voxels than the limit allows."""

    kind = "too-large"


class StoreError(SamuError, OSError):
    """Reading or writing scratch or output failed."""

    kind = "store"


class EngineError(SamuError, RuntimeError):
    """The engine cannot load or run."""

    kind = "engine"


class OutOfMemoryError(SamuError, MemoryError):
    """Host or device memory is exhausted."""

    kind = "out-of-memory"


class WorkerLostError(SamuError, RuntimeError):
    """The worker process that held the map died."""

    kind = "worker-lost"


class InterruptedRunError(SamuError, RuntimeError):
    """A signal stopped the map before it was finished."""

    kind = "interrupted"


class TimeLimitError(SamuError, TimeoutError):
    """The map cannot finish within the task's time limit."""

    kind = "time-limit"


class UnreadableError(SamuError, OSError):
    """The file exists but cannot be read."""

    kind = "unreadable"


class InternalError(SamuError, RuntimeError):
    """A defect of samu-batch itself."""

    kind = "internal"


TRANSIENT_KINDS = frozenset({"fetch", "worker-lost", "interrupted", "store", "out-of-memory"})
"""Kinds that a plain re-run tries again."""
