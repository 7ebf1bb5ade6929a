"""The contexts of users' lists, and which lists were made from the contexts users have now."""

import json
from collections import defaultdict
from datetime import datetime

import pyarrow as pa

from aigq import warehouse
from aigq.settings import Home
from inference.direct import DirectModel


def read_contexts(con, users: list[str], moment: datetime) -> None:
    """The users' contexts into the temporary table ``contexts``, in one query: a result that stays
    open while lists are generated would keep the catalog locked against writers."""
    con.register("chosen", pa.table({"user_id": users}))
    con.execute(
        """
        CREATE TEMP TABLE contexts AS
        WITH recent AS (
            SELECT
                user_id,
                list_reverse(max_by(
                    {
                        'days_ago': date_diff(
                            'day',
                            behavior_date,
                            ($moment::TIMESTAMPTZ AT TIME ZONE shop_timezone)::DATE
                        ),
                        'action': action,
                        'content_text': content_text
                    },
                    behavior_order,
                    $newest
                )) AS behaviors
            FROM lake.behavior.behaviors
            SEMI JOIN chosen USING (user_id)
            CROSS JOIN lake.meta.shop
            WHERE occurred_at < $moment
            GROUP BY user_id
        )
        SELECT user_id, age_band, gender, region, behaviors
        FROM chosen
        LEFT JOIN lake.features.user_profile USING (user_id)
        LEFT JOIN recent USING (user_id)
        """,
        {
            "moment": moment,
            "newest": con.execute("SELECT max_behaviors FROM lake.meta.shop").fetchone()[0],
        },
    )


def earlier_lists(home: Home, direct: DirectModel, moment: datetime) -> dict[str, str]:
    """Run id of the list of each user whose newest for this moment is of this model version.

    A list that another version's has replaced since is missing: who asks for an older model again
    wants its lists served.
    """
    con = warehouse.connect(home, read_only=True)
    try:
        return dict(
            con.execute(
                "SELECT user_id, max(run_id) FROM lake.serving.u2q_runs WHERE generated_at = ?"
                " GROUP BY user_id HAVING arg_max(model_version, run_id) = ?",
                [moment, direct.model.version],
            ).fetchall()
        )
    finally:
        con.close()


def known_runs(home: Home, direct: DirectModel, moment: datetime) -> list[str]:
    """The runs that wrote lists of this model version and moment so far."""
    con = warehouse.connect(home, read_only=True)
    try:
        runs = con.execute(
            "SELECT DISTINCT run_id FROM lake.serving.u2q_runs"
            " WHERE model_version = ? AND generated_at = ?",
            [direct.model.version, moment],
        ).fetchall()
    finally:
        con.close()
    return [run_id for (run_id,) in runs]


def same_context(
    home: Home, con, direct: DirectModel, moment: datetime, earlier: dict[str, str]
) -> list[str]:
    """Of the users in ``contexts``, those whose list is what would be generated now.

    Every run recorded the lake snapshot it read, so the context of an earlier list is read again
    there and compared. A run whose snapshot is gone or with another ``max_tokens`` does not count.
    """
    now = _hashes(con)
    users: dict[int, list[str]] = defaultdict(list)
    snapshots = _snapshots(home, direct)
    for user in now.keys() & earlier.keys():
        if (snapshot := snapshots.get(earlier[user])) is not None:
            users[snapshot].append(user)
    same = []
    for snapshot, of_snapshot in users.items():
        then_con = warehouse.connect(home, read_only=True, snapshot=snapshot)
        try:
            read_contexts(then_con, of_snapshot, moment)
            then = _hashes(then_con)
        finally:
            then_con.close()
        same += [user for user in of_snapshot if then[user] == now[user]]
    return sorted(same)


def _hashes(con) -> dict[str, str]:
    return dict(
        con.execute(
            "SELECT user_id, md5({p: [age_band, gender, region], b: behaviors}::JSON::VARCHAR)"
            " FROM contexts"
        ).fetchall()
    )


def _snapshots(home: Home, direct: DirectModel) -> dict[str, int]:
    """The snapshot that each run with this ``max_tokens`` read, where the lake still has it."""
    con = warehouse.connect(home, read_only=True)
    try:
        runs = con.execute(
            "SELECT run_id, snapshot_read, parameters FROM lake.meta.runs"
            " WHERE job = 'generate u2q'"
            " AND snapshot_read IN (SELECT snapshot_id FROM ducklake_snapshots('lake'))"
        ).fetchall()
    finally:
        con.close()
    return {
        run_id: snapshot
        for run_id, snapshot, parameters in runs
        if json.loads(parameters).get("max_tokens") == direct.sampling.max_tokens
    }
