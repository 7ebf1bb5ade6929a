"""The files of a made-up shop: the raw contract's tables, and the truth apart in ``truth/``.

Files grow in ``DIR/.partial-*`` and are renamed when all are whole. ``events.parquet`` of an
earlier run goes first and the new one comes last: while it is there, so is all it refers to.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from aigq.contract import TRUTH
from aigq.settings import UserError
from aigq.simulator.ids import TIME

SCHEMAS = {
    "users": pa.schema(
        {
            "user_id": pa.string(),
            "age_band": pa.string(),
            "gender": pa.string(),
            "region": pa.string(),
            "registered_at": TIME,
        }
    ),
    "items": pa.schema(
        {
            "item_id": pa.string(),
            "title": pa.string(),
            "leaf_category_id": pa.string(),
            "leaf_category": pa.string(),
            "category_path": pa.string(),
            "brand": pa.string(),
            "attributes": pa.map_(pa.string(), pa.string()),
            "tags": pa.list_(pa.string()),
            "price": pa.float64(),
        }
    ),
    "hint_requests": pa.schema(
        {"request_id": pa.string(), "user_id": pa.string(), "requested_at": TIME}
    ),
    "hint_candidates": pa.schema(
        {
            "request_id": pa.string(),
            "rank": pa.int32(),
            "query_text": pa.string(),
            "rank_score": pa.float64(),
            "recall_source": pa.string(),
            "displayed": pa.bool_(),
            "position": pa.int32(),
            "clicked_at": TIME,
        }
    ),
    "events": pa.schema(
        {
            "event_id": pa.string(),
            "user_id": pa.string(),
            "occurred_at": TIME,
            "action": pa.string(),
            "query_text": pa.string(),
            "item_id": pa.string(),
            "quantity": pa.int32(),
            "price": pa.float64(),
        }
    ),
}
# What no log tells. Settings and, of a given catalog, its queries lie beside them.
TRUTH_SCHEMAS = {
    # How each interest of each user became what it is; strength halves every half-life from then.
    "interests": pa.schema(
        {
            "user_id": pa.string(),
            "slot": pa.int32(),
            "changed_at": TIME,
            "leaf_category_id": pa.string(),
            "taste": pa.list_(pa.int32()),
            "strength": pa.float64(),
            "half_life_days": pa.float64(),
        }
    ),
    # aim: the slot of the interest that brought the user; is_browsing: looked at no hint.
    "requests": pa.schema(
        {"request_id": pa.string(), "aim": pa.int32(), "is_browsing": pa.bool_()}
    ),
    # Displayed candidates. click_probability: of one who does not browse; purchase_probability: of
    # an order or more, once clicked.
    "hints": pa.schema(
        {
            "request_id": pa.string(),
            "rank": pa.int32(),
            "position": pa.int32(),
            "relevance": pa.float64(),
            "is_examined": pa.bool_(),
            "click_probability": pa.float64(),
            "purchase_probability": pa.float64(),
        }
    ),
}
SETTINGS_FILE = "settings.yaml"
PAIRS_FILE = "query_items.parquet"


@contextmanager
def publish(folder: Path) -> Iterator[Path]:
    """A folder to write the tables into; they appear in ``folder`` when the block ends well.

    Raises :class:`UserError` where another run writes there, where ``folder`` holds other contract
    files, which ingest would take for the same shop's, or a ``truth`` of somebody else's, or where
    it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"another `aigq simulate` is writing to {folder}") from None
        for path in sorted(folder.iterdir()):
            table, _, suffix = path.name.partition(".")
            if table in SCHEMAS and suffix != "parquet":
                raise UserError(
                    f"{path} is not the simulator's: give another --out, or move it away"
                )
        truth = folder / TRUTH
        if truth.exists() and not (truth / SETTINGS_FILE).exists():
            raise UserError(f"{truth} is not the simulator's: give another --out, or move it away")
        for leftover in folder.glob(".partial-*"):
            shutil.rmtree(leftover)
        try:
            partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
            (partial / TRUTH).mkdir()
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}") from None
        try:
            yield partial
            for table in SCHEMAS:
                # The old log goes before the new one comes: a kill leaves no mixture to ingest.
                (folder / f"{table}.parquet").unlink(missing_ok=True)
            if truth.exists():
                # Renamed first: half a truth would not be recognised by the next run.
                truth.rename(folder / f"{partial.name}-old-truth")
                shutil.rmtree(folder / f"{partial.name}-old-truth")
            (partial / TRUTH).replace(truth)
            for table in SCHEMAS:
                (partial / f"{table}.parquet").replace(folder / f"{table}.parquet")
        finally:
            shutil.rmtree(partial)
    finally:
        os.close(handle)
