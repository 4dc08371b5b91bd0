"""Simulates training pairs, trains the networks of samu-batch, judges and exports them."""
