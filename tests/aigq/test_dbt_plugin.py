"""Where DuckDB spills while dbt runs."""

from aigq.dbt_plugin import _folder_of_ones_own


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
