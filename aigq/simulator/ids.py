"""Ids and times as the contract's files hold them."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

TIME = pa.timestamp("us", tz="UTC")


def ids(prefix: str, numbers, digits: int) -> pa.Array:
    """``prefix`` and the number with leading zeros; null stays null."""
    text = pc.utf8_lpad(pc.cast(pa.array(numbers), pa.string()), digits, "0")
    return pc.binary_join_element_wise(prefix, text, "")


def times(milliseconds: np.ndarray, mask: np.ndarray | None = None) -> pa.Array:
    """Times from ms since the epoch, null where ``mask``."""
    return pa.array(milliseconds * 1000, pa.int64(), mask=mask).cast(TIME)
