"""Where DuckDB spills while dbt runs, and how a feature's file is replaced."""

import fcntl
from pathlib import Path
from types import SimpleNamespace

import duckdb
import pytest

from aigq.dbt_plugin import Plugin, _folder_of_ones_own, _link_file
from aigq.settings import PROJECT_ROOT


def test_what_killed_builds_spilled_goes_and_others_keep_theirs(tmp_path):
    at_work, folder = _folder_of_ones_own(tmp_path)
    killed, leftover = _folder_of_ones_own(tmp_path)
    for path in (folder, leftover):
        path.mkdir()
        (path / "duckdb_temp_storage-0.tmp").touch()
    killed.close()
    third, other = _folder_of_ones_own(tmp_path)
    assert not leftover.exists() and [*folder.iterdir()]
    assert len({folder, leftover, other}) == 3
    at_work.close()
    third.close()
    _folder_of_ones_own(tmp_path)
    assert not folder.exists()


@pytest.mark.timeout(60)
def test_who_connects_again_does_not_wait_for_itself(tmp_path, monkeypatch):
    """As dbt does where something failed after the first time, such as to attach a database."""
    monkeypatch.setenv("AIGQ_HOME", str(tmp_path))
    monkeypatch.setattr(
        "aigq.dbt_plugin.get_flags", lambda: SimpleNamespace(WHICH="run", PROJECT_DIR=PROJECT_ROOT)
    )
    lake = SimpleNamespace(path=f"ducklake:sqlite:{tmp_path}/lake/catalog.sqlite")
    plugin = Plugin("aigq", {}, SimpleNamespace(attach=[lake], settings={}))
    for _ in range(2):
        plugin.configure_connection(duckdb.connect())
    with pytest.raises(BlockingIOError):
        fcntl.flock((tmp_path / "lake" / "write.lock").open("w"), fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_gets_a_second_name(tmp_path, monkeypatch, has_links):
    if not has_links:

        def refuse(*_):
            raise OSError("no links here")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
    source, target = tmp_path / "lake.parquet", tmp_path / "feature.parquet"
    source.write_text("new")
    target.write_text("old")
    (tmp_path / "feature.parquet.partial").write_text("of a build that was killed")
    for _ in range(2):  # the second time it is that file already
        assert _link_file(str(source), str(target))
        assert {p.name for p in tmp_path.iterdir()} == {source.name, target.name}
        assert target.read_text() == "new"
        assert target.samefile(source) == has_links
    source.unlink()
    assert target.read_text() == "new", "the lake may forget its file"
