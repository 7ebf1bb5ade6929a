"""What the dbt project should make of a log, written again in plain Python from method.md.

Slow, short, and sharing nothing with the SQL: times are compared as instants, days are cut with
``zoneinfo``, text is normalised by ``unicodedata``.
"""

import hashlib
import math
import random
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

Row = dict[str, Any]
# Of a session, best tier first: its name, and the score of each query, best query first.
Tiers = list[tuple[str, dict[str, float | None]]]
CONTENT_ACTIONS = ("search", "item_click", "cart", "order")
# Stands on every action but searches, as the contract allows: nobody ever searched it.
STRAY_TEXT = "never searched"


def normalize(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).lower().split())


def random_shop(seed: int, zone: str, first: date, days: int, users: int = 14) -> dict[str, Any]:
    """Raw tables of a small, nasty shop: few distinct moments (so ties abound), many of them at
    midnight of the zone, spellings of one query, repeated queries, unknown items, late ids."""
    rng = random.Random(seed)
    tz = ZoneInfo(zone)
    spellings = [
        "Tent",
        "tent ",
        "ＴＥＮＴ",
        "red  Lamp",
        "red lamp",
        "stove",
        "寝袋",
        "Straße",
        "boots",
    ]
    start = datetime(first.year, first.month, first.day, tzinfo=tz).astimezone(UTC)

    def moment() -> datetime:
        hours = rng.choice([-1, 0, 0, 1, 2, 9, 9, 15, 23])
        jump = rng.choice([0, 0, 0, 1, 59_999_999])
        return start + timedelta(days=rng.randrange(days), hours=hours, microseconds=jump)

    raw: dict[str, list[Row]] = {
        name: [] for name in ("users", "items", "events", "hint_requests", "hint_candidates")
    }
    for item in range(8):
        raw["items"].append(
            {
                "item_id": f"i{item}",
                "title": f"Thing  {item}",
                "leaf_category_id": f"c{item % 3}",
                "leaf_category": f"Category {item % 3}",
            }
        )
    for user in range(users):
        if user % 5:
            raw["users"].append(
                {"user_id": f"u{user}", "age_band": f"a{user % 3}", "gender": "f", "region": None}
            )
    event_ids = [f"e{n}" for n in range(users * days * 4)]
    rng.shuffle(event_ids)
    for event_id in event_ids:
        action = rng.choice([*CONTENT_ACTIONS, "search", "item_click", "search_entry", "app_exit"])
        raw["events"].append(
            {
                "event_id": event_id,
                "user_id": f"u{rng.randrange(users)}",
                "occurred_at": moment(),
                "action": action,
                "query_text": rng.choice(spellings) if action == "search" else STRAY_TEXT,
                "item_id": f"i{rng.randrange(9)}"
                if action in ("item_click", "cart", "order")
                else None,
            }
        )
    for number in range(users * days):
        request = f"r{number}"
        requested_at = moment()
        raw["hint_requests"].append(
            {
                "request_id": request,
                "user_id": f"u{rng.randrange(users + 1)}",
                "requested_at": requested_at,
            }
        )
        for rank in range(1, rng.randrange(1, 9)):
            displayed = rank <= 3
            clicked = displayed and rng.random() < 0.3
            later = timedelta(seconds=rng.choice([1, 1, 5, 40_000]))
            raw["hint_candidates"].append(
                {
                    "request_id": request,
                    "rank": rank,
                    "query_text": rng.choice(spellings),
                    "rank_score": rng.choice([None, 0.1, 0.5, 0.5, 0.9]),
                    "recall_source": "popular",
                    "displayed": displayed,
                    "position": rank if displayed else None,
                    "clicked_at": requested_at + later if clicked else None,
                }
            )
    # Never typed, so that no item is ever clicked after it. By draws of its own: those above stay.
    own = random.Random(seed)
    for candidate in raw["hint_candidates"]:
        if own.random() < 0.02:
            candidate["query_text"] = "lantern"
    return raw


