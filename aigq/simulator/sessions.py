"""Visits to the made-up shop, one day at a time, many users at once.

A session is: search entry → hint request → clicked hints, each followed by its search → typed
searches → item clicks, carts, orders → exit. All sessions that are a user's r-th of the day are
simulated together, so that a session knows all earlier ones of its user, and nothing later.
"""

from dataclasses import dataclass, field

import numpy as np

from aigq.simulator import relevance as truth
from aigq.simulator.history import ShopHistory, UserHistory
from aigq.simulator.language import TYPOS, Language
from aigq.simulator.population import DAY_MS, FIRST_MS, Population
from aigq.simulator.ranker import DISPLAYED, Ranked, rank
from aigq.simulator.seasons import is_weekend
from aigq.simulator.settings import ShopSettings

ACTIONS = ("search_entry", "search", "item_click", "cart", "order", "app_exit")
SEARCH_ENTRY, SEARCH, ITEM_CLICK, CART, ORDER, APP_EXIT = range(len(ACTIONS))
_MOST_SESSIONS_A_DAY = 4
_MOST_SEARCHES = 6
# From entering to the hint request, at most; ms.
_MOST_WAIT = 2_500
# Share of sessions by hour of the day: a quiet night, lunch, a long evening.
_HOURS = np.array(
    [4, 2, 1, 1, 1, 2, 4, 6, 8, 9, 10, 10, 12, 11, 10, 10, 10, 11, 13, 16, 18, 17, 12, 7]
)


@dataclass
class EventBatch:
    """Events as parallel arrays; -1 for no query or no item, 0 for no quantity."""

    time: np.ndarray  # ms
    user: np.ndarray
    action: np.ndarray
    code: np.ndarray
    case: np.ndarray
    item: np.ndarray
    quantity: np.ndarray


@dataclass
class RequestBatch:
    """Hint requests of one round: (n,) and their candidates (n, C).

    Of what the log does not tell: ``aim`` (n,) the interest that brought the user, ``browsing``
    (n,) who looks at no hint, ``relevance`` and what was ``examined``, (n, 3) by position.
    """

    time: np.ndarray
    user: np.ndarray
    ranked: Ranked
    clicked: np.ndarray  # (n, 3) ms by position, 0 where not clicked
    aim: np.ndarray
    browsing: np.ndarray
    relevance: np.ndarray
    examined: np.ndarray


@dataclass
class Day:
    """What happened in the sessions that began on one day."""

    events: list[EventBatch] = field(default_factory=list)
    requests: list[RequestBatch] = field(default_factory=list)


class Shop:
    """The running shop. Call :meth:`day` for day 0, 1, 2 ... in turn."""

    def __init__(self, settings: ShopSettings, language: Language):
        self.settings, self.language = settings, language
        self.people = Population(settings, language)
        self.user = UserHistory(settings.users, language)
        self.shop = ShopHistory(settings, language)
        # A user's next session begins after this.
        self._busy_until = self.people.registered.copy()
        self._end = FIRST_MS + settings.days * DAY_MS

    def day(self, index: int) -> Day:
        """Simulate day ``index`` (0-based) and close it."""
        rng = np.random.default_rng([self.settings.seed, 4, index])
        day, start = Day(), FIRST_MS + index * DAY_MS
        if index:
            self.people.drift(rng, index)
            self.user.next_day()
        for users, times in self._visits(rng, index, start):
            _Round(self, rng, day, users, times).play()
        self.shop.close_day(start + DAY_MS)
        return day

    def _visits(self, rng, index: int, start: int):
        """(users, start times) of the first sessions of the day, of the second ones, ..."""
        s = self.settings
        weekend = s.weekend_factor if is_weekend(index) else 1.0
        level = 7 / (5 + 2 * s.weekend_factor) * weekend
        visits = np.minimum(rng.poisson(self.people.rate * level), _MOST_SESSIONS_A_DAY)
        visits[self.people.registered >= start + DAY_MS] = 0
        hours = rng.choice(24, (s.users, _MOST_SESSIONS_A_DAY), p=_HOURS / _HOURS.sum())
        times = hours * 3_600_000 + rng.integers(0, 3_600_000, hours.shape)
        # Only as many times as there are visits, in order.
        times[np.arange(_MOST_SESSIONS_A_DAY) >= visits[:, None]] = DAY_MS
        times.sort(axis=1)
        for r in range(visits.max(initial=0)):
            users = np.flatnonzero(visits > r)
            gap = rng.integers(60_000, 600_000, len(users))
            earliest = self._busy_until[users] + gap
            at = np.maximum(start + times[users, r], earliest)
            # What would ask for hints on another day does not happen.
            today = at + _MOST_WAIT < start + DAY_MS
            yield users[today], at[today]


