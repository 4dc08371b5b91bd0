"""Executors: small loops that run one function over many maps. Nothing of the science imports them."""
