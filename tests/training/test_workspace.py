"""A training run finds its own past again, and nobody else's."""

import fcntl

import pytest

from aigq import jobs, models, warehouse
from aigq.settings import UserError
from training.workspace import Snapshot, already_published, open_workspace


def test_interrupted_run_keeps_its_snapshot(own_home):
    with jobs.job(own_home, "train x", {}) as run, open_workspace(run, "x", {"lr": 1}) as first:
        assert first.snapshot == run.snapshot_read
    # The lake moves on; the rerun still reads what the first attempt read.
    warehouse.write(own_home, lambda con: con.execute("DELETE FROM lake.samples.samples_direct"))
    with jobs.job(own_home, "train x", {}) as run:
        with open_workspace(run, "x", {"lr": 1}) as again:
            assert again == first
            assert run.metrics["snapshot"] == first.snapshot < run.snapshot_read
            with Snapshot(own_home, again.snapshot) as snapshot:
                rows = snapshot.rows("select * from lake.samples.samples_direct")
                assert len(rows) == 150
        with open_workspace(run, "x", {"lr": 2}) as other:
            assert other.path != first.path
            assert other.snapshot == run.snapshot_read
            assert already_published(own_home, "x", other) is None


def test_a_run_that_failed_before_its_first_checkpoint_is_forgotten(own_home):
    with (
        pytest.raises(UserError),
        jobs.job(own_home, "train x", {}) as run,
        open_workspace(run, "x", {}) as first,
    ):
        (first.path / "kept-0.json").write_text("[1]")  # of the tables as they were
        raise UserError("no tables yet")
    assert not first.path.exists()
    with jobs.job(own_home, "train x", {}) as run, open_workspace(run, "x", {}) as second:
        assert second.snapshot == run.snapshot_read > first.snapshot
        assert {path.name for path in second.path.iterdir()} == {"lock", "pinned.json"}
    with (
        pytest.raises(UserError),
        jobs.job(own_home, "train x", {}) as run,
        open_workspace(run, "x", {"lr": 1}) as third,
    ):
        (third.path / "checkpoint-4").mkdir()
        raise UserError("diverged")
    with jobs.job(own_home, "train x", {}) as run, open_workspace(run, "x", {"lr": 1}) as fourth:
        assert fourth == third


def test_two_processes_do_not_share_a_workspace(own_home):
    with (
        jobs.job(own_home, "train x", {}) as run,
        open_workspace(run, "x", {}),
        pytest.raises(UserError, match="another process is training"),
        open_workspace(run, "x", {}),
    ):
        pass


@pytest.mark.parametrize("moment", ["before the lock is opened", "before it is locked"])
def test_discarded_by_another_process_meanwhile(own_home, monkeypatch, moment):
    """Who had the folder gives it up between our finding it and our holding its lock."""
    found, locked = models.work_dir, fcntl.flock
    paths = []

    def find(*arguments):
        paths.append(found(*arguments))
        if len(paths) == 1 and moment == "before the lock is opened":
            models.discard_work(paths[0])
        return paths[-1]

    def hold(lock, how):
        if len(paths) == 1:
            models.discard_work(paths[0])
        locked(lock, how)

    monkeypatch.setattr(models, "work_dir", find)
    monkeypatch.setattr(fcntl, "flock", hold)
    with jobs.job(own_home, "train x", {}) as run, open_workspace(run, "x", {}) as work:
        assert work.path == paths[0] == paths[1] and len(paths) == 2
        assert {path.name for path in work.path.iterdir()} == {"lock", "pinned.json"}
        monkeypatch.undo()
        with pytest.raises(UserError, match="another process"), open_workspace(run, "x", {}):
            pass


def test_missing_table_names_the_build(own_home):
    with (
        Snapshot(own_home, 1) as snapshot,
        pytest.raises(UserError, match=r"snapshot 1 lacks a table: .*samples_direct"),
    ):
        snapshot.rows("select * from lake.samples.samples_direct")


def test_a_name_belongs_to_one_kind_of_model(own_home):
    """A base published as `direct` would be the newest `direct`, and hide the model that is one."""
    folder = own_home.models / "direct" / "v1"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text('{"job": "train sft"}')
    with (
        pytest.raises(UserError, match=r"'direct' is one of `aigq train sft`: .* another --name"),
        jobs.job(own_home, "train base", {}) as run,
        open_workspace(run, "direct", {}),
    ):
        pass
    with jobs.job(own_home, "train sft", {}) as run, open_workspace(run, "direct", {}):
        pass


def test_no_model_is_called_what_a_baseline_is(own_home):
    with (
        pytest.raises(UserError, match="'co_click' is what `aigq evaluate` calls a baseline"),
        jobs.job(own_home, "train x", {}) as run,
        open_workspace(run, "co_click", {}),
    ):
        pass


@pytest.mark.parametrize("name", ["..", ".work", "../x", "a/b", ""])
def test_names_that_are_other_folders(name):
    from training.il_sft.settings import SftSettings

    with pytest.raises(ValueError, match="name"):
        SftSettings(name=name)
    assert SftSettings(name="direct-2.1").model_name == "direct-2.1"
