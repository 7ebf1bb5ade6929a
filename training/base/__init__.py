"""A small language model trained from scratch on the shop's own text."""
