"""What the benchmark of a day's cost says of its measurements."""

from history import rows
from measure import Taken


def test_medians_and_what_grows_most():
    """Twice the history: the build takes twice as long, the slow third repetition aside."""
    results = [
        {
            "days": days,
            "taken": {
                "ingest, one more day": [vars(Taken(1.0, 2.0, 0))],
                "dbt build, one more day": [
                    vars(Taken(s, 2 * s, 0)) for s in (build, build, 100.0)
                ],
            },
            "nodes": {
                "model.aigq.same": 3.0,
                "test.aigq.grows": build - 3.0,
                "model.aigq.none": none,
            },
        }
        for days, build, none in ((10, 4.0, 0.0), (20, 8.0, 0.1))
    ]
    assert rows(results) == [
        ["ingest, one more day: seconds", "1.00", "1.00", "0.00"],
        ["ingest, one more day: processor seconds", "2.00", "2.00", "0.00"],
        ["dbt build, one more day: seconds", "4.00", "8.00", "1.00"],
        ["dbt build, one more day: processor seconds", "8.00", "16.00", "1.00"],
        ["models, tests and hooks", "4.00", "8.10", "1.02"],
        ["of which grows", "1.00", "5.00", "2.32"],
        ["of which same", "3.00", "3.00", "0.00"],
    ]
