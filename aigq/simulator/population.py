"""The people of the made-up shop: profiles, activity, and interests that drift.

An interest is a leaf category with a taste (brand, two attributes, the word used for it), a
strength and a half-life. Each day strengths halve by their half-life; now and then a new interest
takes the place of the weakest.
"""

from dataclasses import dataclass

import numpy as np

from aigq.simulator import words
from aigq.simulator.catalog import BRANDS, Catalog, two_attributes, zipf
from aigq.simulator.queries import CASE_SHARES, Queries
from aigq.simulator.settings import FIRST_DAY, ShopSettings

DAY_MS = 86_400_000
_FAINTEST = 1e-9
FIRST_MS = int(FIRST_DAY.timestamp()) * 1000


class LeafDemand:
    """Draws leaf categories by how much each profile group looks for them."""

    def __init__(self, catalog: Catalog):
        tastes = (
            np.array(list(words.AGE_TASTES.values()))[:, None, None]
            * np.array(list(words.GENDER_TASTES.values()))[None, :, None]
            * np.array(list(words.REGION_TASTES.values()))[None, None, :]
        )
        groups = tastes.reshape(-1, len(words.DEPARTMENTS))
        demand = catalog.leaf_demand * groups[:, catalog.department]
        demand /= demand.sum(axis=1, keepdims=True)
        self.shares = demand  # (groups, L)
        # One sorted array for all groups: group g's cumulative shares lie in (g, g + 1].
        self._cumulative = (np.cumsum(demand, axis=1) + np.arange(len(demand))[:, None]).ravel()

    def draw(self, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
        """One leaf for each entry of ``groups`` (any shape)."""
        found = np.searchsorted(self._cumulative, groups + rng.random(groups.shape))
        leaves = self.shares.shape[1]
        return np.minimum(found - groups * leaves, leaves - 1)


@dataclass
class Interests:
    """What each of N users wants now, K at a time; arrays (N, K)."""

    leaf: np.ndarray
    brand: np.ndarray
    first: np.ndarray  # attributes of the taste
    second: np.ndarray
    synonym: np.ndarray
    strength: np.ndarray
    half_life: np.ndarray  # days

    def shares(self, users: np.ndarray) -> np.ndarray:
        """(n, K) strengths of ``users``, scaled to sum to 1."""
        strength = self.strength[users]
        return strength / strength.sum(axis=1, keepdims=True)


class Population:
    """N users and their state. Times are milliseconds since the epoch, UTC."""

    def __init__(self, settings: ShopSettings, catalog: Catalog):
        self.settings, self.catalog = settings, catalog
        self.demand = LeafDemand(catalog)
        rng = np.random.default_rng([settings.seed, 2])
        n = settings.users
        self.age = rng.choice(len(words.AGE_BANDS), n, p=words.AGE_SHARES)
        self.gender = rng.integers(0, len(words.GENDERS), n)
        self.region = rng.integers(0, len(words.REGIONS), n)
        # (3, N): which of age, gender, region the shop does not know
        self.hidden = rng.random((3, n)) < settings.unknown_profile_share
        self.group = (self.age * len(words.GENDERS) + self.gender) * len(
            words.REGIONS
        ) + self.region
        self.case = rng.choice(len(CASE_SHARES), n, p=CASE_SHARES)
        self.registered = self._registrations(rng, n)
        mean = settings.sessions_per_day
        self.rate = rng.gamma(settings.activity_shape, mean / settings.activity_shape, n)
        everyone = np.repeat(np.arange(n), settings.interests)
        drawn = self._new_interests(rng, everyone, self.demand.draw(rng, self.group[everyone]))
        self.interests = Interests(*(part.reshape(n, -1) for part in drawn))

    def _registrations(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Most registered in the two years before day 1, the others during the log."""
        new = rng.random(n) < self.settings.new_user_share
        days = np.where(new, rng.random(n) * self.settings.days, -1 - rng.random(n) * 730)
        return FIRST_MS + (days * DAY_MS).astype(np.int64)

    def _new_interests(self, rng, users, leaf) -> tuple[np.ndarray, ...]:
        """A fresh interest in ``leaf`` for each of ``users``, in the order of Interests."""
        s, n = self.settings, len(users)
        tastes = two_attributes(rng, n, s.value_zipf)
        passing = s.passing_half_life_days * rng.lognormal(0, 0.6, n)
        half_life = np.where(rng.random(n) < s.lasting_share, s.lasting_half_life_days, passing)
        return (
            leaf,
            rng.choice(BRANDS, n, p=zipf(BRANDS, s.value_zipf)),
            tastes[:, 0],
            tastes[:, 1],
            (rng.random(n) < s.synonym_share).astype(int),
            rng.lognormal(0, 0.7, n),
            half_life,
        )

    def drift(self, rng: np.random.Generator) -> None:
        """One day passes: interests fade, some users find a new one."""
        s, interests = self.settings, self.interests
        # Never quite gone: a share of nothing would be no number.
        interests.strength = np.maximum(
            interests.strength * 0.5 ** (1 / interests.half_life), _FAINTEST
        )
        users = np.flatnonzero(rng.random(s.users) < s.new_interest_rate)
        weakest = interests.strength[users].argmin(axis=1)
        leaf = self.demand.draw(rng, self.group[users])
        near = rng.random(len(users)) < s.related_interest_share
        older = interests.leaf[users, self.choose(rng, users)]
        leaf = np.where(near, self.complement(rng, older), leaf)
        fresh = self._new_interests(rng, users, leaf)
        for part, values in zip(vars(interests).values(), fresh, strict=True):
            part[users, weakest] = values

    def choose(self, rng: np.random.Generator, users: np.ndarray) -> np.ndarray:
        """For each of ``users`` one of the user's interests (its column), by strength."""
        cumulative = np.cumsum(self.interests.shares(users), axis=1)
        drawn = (rng.random((len(users), 1)) > cumulative).sum(axis=1)
        return np.minimum(drawn, cumulative.shape[1] - 1)

    def complement(self, rng: np.random.Generator, leaf: np.ndarray) -> np.ndarray:
        """A leaf that goes with each of ``leaf``."""
        others = self.catalog.complements
        return others[leaf, rng.integers(0, others.shape[1], len(leaf))]

    def bought(self, users: np.ndarray, leaf: np.ndarray) -> None:
        """An order of each of the distinct ``users`` weakens passing interests in its leaf."""
        interests = self.interests
        same = interests.leaf[users] == leaf[:, None]
        same &= interests.half_life[users] < self.settings.lasting_half_life_days
        row, column = np.nonzero(same)
        interests.strength[users[row], column] *= self.settings.bought_factor

    def relevance(self, users: np.ndarray, main: np.ndarray, parts: Queries) -> np.ndarray:
        """Ground truth, (n, C) in [0, 1]: how well each query meets what the user wants now.

        ``parts``: (n, C) queries. ``main`` (n,): the interest that brought the user here, half of
        the weight; the rest goes by strength. A query of an interest's leaf counts 1, of a
        complement 0.25; a brand or attribute outside the taste takes 40% of it.
        """
        interests = self.interests
        weight = 0.5 * interests.shares(users)
        weight[np.arange(len(users)), main] += 0.5
        # Axes: user, query, interest.
        leaf, first, second, brand, *_ = (part[:, :, None] for part in parts)
        mine, own_brand, own_first, own_second = (
            values[users][:, None, :]
            for values in (interests.leaf, interests.brand, interests.first, interests.second)
        )
        complements = self.catalog.complements[parts.leaf]
        goes_with = (complements[..., None] == mine[:, :, None]).any(axis=2)
        strange = (brand >= 0) & (brand != own_brand)
        for attribute in (first, second):
            strange |= (attribute >= 0) & (attribute != own_first) & (attribute != own_second)
        match = np.where(leaf == mine, np.where(strange, 0.6, 1.0), 0.25 * goes_with)
        # A leaf may be two of the user's interests: full relevance is the most there is.
        return np.minimum((match * weight[:, None, :]).sum(axis=2), 1.0)