def random_job_rows(raw: dict[str, list[Row]], seed: int, zone: str) -> dict[str, Any]:
    """Tables that jobs write, by schema: two runs with different rows, sessions and items that do
    not exist, spellings, judgements of queries that are no candidates, neighbours of queries that
    are clicked and of one that never is (lantern)."""
    rng = random.Random(seed)
    days = sorted({e["occurred_at"].astimezone(ZoneInfo(zone)).date() for e in raw["events"]})
    users = [*sorted({e["user_id"] for e in raw["events"]}), "nobody"]
    written: dict[str, Any] = {
        "items": {"generated_texts": [], "query_neighbors": []},
        "think": {"llm_candidates": [], "alignments": []},
        "serving": {"x2q_triples": [], "x2q_scores": []},
    }
    for run_id in ("20200101T000000-a", "20200102T000000-b"):
        for item in rng.sample(range(10), 4):
            written["items"]["generated_texts"].append(
                {
                    "item_id": f"i{item}",
                    "item_text": rng.choice([f"{run_id}  {item}", f"text {item} ", " \n"]),
                    "model_version": run_id,
                    "run_id": run_id,
                }
            )
        for session in _some_sessions(rng, users, days):
            proposed = rng.sample(["Torch", "torch", "tent", "red LAMP", "map", "axe", " "], 4)
            written["think"]["llm_candidates"] += [
                {
                    "session_id": session,
                    "query_text": text,
                    "teacher_rank": rank,
                    "run_id": run_id,
                }
                for rank, text in enumerate(proposed, start=1)
            ]
            written["think"]["alignments"] += [
                {
                    "session_id": session,
                    "query_text": text,
                    "is_aligned": rng.random() < 0.5,
                    "reason": "",
                    "run_id": run_id,
                }
                for text in rng.sample(["torch", "tent", "stove", "red lamp", "boots"], 3)
            ]
    # Draws of their own: those above stay what they are.
    rng = random.Random(seed)
    for run_id in ("20200101T000000-a", "20200102T000000-b"):
        for text in ("lantern", "boots", "never searched before"):
            near = rng.choice(["tent", "red lamp", "寝袋", "nowhere either"])
            row = {"query_text": text, "neighbor_text": near, "similarity": rng.random()}
            written["items"]["query_neighbors"].append(row | {"run_id": run_id})
    written["serving"] = random_x2q_rows(random.Random(seed), users, days)
    return written


def _some_sessions(rng: random.Random, users: list[str], days: list[date]) -> list[str]:
    sessions = [f"{u}:{d}" for u in users for d in days]
    return rng.sample(sessions, min(60, len(sessions)))


def random_x2q_rows(rng: random.Random, users: list[str], days: list[date]) -> dict[str, list[Row]]:
    """Triples and scores with ties, repeats, unknown items, empty lists and unscored pairs."""
    texts = ["tent", "red lamp", "stove", "寝袋", "boots", "map", "never searched before"]
    contents = [f"item:i{n}" for n in range(10)] + [f"query:{text}" for text in texts]
    written: dict[str, list[Row]] = {"x2q_triples": [], "x2q_scores": []}
    for run_id in ("20200101T000000-a", "20200102T000000-b"):
        for session in _some_sessions(rng, users, days):
            for point in range(rng.randrange(1, 4)):
                written["x2q_triples"].append(
                    {
                        "run_id": run_id,
                        "session_id": session,
                        "point_index": point,
                        "triggers": rng.choices(contents, k=rng.randrange(4)),
                        "rationale": f"{session} {point}" if rng.random() < 0.9 else None,
                        "queries": rng.choices(texts, k=rng.randrange(4)),
                        "model_version": f"model {run_id}",
                    }
                )
        written["x2q_scores"] += [
            {
                "run_id": run_id,
                "trigger": trigger,
                "query_text": text,
                "relevance": rng.choice([0.0, 0.25, 0.5, 0.5, 1.0]),
                "predicted_ctr": rng.choice([None, 0.0, 0.125, 0.5]),
            }
            for trigger in contents
            for text in texts
            if rng.random() < 0.7
        ]
    return written


def fates(candidates: list[Row]) -> dict[tuple[str, str, str, str], tuple]:
    """Rows of labels.label_candidates as :meth:`Reference.label_candidates` has them."""
    return {
        (r["session_id"], r["variant"], r["tier"], r["query_text"]): (
            *(r["tier_rank"], r["rank_score"], r["is_clicked"], r["position"], r["drop_reason"]),
        )
        for r in candidates
    }


