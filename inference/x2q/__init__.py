"""x2q: Think over rich traces to triples, triples to scored pairs (AIGQ eq. 19)."""