class _Round:
    """The sessions of n different users that run side by side."""

    def __init__(self, shop: Shop, rng: np.random.Generator, day: Day, users, times):
        self.shop, self.rng, self.day = shop, rng, day
        self.language = shop.language
        self.s: ShopSettings = shop.settings
        self.people = shop.people
        self.users, self.clock = users, times.copy()
        self.main = self.people.choose(rng, users)
        self.browsing = rng.random(len(users)) < self.s.browse_share
        # The query each session searched last, -1 before the first.
        self.last = np.full(len(users), -1, np.int64)

    def play(self) -> None:
        everyone = np.arange(len(self.users))
        entering = everyone[~self.browsing]
        self._emit(entering, SEARCH_ENTRY)
        hinted = self._hints()
        wanted = self._searches_wanted(hinted)
        for step in range(wanted.max(initial=0)):
            rows = everyone[wanted > step]
            self._tick(rows, 4_000, 30_000)
            self._search(rows, self._typed(rows), typed=True)
            self._look_at_items(rows)
        browsers = everyone[self.browsing]
        own = self.people.interests.leaf[self.users[browsers], self.main[browsers]]
        self._look_at_items(browsers, self.language.plain(own))
        self._tick(everyone, 3_000, 40_000)
        leaving = everyone[self.rng.random(len(everyone)) >= self.s.missing_exit_share]
        self._emit(leaving, APP_EXIT)
        self.shop._busy_until[self.users] = self.clock

    # -- hints

    def _hints(self) -> np.ndarray:
        """Request, display, clicks and the searches they start; returns who clicked any."""
        n = len(self.users)
        self._tick(np.arange(n), 500, _MOST_WAIT)
        ranked = rank(self.rng, self.s, self.shop.shop, self.shop.user, self.users, self.clock)
        requested = self.clock.copy()
        shown = np.take_along_axis(ranked.code, ranked.shown, axis=1)
        relevance = self.people.relevance(self.users, self.main, shown)
        examined = self.rng.random((n, DISPLAYED)) < np.array(self.s.position_bias)
        examined &= ~self.browsing[:, None]
        positions = np.arange(DISPLAYED)
        chance = truth.attraction(self.s, relevance)[:, positions, positions]
        clicks = examined & (self.rng.random((n, DISPLAYED)) < chance)
        clicked = np.zeros((n, DISPLAYED), np.int64)
        for position in range(DISPLAYED):
            rows = np.flatnonzero(clicks[:, position])
            self._tick(rows, 1_500, 8_000)
            # A click whose search would fall behind the log's end did not happen.
            rows = rows[self.clock[rows] + 1_000 < self.shop._end]
            clicked[rows, position] = self.clock[rows]
            self.clock[rows] += self.rng.integers(200, 1_000, len(rows))
            self._search(rows, shown[rows, position], typed=False)
            self._look_at_items(rows, relevance=relevance[rows, position])
        unseen = (self.main, self.browsing, relevance, examined)
        self.day.requests.append(RequestBatch(requested, self.users, ranked, clicked, *unseen))
        return (clicked > 0).any(axis=1)

    # -- searches

    def _searches_wanted(self, hinted: np.ndarray) -> np.ndarray:
        s, n = self.s, len(self.users)
        none = self.rng.random(n) < s.no_search_share
        typed = np.where(none, 0, 1 + self.rng.poisson(s.more_searches, n))
        wanted = np.where(hinted, self.rng.poisson(s.searches_after_hint, n), typed)
        return np.where(self.browsing, 0, np.minimum(wanted, _MOST_SEARCHES))

    def _typed(self, rows: np.ndarray) -> np.ndarray:
        """What each session types next: a variation of its last search, else an own earlier
        query (repeat), something the user wants (related), or what people of the group want
        (exploratory)."""
        rng, s, users = self.rng, self.s, self.users[rows]
        n, interests = len(rows), self.people.interests
        column = np.where(
            rng.random(n) < s.main_interest_share, self.main[rows], self.people.choose(rng, users)
        )
        wanted = interests.leaf[users, column]
        aside = rng.random(n) < s.complement_share
        leaf = np.where(aside, self.people.complement(rng, wanted), wanted)

        kind = rng.random(n)
        exploring = kind < s.exploratory_share
        leaf = np.where(exploring, self.people.demand.draw(rng, self.people.group[users]), leaf)
        again = (self.last[rows] >= 0) & (rng.random(n) < s.reformulation_share)
        leaf = np.where(again, self.language.leaf_of(np.maximum(self.last[rows], 0)), leaf)
        code = self._worded(users, column, leaf)

        recent = self.shop.user.recent[users]
        known = (recent >= 0).sum(axis=1)
        back = np.minimum(rng.geometric(0.3, n) - 1, np.maximum(known - 1, 0))
        repeating = ~again & ~exploring & (known > 0)
        repeating &= kind < s.exploratory_share + s.repeat_share
        code = np.where(repeating, recent[np.arange(n), back], code)
        slipped = rng.random(n) < s.typo_share
        return np.where(slipped, code + rng.integers(1, TYPOS, n), code)

    def _worded(self, users, column, leaf) -> np.ndarray:
        """Queries for ``leaf``, in the words of the interest in ``column`` if of that leaf."""
        interests = self.people.interests
        own = interests.leaf[users, column] == leaf
        taste = interests.taste[users, column]
        return self.language.worded(self.rng, self.people.day, leaf, taste, own)

    def _search(self, rows: np.ndarray, code: np.ndarray, *, typed: bool) -> None:
        case = self.people.case[self.users[rows]] if typed else 0
        self._emit(rows, SEARCH, code=code, case=case)
        times = self.clock[rows]
        previous = self.shop.user.searched(self.users[rows], code, times)
        self.shop.shop.searched(times, code, previous)
        self.last[rows] = code

    # -- items

    def _look_at_items(self, rows, code=None, *, relevance=None) -> None:
        """Item clicks, carts and orders for what each session of ``rows`` searched last.

        ``relevance`` (n,) of that query, as it was when it was shown; by default as it is now.
        """
        code = self.last[rows] if code is None else code
        if relevance is None:
            everyone, aim = self.users[rows], self.main[rows]
            relevance = self.people.relevance(everyone, aim, code[:, None])[:, 0]
        cart_chance = truth.cart_chance(self.s, relevance)
        clicks = self.rng.poisson(self.s.clicks_per_search, len(rows))
        clicks = np.minimum(clicks, truth.MOST_CLICKS)
        for step in range(clicks.max(initial=0)):
            more = clicks > step
            at, users = rows[more], self.users[rows[more]]
            item = self.language.items(self.rng, self.people.day, code[more])
            leaf = self.language.catalog.leaf[item]
            self._tick(at, 5_000, 40_000)
            self._emit(at, ITEM_CLICK, item=item)
            self.shop.user.acted(users, leaf)
            cart = self.rng.random(len(at)) < cart_chance[more]
            quantity = 1 + (self.rng.random(len(at)) < 0.12).astype(int)
            self._tick(at[cart], 5_000, 40_000)
            self._emit(at[cart], CART, item=item[cart], quantity=quantity[cart])
            order = cart & (self.rng.random(len(at)) < self.s.order_share)
            self._tick(at[order], 10_000, 90_000)
            self._emit(at[order], ORDER, item=item[order], quantity=quantity[order])
            self.shop.user.acted(users[order], leaf[order])
            self.people.bought(users[order], leaf[order], self.clock[at[order]])

    # -- bookkeeping

    def _tick(self, rows: np.ndarray, least: int, most: int) -> None:
        self.clock[rows] += self.rng.integers(least, most, len(rows))

    def _emit(self, rows, action: int, *, code=-1, case=0, item=-1, quantity=0) -> None:
        """Log one event for each session of ``rows``, now; nothing after the log's end."""
        n = len(rows)
        inside = self.clock[rows] < self.shop._end
        columns = (self.clock[rows], self.users[rows], action, code, case, item, quantity)
        self.day.events.append(
            EventBatch(*(np.broadcast_to(column, n)[inside] for column in columns))
        )
