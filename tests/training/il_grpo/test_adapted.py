"""Which version is measured on which day, and what is drawn of it."""

import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime

from aigq import models
from training.il_grpo.adapted import draw, serving


def test_a_day_is_served_by_the_newest_version_that_had_not_seen_it(tmp_path, make_home):
    home = make_home(tmp_path)
    for day in (4, 5, 7):
        build = home.models / "build"
        build.mkdir(parents=True)
        end = f"2026-03-{day:02}T00:00:00+00:00"
        models.publish(home, "policy", str(day), build, {"train_end_at": end})
    versions = models.versions(home, "policy")
    found = [serving(versions, datetime(2026, 3, day, tzinfo=UTC)) for day in range(3, 9)]
    assert [model and model.version for model in found] == [None, "4", "5", "5", "7", "7"]


def test_bars_by_day():
    low = {"query_hr": (0.2, 0.1, 0.3), "cate_hr": (0.5, 0.4, 0.6)}
    high = {"query_hr": (0.4, 0.3, 0.5), "cate_hr": (0.6, 0.5, 0.8)}
    days = [date(2026, 3, 4), date(2026, 3, 5)]
    root = ET.fromstring(
        draw(days, {"adapted daily": [low, high], "frozen": [low, low]}).replace(' xmlns="', ' w="')
    )
    first, second = root.findall("g")
    heights = [float(bar.get("height")) for bar in first.iter("rect")]
    # Adapted and frozen of the first day are alike; of the second the adapted is twice as high.
    assert heights[0] == heights[1] == heights[3] == heights[2] / 2
    assert {"Query HR@10", "03-04", "03-05"} <= {text.text for text in first.iter("text")}
    assert len(list(second.iter("rect"))) == 4
