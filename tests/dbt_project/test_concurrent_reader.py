"""An analyst reads label_lists in a loop while dbt builds: no read fails, each sees it whole."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from aigq.settings import Home

_WHOLE = "select count(*), sum(hash(t)) from lake.labels.label_lists as t"
# Each defines `opened()`, given the data home: a connection for one read.
READERS = {
    "a connection for each read, as aigq sql has": """
from pathlib import Path
from aigq import warehouse
from aigq.settings import Home

def opened():
    return warehouse.connect(Home(Path(sys.argv[1])), read_only=True)
""",
    "one connection, as in README": """
import duckdb

con = duckdb.connect()
con.execute(f"ATTACH 'ducklake:sqlite:{sys.argv[1]}/lake/catalog.sqlite' AS lake (READ_ONLY)")

def opened():
    return con.cursor()
""",
}
# Prints what each read sees, until its standard input is closed.
_LOOP = f"""
while not select.select([sys.stdin], [], [], 0)[0]:
    with opened() as con_of_read:
        print(*con_of_read.execute("{_WHOLE}").fetchone(), flush=True)
    time.sleep(0.05)
"""


class Reader:
    """A process that reads the lake in a loop from the moment it is made until :meth:`stop`."""

    def __init__(self, home: Home, folder: Path, opened: str):
        command = [
            sys.executable,
            "-c",
            "import select, sys, time\n" + opened + _LOOP,
            str(home.root),
        ]
        folder.mkdir()
        self._seen, self._errors = folder / "seen", folder / "errors"
        with self._seen.open("w") as seen, self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=seen, stderr=errors
            )
        while not self.reads() and self._process.poll() is None:
            time.sleep(0.05)

    def reads(self) -> list[str]:
        return self._seen.read_text().splitlines()

    def stop(self) -> tuple[int, str]:
        self._process.stdin.close()
        return self._process.wait(), self._errors.read_text()


@pytest.mark.slow
def test_a_reader_never_fails(growing_shop, tmp_path, insert_raw, run_dbt, rows_of):
    """During a full build, then during that of one more day."""
    home, days, variables = growing_shop
    for day, build in zip(days, (("build", "--full-refresh"), ("build",)), strict=True):
        (old,) = (" ".join(map(str, row.values())) for row in rows_of(home, _WHOLE))
        insert_raw(home, **day)
        readers = {
            name: Reader(home, tmp_path / f"{build} {name}", opened)
            for name, opened in READERS.items()
        }
        run_dbt(home, *build, variables=variables)
        (new,) = (" ".join(map(str, row.values())) for row in rows_of(home, _WHOLE))
        assert new != old, "a day that changes nothing proves nothing"
        for name, reader in readers.items():
            code, error = reader.stop()
            assert code == 0, f"{name}, {build}: {error}"
            reads = reader.reads()
            assert len(reads) > 20, name
            # Once it has seen the new table it never sees the old one again, nor anything between.
            of_new = reads.count(new)
            assert of_new > 0, name
            assert reads == [old] * (len(reads) - of_new) + [new] * of_new, f"{name}, {build}"
