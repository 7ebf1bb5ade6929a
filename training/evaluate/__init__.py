"""Evaluation: a model is judged by its lists in ``eval.lists`` and by nothing else."""
