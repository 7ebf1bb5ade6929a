"""IL-GRPO: policy optimisation of whole lists, with credit for each slot (AIGQ §4)."""
