"""Model versions appear whole or not at all, and the newest is what a name means."""

import pytest

from aigq import models
from aigq.settings import Home, UserError


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def _publish(home, name, version, **manifest):
    build = models.work_dir(home, name, version)
    (build / "weights").write_text(version)
    return models.publish(home, name, version, build, manifest)


def test_published_whole_by_a_rename(home):
    model = _publish(home, "direct", "20240101T000000", metrics={"loss": 1.5})
    assert (model.path / "weights").read_text() == "20240101T000000"
    assert model.manifest == {
        "name": "direct",
        "version": "20240101T000000",
        "metrics": {"loss": 1.5},
    }
    assert list((home.models / ".work").iterdir()) == []


def test_resolve(home):
    for version in ("20240102T000000", "20240101T000000", "20231231T235959"):
        _publish(home, "direct", version)
    _publish(home, "base", "20250101T000000")
    assert models.resolve(home, "direct").version == "20240102T000000"
    assert models.resolve(home, "direct@20240101T000000").version == "20240101T000000"
    with pytest.raises(UserError, match=r"no version 'x' of model 'direct'.*20231231T235959"):
        models.resolve(home, "direct@x")
    with pytest.raises(UserError, match=r"no model 'think' in .*there are: base, direct"):
        models.resolve(home, "think")


@pytest.mark.parametrize(
    ("name", "maker"),
    [("base", "train base"), ("base_small", "train base --recipe small"), ("ctr", "train ctr")],
)
def test_no_models_at_all(home, name, maker):
    with pytest.raises(UserError, match=f"there are: none; `aigq {maker}` makes it"):
        models.resolve(home, name)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", r"manifest\.json is no JSON"), ("[1]", "expected a JSON object, got list")],
)
def test_a_broken_manifest_is_named(home, text, message):
    model = _publish(home, "direct", "1")
    (model.path / models.MANIFEST).write_text(text)
    with pytest.raises(UserError, match=message):
        models.resolve(home, "direct").manifest  # noqa: B018


def test_unfinished_work_is_no_version_and_no_model(home):
    work = models.work_dir(home, "direct", "recipe-1")
    (work / "checkpoint").write_text("half")
    assert models.work_dir(home, "direct", "recipe-1") == work
    (home.models / "direct" / "20240101T000000").mkdir(parents=True)
    assert models.versions(home, "direct") == []
    with pytest.raises(UserError, match="no model 'direct'"):
        models.resolve(home, "direct")
    models.discard_work(work)
    assert not work.exists()


def test_a_version_is_never_overwritten(home):
    _publish(home, "direct", "v1", seed=1)
    with pytest.raises(OSError, match="not empty"):
        _publish(home, "direct", "v1", seed=2)
    assert models.resolve(home, "direct").manifest["seed"] == 1
