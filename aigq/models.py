"""Trained models on disk: ``models/<name>/<version>/``, published whole or not at all.

A version is a directory with a merged checkpoint, its tokenizer and ``manifest.json``. It is built
elsewhere under ``models/`` and renamed into place, so whoever lists versions sees complete ones
only. Versions sort by time; the newest is what a bare name means.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aigq.settings import Home, UserError

MANIFEST = "manifest.json"
_WORK = ".work"
# `kind` in the manifest of models of `aigq train ebr`.
EBR = "ebr"
# What `aigq evaluate` shows beside models: lists made by SQL (`eval.baseline_lists`).
BASELINES = ("popularity", "popularity_profile", "co_click", "own_recent", "co_click_own")
# How the models get made that others stand on.
_MAKERS = {
    "base": "train base",
    "base_think": "train base --name base_think --think-share 0.5",
    "base_small": "train base --recipe small",
    "base_think_small": "train base --recipe small --name base_think_small --think-share 0.5",
    "item_text": "train item_text",
    "ctr": "train ctr",
    EBR: "train ebr",
    "direct": "train sft --variant direct",
    "think": "train sft --variant think",
}


@dataclass(frozen=True)
class Model:
    """A published model version."""

    name: str
    version: str
    path: Path

    @property
    def reference(self) -> str:
        """What finds it again: ``name@version``."""
        return f"{self.name}@{self.version}"

    @property
    def manifest(self) -> dict[str, Any]:
        """What the version was made from: lake snapshot, recipe, code version, seed, metrics.

        Raises :class:`UserError` where the file is not what :func:`publish` writes.
        """
        file = self.path / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise UserError(f"{file} is no JSON: {error}") from None
        if not isinstance(manifest, dict):
            raise UserError(f"{file}: expected a JSON object, got {type(manifest).__name__}")
        return manifest


@dataclass(frozen=True)
class Checkpoint(Model):
    """A folder with a checkpoint that was not published here; its files make the version."""

    @property
    def reference(self) -> str:
        """The folder."""
        return str(self.path)

    @property
    def manifest(self) -> dict[str, Any]:
        """Its own, where it has one; nothing else is known of it."""
        return super().manifest if (self.path / MANIFEST).is_file() else {}


def work_dir(home: Home, name: str, key: str) -> Path:
    """The directory where the training run ``key`` of model ``name`` keeps its checkpoints.

    The same key finds the same directory again: that is how a killed run is resumed.
    """
    path = home.models / _WORK / f"{name}-{key}"
    path.mkdir(parents=True, exist_ok=True)
    return path


def publish(home: Home, name: str, version: str, build: Path, manifest: Mapping[str, Any]) -> Model:
    """Turn the directory ``build`` into version ``version`` of model ``name`` by one rename."""
    manifest = {"name": name, "version": version, **manifest}
    (build / MANIFEST).write_text(json.dumps(manifest, indent=2, default=str) + "\n")
    target = home.models / name / version
    target.parent.mkdir(parents=True, exist_ok=True)
    build.rename(target)
    return Model(name, version, target)


def discard_work(path: Path) -> None:
    """Remove a finished run's checkpoints; killed half way, none of them is found again."""
    gone = path.with_name(f".{path.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)


def versions(home: Home, name: str) -> list[Model]:
    """The published versions of ``name``, oldest first."""
    return [
        Model(name, path.name, path)
        for path in sorted((home.models / name).glob("*"))
        if (path / MANIFEST).is_file()
    ]


def resolve(home: Home, reference: str) -> Model:
    """The model behind ``name`` (its newest version) or ``name@version``.

    Raises :class:`UserError` naming the versions there are.
    """
    name, _, version = reference.partition("@")
    found = versions(home, name)
    if not found:
        known = sorted(p.name for p in home.models.glob("*") if p.is_dir() and p.name != _WORK)
        maker = f"; `aigq {_MAKERS[name]}` makes it" if name in _MAKERS else ""
        raise UserError(
            f"no model {name!r} in {home.models}; there are: {', '.join(known) or 'none'}{maker}"
        )
    if not version:
        return found[-1]
    for model in found:
        if model.version == version:
            return model
    raise UserError(
        f"no version {version!r} of model {name!r}; there are: "
        + ", ".join(m.version for m in found)
    )


def resolve_checkpoint(home: Home, reference: str) -> Model:
    """As :func:`resolve`; ``reference`` may also be a folder with a checkpoint.

    Raises :class:`UserError` where that folder holds none.
    """
    path = Path(reference)
    if not path.is_dir():
        return resolve(home, reference)
    if not (path / "config.json").is_file():
        raise UserError(f"{path} holds no checkpoint: it has no config.json")
    path = path.resolve()
    files = sorted((f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in path.iterdir())
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()[:12]
    return Checkpoint(path.name, f"files-{digest}", path)
