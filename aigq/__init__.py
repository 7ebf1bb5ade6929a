"""AIGQ: generative query recommendation for e-commerce (after arXiv 2603.19710)."""

__version__ = "0.1.0"
