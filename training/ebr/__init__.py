"""Embedding-based retrieval: a two-tower model and its index (the paper's EBR baseline)."""