@dataclass(frozen=True)
class Reference:
    """The tables that the SQL is compared with, from raw rows, the shop's variables and the rows
    that jobs have written (by schema)."""

    raw: dict[str, list[Row]]
    variables: dict[str, Any]
    written: dict[str, dict[str, list[Row]]] = field(default_factory=dict)

    def newest_run(self, schema: str, table: str, *key: str) -> dict[tuple, list[Row]]:
        """Rows by key, of the newest run that has the key."""
        rows = self.written.get(schema, {}).get(table, [])
        found: dict[tuple, list[Row]] = defaultdict(list)
        for row in sorted(rows, key=lambda r: r["run_id"]):
            kept = found[tuple(row[k] for k in key)]
            if kept and kept[0]["run_id"] != row["run_id"]:
                kept.clear()
            kept.append(row)
        return found

    def item_texts(self) -> dict[str, str]:
        texts = {
            i["item_id"]: " ".join(f"{i['title']}, {i['leaf_category']}".split())
            for i in self.raw["items"]
        }
        # A later run that made nothing of an item leaves it its text.
        written = self.written.get("items", {}).get("generated_texts", [])
        for row in sorted(written, key=lambda r: r["run_id"]):
            if row["item_id"] in texts and row["item_text"].strip():
                texts[row["item_id"]] = " ".join(row["item_text"].split())
        return texts

    def day(self, moment: datetime) -> date:
        return moment.astimezone(ZoneInfo(self.variables["shop_timezone"])).date()

    def last_train_day(self) -> date:
        first = min(self.day(e["occurred_at"]) for e in self.raw["events"])
        return first + timedelta(days=self.variables["train_days"] - 1)

    def behaviors(self) -> dict[str, list[Row]]:
        """By user, in order."""
        items = self.item_texts()
        found = defaultdict(list)
        for e in sorted(self.raw["events"], key=lambda e: (e["occurred_at"], e["event_id"])):
            if e["action"] == "search":
                key, text = "query:" + normalize(e["query_text"]), normalize(e["query_text"])
            elif e["action"] in CONTENT_ACTIONS and e["item_id"] in items:
                key, text = "item:" + e["item_id"], items[e["item_id"]]
            else:
                continue
            found[e["user_id"]].append(e | {"content_key": key, "content_text": text})
        return found

    def context(self, past: list[Row], today: date) -> list[Row]:
        return [
            {
                "days_ago": (today - self.day(b["occurred_at"])).days,
                "action": b["action"],
                "content_text": b["content_text"],
                "content_key": b["content_key"],
            }
            for b in past[-self.variables["max_behaviors"] :]
        ]

    def profile(self, user_id: str) -> Row:
        known = {u["user_id"]: u for u in self.raw.get("users", [])}.get(user_id, {})
        return {name: known.get(name) for name in ("age_band", "gender", "region")}

    def direct_tiers(self) -> dict[str, Tiers]:
        """The tiers of each clicked request."""
        candidates = defaultdict(list)
        for c in self.raw.get("hint_candidates", []):
            candidates[c["request_id"]].append(c)
        found = {}
        for request in self.raw.get("hint_requests", []):
            own = candidates[request["request_id"]]
            clicks = [c for c in own if c["displayed"] and c["clicked_at"]]
            if not clicks:
                continue
            clicked: dict[str, float | None] = {}
            for c in sorted(clicks, key=lambda c: (c["clicked_at"], c["rank"])):
                clicked.setdefault(normalize(c["query_text"]), c["rank_score"])
            # The best spelling of a query comes first, and has its best score.
            ranked: dict[str, float | None] = {}
            for c in sorted(
                own, key=lambda c: (c["rank_score"] is None, -(c["rank_score"] or 0), c["rank"])
            ):
                ranked.setdefault(normalize(c["query_text"]), c["rank_score"])
            found[request["request_id"]] = [("click", clicked), ("rank", ranked)]
        return found

    def label_candidates(self) -> dict[tuple[str, str, str, str], tuple]:
        """Rank inside the tier, score, whether clicked, position and reason to drop it, by session,
        variant, tier and query."""
        judged = self.newest_run("think", "alignments", "session_id", "query_text")
        misaligned = {key for key, rows in judged.items() if not rows[0]["is_aligned"]}
        sessions = [("direct", s, tiers) for s, tiers in self.direct_tiers().items()]
        for session, (user, start, end) in self.think_sessions().items():
            sessions.append(("think", session, self.think_tiers(session, user, start, end)))
        found = {}
        for variant, session, tiers in sessions:
            (_, clicked), *_ = tiers
            before: set[str] = set()
            position = 0
            for tier, queries in tiers:
                for tier_rank, (query, score) in enumerate(queries.items(), 1):
                    if query in before:
                        reason = "duplicate"
                    elif variant == "think" and (session, query) in misaligned:
                        reason = "misaligned"
                    elif position == self.variables[f"{variant}_list_length"]:
                        reason = "beyond_length"
                    else:
                        reason = None
                        position += 1
                    found[session, variant, tier, query] = (
                        *(tier_rank, score, query in clicked),
                        *(None if reason else position, reason),
                    )
                before |= queries.keys()
        return found

    def labels(self, variant: str) -> dict[str, dict[str, str]]:
        """The tier of each label by session, best label first."""
        kept = defaultdict(dict)
        # As they were found: a session's in the order of their positions.
        for (session, of, tier, query), (*_, position, _reason) in self.label_candidates().items():
            if of == variant and position:
                kept[session][query] = tier
        return kept

    def samples(self) -> dict[str, Row]:
        """samples_direct by session id."""
        behaviors = self.behaviors()
        requests = {r["request_id"]: r for r in self.raw["hint_requests"]}
        found = {}
        for session, tiers in self.labels("direct").items():
            user, at = requests[session]["user_id"], requests[session]["requested_at"]
            past = [b for b in behaviors[user] if b["occurred_at"] < at]
            found[session] = self.sample(session, user, at, past, tiers)
        return found

    def ctr_samples(self) -> dict[str, Row]:
        """samples_ctr by session id."""
        behaviors = self.behaviors()
        found = {}
        for request in self.raw["hint_requests"]:
            session, user, at = (request[k] for k in ("request_id", "user_id", "requested_at"))
            shown = [
                c
                for c in self.raw["hint_candidates"]
                if c["request_id"] == session and c["displayed"]
            ]
            if not shown:
                continue
            past = [b for b in behaviors[user] if b["occurred_at"] < at]
            found[session] = {
                "session_id": session,
                "user_id": user,
                "session_start_at": at,
                "session_date": self.day(at),
                "split": "train" if self.day(at) <= self.last_train_day() else "test",
                **self.profile(user),
                "behaviors": self.context(past, self.day(at)),
                "exposures": [
                    {
                        "query_text": normalize(c["query_text"]),
                        "position": c.get("position"),
                        "is_clicked": c["clicked_at"] is not None,
                        "rank_score": c["rank_score"],
                    }
                    for c in sorted(shown, key=lambda c: c["rank"])
                ],
                "searched_next": sorted(
                    {
                        b["content_text"]
                        for b in behaviors[user]
                        if b["action"] == "search"
                        and b["occurred_at"] > at
                        and self.day(b["occurred_at"]) == self.day(at)
                    }
                ),
                "is_replayed": False,
            }
        return found

    def sample(
        self, session: str, user: str, at: datetime, past: list[Row], tiers: dict[str, str]
    ) -> Row:
        """``tiers``: the tier of each label, best label first."""
        labels = list(tiers)
        return {
            "session_id": session,
            "user_id": user,
            "session_start_at": at,
            "session_date": self.day(at),
            "split": "train" if self.day(at) <= self.last_train_day() else "test",
            **self.profile(user),
            "behaviors": self.context(past, self.day(at)),
            "labels": labels,
            "log_labels": sorted(
                labels, key=lambda q: hashlib.md5((session + q).encode()).hexdigest()
            ),
            "label_tiers": [tiers[q] for q in labels],
            "is_replayed": False,
        }

    def think_sessions(self) -> dict[str, tuple[str, datetime, datetime]]:
        """User, start and end by session id."""
        days = defaultdict(list)
        for e in self.raw["events"]:
            days[e["user_id"], self.day(e["occurred_at"])].append(e)
        found = {}
        for (user, day), events in days.items():
            entries = [e["occurred_at"] for e in events if e["action"] == "search_entry"]
            exits = [e["occurred_at"] for e in events if e["action"] == "app_exit"]
            end = max(exits or [e["occurred_at"] for e in events])
            if entries and min(entries) <= end:
                found[f"{user}:{day}"] = (user, min(entries), end)
        return found

    def think_tiers(self, session: str, user: str, start: datetime, end: datetime) -> Tiers:
        """The tiers of a session."""
        requests = {
            r["request_id"]
            for r in self.raw.get("hint_requests", [])
            if r["user_id"] == user and start <= r["requested_at"] <= end
        }
        scores: dict[str, list[float]] = defaultdict(list)
        clicks: dict[str, list[datetime]] = defaultdict(list)
        for c in self.raw.get("hint_candidates", []):
            if c["request_id"] in requests:
                query = normalize(c["query_text"])
                scores[query] += [c["rank_score"]] if c["rank_score"] is not None else []
                if c["displayed"] and c["clicked_at"]:
                    clicks[query].append(c["clicked_at"])
        searches: dict[str, list[datetime]] = defaultdict(list)
        for e in self.raw["events"]:
            own = e["user_id"] == user and start <= e["occurred_at"] <= end
            if own and e["action"] == "search":
                searches[normalize(e["query_text"])].append(e["occurred_at"])

        def often_then_late(moments: dict[str, list[datetime]]) -> list[str]:
            def order(query: str) -> tuple:
                return -len(moments[query]), -max(moments[query]).timestamp(), query

            return sorted(moments, key=order)

        proposed = self.newest_run("think", "llm_candidates", "session_id").get((session,), [])
        teacher: dict[str, int] = {}
        for row in sorted(proposed, key=lambda r: r["teacher_rank"]):
            if query := normalize(row["query_text"]):
                teacher.setdefault(query, row["teacher_rank"])
        tiers = [
            ("click", often_then_late(clicks)),
            ("rank", sorted(scores, key=lambda q: (-max(scores[q], default=-1.0), q))),
            ("search", often_then_late(searches)),
            ("llm", sorted(teacher, key=lambda q: (teacher[q], q))),
        ]
        best = {query: max(of_query, default=None) for query, of_query in scores.items()}
        return [(tier, {query: best.get(query) for query in queries}) for tier, queries in tiers]

    def think_samples(self) -> dict[str, Row]:
        """samples_think by session id."""
        behaviors = self.behaviors()
        sessions = self.think_sessions()
        found = {}
        for session, tiers in self.labels("think").items():
            user, start, _ = sessions[session]
            past = [b for b in behaviors[user] if b["occurred_at"] < start]
            found[session] = self.sample(session, user, start, past, tiers)
        return found

    def query_categories(self) -> dict[str, tuple[str, int]]:
        """Leaf category id and support by query, from training days; of a query without a click
        those of its nearest neighbour."""
        items = {i["item_id"]: i for i in self.raw["items"]}
        latest: dict[tuple, str] = {}
        counts = defaultdict(Counter)
        for e in sorted(self.raw["events"], key=lambda e: (e["occurred_at"], e["event_id"])):
            day = self.day(e["occurred_at"])
            if e["action"] == "search":
                latest[e["user_id"], day] = normalize(e["query_text"])
            elif e["action"] in CONTENT_ACTIONS and e["item_id"] in items:
                query = latest.get((e["user_id"], day))
                if query is not None and day <= self.last_train_day():
                    counts[query][items[e["item_id"]]["leaf_category_id"]] += 1
        found = {q: min(c.items(), key=lambda kv: (-kv[1], kv[0])) for q, c in counts.items()}
        typed = [e for e in self.raw["events"] if e["action"] == "search"]
        shown = self.raw.get("hint_candidates", [])
        seen = {normalize(of["query_text"]) for of in [*typed, *shown]}
        borrowed = {
            query: found[rows[0]["neighbor_text"]]
            for (query,), rows in self.newest_run("items", "query_neighbors", "query_text").items()
            if query in seen - found.keys() and rows[0]["neighbor_text"] in found
        }
        return found | borrowed

    def test_user_days(self) -> dict[str, Row]:
        """test_user_days by instance id, without session_start_at."""
        behaviors = self.behaviors()
        categories = self.query_categories()
        user_of = {r["request_id"]: r["user_id"] for r in self.raw["hint_requests"]}
        searches, clicks = defaultdict(Counter), defaultdict(Counter)
        for user, own in behaviors.items():
            for b in own:
                if b["action"] == "search":
                    searches[user, self.day(b["occurred_at"])][b["content_text"]] += 1
        for c in self.raw["hint_candidates"]:
            # What was scored for a request that was never logged belongs to nobody.
            if c["displayed"] and c["clicked_at"] and c["request_id"] in user_of:
                key = (user_of[c["request_id"]], self.day(c["clicked_at"]))
                clicks[key][normalize(c["query_text"])] += 1
        found = {}
        for user, day in searches.keys() | clicks.keys():
            often, clicked = searches[user, day], clicks[user, day]
            queries = often.keys() | clicked.keys()
            if day <= self.last_train_day():
                continue
            past = [b for b in behaviors[user] if self.day(b["occurred_at"]) < day]
            leaves = {categories[q][0] for q in queries if q in categories}
            found[f"{user}:{day}"] = {
                "instance_id": f"{user}:{day}",
                "user_id": user,
                "session_date": day,
                **self.profile(user),
                "behaviors": self.context(past, day),
                "true_queries": sorted(queries),
                "searched_queries": sorted(q for q in queries if often[q] > clicked[q]),
                "hint_clicked_queries": sorted(clicked),
                "true_leaf_categories": sorted(leaves),
                "is_replayed": False,
            }
        return found

    def training_searches(self) -> list[tuple[str, str, int]]:
        """User, query and days before the end of the training days, of every search on them."""
        last = self.last_train_day()
        return [
            (user, b["content_text"], (last - self.day(b["occurred_at"])).days)
            for user, own in self.behaviors().items()
            for b in own
            if b["action"] == "search" and self.day(b["occurred_at"]) <= last
        ]

    def training_queries(self) -> dict[str, tuple[int, Decimal, str]]:
        """Searches, popularity and band by query."""
        searches = self.training_searches()
        counts = Counter(query for _, query, _ in searches)
        popularity: dict[str, Decimal] = defaultdict(Decimal)
        for _, query, age in set(searches):
            popularity[query] += half_life(age, 7)
        bands, before = {}, 0
        for query in sorted(counts, key=lambda q: (-counts[q], q)):
            share = before / counts.total()
            bands[query] = "head" if share < 0.2 else "torso" if share < 0.8 else "tail"
            before += counts[query]
        return {q: (counts[q], popularity[q], bands[q]) for q in counts}

    def test_true_queries(self) -> dict[tuple[str, str], tuple[bool, bool, bool, str]]:
        """Searched, hint click, novel, band by instance and query."""
        bands = {q: band for q, (_, _, band) in self.training_queries().items()}
        found = {}
        for instance, row in self.test_user_days().items():
            known = {b["content_text"] for b in row["behaviors"] if b["action"] == "search"}
            for query in row["true_queries"]:
                found[instance, query] = (
                    query in row["searched_queries"],
                    query in row["hint_clicked_queries"],
                    query not in known,
                    bands.get(query, "unseen"),
                )
        return found

    def test_instances(self) -> dict[str, tuple[int, bool]]:
        """Behaviours and whether an item is new, by instance."""
        last = self.last_train_day()
        items = {
            b["content_key"]
            for own in self.behaviors().values()
            for b in own
            if b["action"] != "search" and self.day(b["occurred_at"]) <= last
        }
        return {
            instance: (
                len(row["behaviors"]),
                any(
                    b["action"] != "search" and b["content_key"] not in items
                    for b in row["behaviors"]
                ),
            )
            for instance, row in self.test_user_days().items()
        }

    def own_recent(self) -> dict[str, list[str]]:
        """Ranked queries of the baseline by instance id."""
        found = {}
        for instance, row in self.test_user_days().items():
            scores, latest = Counter(), {}
            for place, b in enumerate(row["behaviors"]):
                if b["action"] == "search":
                    scores[b["content_text"]] += half_life(b["days_ago"], 5)
                    latest[b["content_text"]] = place
            if scores:
                found[instance] = sorted(scores, key=lambda q: (-scores[q], -latest[q]))[:30]
        return found

    def co_click_scores(self) -> dict[str, tuple[dict[str, Decimal], dict[str, Decimal]]]:
        """By instance id: what the contents of the context say for each query, and the freshness of
        each own search."""
        contents, searches = defaultdict(set), defaultdict(set)
        for user, own in self.behaviors().items():
            for b in own:
                day = self.day(b["occurred_at"])
                if day <= self.last_train_day():
                    contents[user, day].add(b["content_key"])
                    if b["action"] == "search":
                        searches[user, day].add(b["content_text"])
        users = defaultdict(Counter)
        for user_day, keys in contents.items():
            for key in keys:
                users[key].update(q for q in searches[user_day] if "query:" + q != key)
        found = {}
        for instance, row in self.test_user_days().items():
            ages: dict[str, Decimal] = defaultdict(Decimal)
            for b in row["behaviors"]:
                ages[b["content_key"]] += half_life(b["days_ago"], 7)
            scores: dict[str, Decimal] = defaultdict(Decimal)
            own: dict[str, Decimal] = {}
            for key, age in ages.items():
                freshness = twelve_decimals(math.sqrt(age))
                if key.startswith("query:"):
                    own[key.removeprefix("query:")] = freshness
                likeliest = sorted(users[key].items(), key=lambda kv: (-kv[1], kv[0]))[:50]
                for query, count in likeliest:
                    share = Decimal(count) / users[key].total()
                    scores[query] += freshness * share.quantize(_TWELVE, ROUND_HALF_UP)
            found[instance] = (scores, own)
        return found

    def co_click(self) -> dict[str, list[str]]:
        """Ranked queries of the baseline by instance id; instances that get none are left out."""
        return {
            instance: sorted(scores, key=lambda q: (-scores[q], q))[:30]
            for instance, (scores, _) in self.co_click_scores().items()
            if scores
        }

    def popularity(self) -> dict[str, Decimal]:
        """The share of each query of the baseline, best first."""
        known = {q: popularity for q, (_, popularity, _) in self.training_queries().items()}
        ranked = sorted(known, key=lambda q: (-known[q], q))[:30]
        total = float(sum(known.values()))
        return {q: twelve_decimals(float(known[q]) / total) for q in ranked}

    def popularity_profile(self) -> dict[str, list[str]]:
        """Ranked queries of the baseline by instance id."""
        known = {q: popularity for q, (_, popularity, _) in self.training_queries().items()}
        total = float(sum(known.values()))
        shares = {q: twelve_decimals(float(p) / total) for q, p in known.items()}
        own: dict[tuple, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for user, query, age in set(self.training_searches()):
            own[tuple(self.profile(user).values())][query] += half_life(age, 7)
        found = {}
        for instance, row in self.test_user_days().items():
            profile = tuple(row[name] for name in self.profile(""))
            if profile in own:
                votes = {q: own[profile].get(q, 0) + 100 * share for q, share in shares.items()}
                found[instance] = sorted(votes, key=lambda q: (-votes[q], q))[:30]
            else:
                found[instance] = list(self.popularity())
        return found

    def co_click_own(self) -> dict[str, list[str]]:
        """Ranked queries of the baseline: co-click, own searches and the popular ones."""
        popular = self.popularity()
        found = {}
        for instance, (scores, own) in self.co_click_scores().items():
            votes: dict[str, Decimal] = defaultdict(Decimal)
            for query, score in scores.items():
                votes[query] += score
            for query, freshness in own.items():
                votes[query] += freshness / 2
            for query, share in popular.items():
                votes[query] += 3 * share
            found[instance] = sorted(votes, key=lambda q: (-votes[q], q))[:30]
        return found


_TWELVE = Decimal("1e-12")


def twelve_decimals(number: float) -> Decimal:
    return Decimal(repr(number)).quantize(_TWELVE, ROUND_HALF_UP)


def half_life(age: int, days: int) -> Decimal:
    """1 for what is of today, half for what is ``days`` old, with twelve decimals."""
    return twelve_decimals(0.5 ** (age / days))


_DATED_BY_BUILD = {
    "user_profile",
    "user_behaviors",
    "item_profile",
    "query_stats",
    "popular_queries",
    "x2q",
}


def as_built(table: str) -> str:
    """Query: ``table`` (or a feature's parquet file) without what tells when it was built."""
    # Features' moments tell builds apart below the second; behaviours only one of each user.
    known = "date_trunc('second', event_timestamp)"
    name = re.split("[./]", table.removesuffix(".parquet'"))[-1]
    if name == "user_behaviors":
        known = "least(event_timestamp, make_timestamptz(occurred_at_us[-1] + 2))"
    if name in _DATED_BY_BUILD:
        table = f"(select * replace ({known} as event_timestamp) from {table})"
    return f"select columns(c -> c not in ('created_at', 'built_at_us')) from {table}"
