"""Feast for jobs: the store of a home, one online read, batched pushes.

``python -m aigq.features`` prints the ``feast`` command line of the shop in AIGQ_HOME.
"""

import os
import shlex
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from aigq.settings import PROJECT_ROOT, Home, UserError

REPOSITORY = PROJECT_ROOT / "feature_repo"
SURFACE = "home"
_PUSH_ROWS = 20_000
# Of the services that jobs read: the oldest, and the newest, which an older registry lacks.
_SERVICES = ("hint_recall", "clicked_recall")


def config_path(home: Home) -> Path:
    """``feature_store.yaml`` of ``home``: the checked-in one for ./data of the checkout, else one
    with that home's paths, written to ``online/``.

    Where ``AIGQ_REDIS`` is set (Feast's connection string: ``host:port[,option=value ...]``), it is
    ``feature_store.redis.yaml``, whose online store is that Redis, with a registry of its own:
    whoever works without the variable meanwhile does not take its place.
    """
    checked_in = REPOSITORY / "feature_store.yaml"
    redis = os.environ.get("AIGQ_REDIS")
    if home.root.resolve() == (PROJECT_ROOT / "data").resolve() and not redis:
        return checked_in
    config = yaml.safe_load(checked_in.read_text(encoding="utf-8"))
    config["registry"] = str(home.online / ("registry.redis.db" if redis else "registry.db"))
    config["online_store"]["path"] = str(home.online / "online_store.db")
    if redis:
        config["online_store"] = {"type": "redis", "connection_string": redis}
    text = yaml.safe_dump(config, sort_keys=False)
    path = home.online / ("feature_store.redis.yaml" if redis else "feature_store.yaml")
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        home.online.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return path


def feast_command(home: Home) -> list[str]:
    """The ``feast`` command line of ``home``, to be followed by ``apply``, ``materialize`` ...

    Runs in the repository root, with ``AIGQ_HOME`` set as for this process.
    """
    path = config_path(home)
    if path.parent == REPOSITORY:
        return ["feast", "-c", REPOSITORY.name]
    return ["feast", "-f", str(path), "-c", REPOSITORY.name]


def open_store(home: Home) -> Any:
    """The ``feast.FeatureStore`` of ``home``.

    Raises :class:`UserError` where ``feast apply`` has not been run for it.
    """
    path = config_path(home)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Feast would import it within the first read, whatever store is in use.
        import feast.infra.online_stores.redis  # noqa: F401
        from feast import FeatureStore
        from feast.errors import FeastObjectNotFoundException

        store = FeatureStore(repo_path=str(REPOSITORY), fs_yaml_file=path)
    apply = f"run `{shlex.join(feast_command(home))} apply`"
    if not Path(store.config.registry.path).is_file():
        raise UserError(f"no feature registry in {home.online}: {apply} first")
    for service in _SERVICES:
        try:
            store.get_feature_service(service)
        except FeastObjectNotFoundException:
            raise UserError(
                f"the feature registry in {home.online} has no {service}: {apply} first"
            ) from None
    return store


def read_online(store: Any, service: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """One online read of a feature service for one set of entity keys.

    Returns ``{"view__feature": value}`` (None where the store has none), and for each of them
    ``"view__feature__ts"``, the row's event timestamp as aware ``datetime`` (None likewise).
    """
    return read_online_rows(store, service, [keys])[0]


def read_online_rows(
    store: Any, service: str, keys: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    """:func:`read_online` for several sets of entity keys, in one read."""
    found = store.get_online_features(
        features=store.get_feature_service(service),
        entity_rows=[dict(row) for row in keys],
        full_feature_names=True,
    ).to_dict(True)
    return [
        {
            name: _as_datetime(values[i]) if name.endswith("__ts") else values[i]
            for name, values in found.items()
        }
        for i in range(len(keys))
    ]


def push_online(store: Any, source: str, rows: Any) -> None:
    """Push ``rows`` (a pyarrow table of the columns of the view's source) to the online store.

    A row older than the one that is there is not taken (:mod:`aigq.online_store`). Large batches: a
    push costs milliseconds, a row microseconds.
    """
    from feast.data_source import PushMode

    for start in range(0, rows.num_rows, _PUSH_ROWS):
        batch = rows.slice(start, _PUSH_ROWS).to_pandas()
        store.push(source, batch, to=PushMode.ONLINE)


def _as_datetime(value: Any) -> datetime | None:
    if not value:  # Feast writes 0 where there is no row
        return None
    return value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)


if __name__ == "__main__":
    print(shlex.join(feast_command(Home.from_environment())))
