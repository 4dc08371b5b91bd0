"""``python -m samu_batch`` is the command ``samu-batch``."""

from samu_batch.cli import main

main()
