"""Several processes training one model (``accelerate launch -m aigq.cli train ...``).

Every process reads and trains; the first one alone owns what exists once: the row in meta.runs, the
workspace's lock, the published version.
"""

import os
from typing import Any


def rank() -> int:
    """The number of this process among those that train together, 0 where it is alone."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def share(value: Any = None) -> Any:
    """What the first process calls this with, in all of them. Waits for all."""
    if world_size() == 1:
        return value
    from accelerate.utils import broadcast_object_list

    _join()
    return broadcast_object_list([value])[0]


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        _join().wait_for_everyone()


def _join() -> Any:
    import torch
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())
