"""Ingest: the one door through which a shop's log enters the lake."""

from aigq.ingest.job import command

__all__ = ["command"]
