"""Ground truth: how well a query meets what a user wants, and what follows from it.

The simulation draws clicks and orders from these formulas and :mod:`aigq.simulator.truth` answers
by them, so that neither can drift away from the other.
"""

import math

import numpy as np

from aigq.simulator.interests import Interests
from aigq.simulator.language import Language
from aigq.simulator.settings import ShopSettings

MOST_CLICKS = 5
_AIM_WEIGHT = 0.5
_COMPLEMENT = 0.25


def weights(interests: Interests, day, season: np.ndarray, aim: np.ndarray) -> np.ndarray:
    """(n, K) weights of the interests of n users, each row sums to 1.

    ``aim`` (n,): the interest (column) that brought the user here has half of the weight, the rest
    goes by strength in season; -1: unknown, which is the mean over all aims.
    """
    shares = interests.shares(day, season)
    weight = np.where(aim[:, None] >= 0, 1 - _AIM_WEIGHT, 1.0) * shares
    rows = np.flatnonzero(aim >= 0)
    weight[rows, aim[rows]] += _AIM_WEIGHT
    return weight


def relevance(
    language: Language, interests: Interests, weight: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    """(n, C) in [0, 1]: how well each query meets what its user wants; 0 where the code is -1.

    ``codes`` (n, C); ``interests`` and ``weight`` of the same n users, (n, K). A query of an
    interest's leaf counts 1, of a complement 0.25; one that names something outside the taste 0.6
    instead of 1.
    """
    known = np.maximum(codes, 0)
    leaf = language.leaf_of(known)
    mine = interests.leaf[:, None, :]
    beside = language.catalog.complements[leaf]
    goes_with = (beside[..., None] == mine[:, :, None]).any(axis=2)
    fits = language.fits(known, interests.taste)
    match = np.where(leaf[..., None] == mine, fits, _COMPLEMENT * goes_with)
    # Weights sum to 1 but for rounding.
    total = np.minimum((match * weight[:, None, :]).sum(axis=2), 1.0)
    return np.where(codes >= 0, total, 0.0)


def attraction(settings: ShopSettings, relevance: np.ndarray) -> np.ndarray:
    """Chance of a click on a hint that is looked at, at each position; shape (..., 3).

    Trust bias as in Agarwal et al., "Addressing Trust Bias for Unbiased Learning-to-Rank" (WWW
    2019): P(click | examined, relevance r, position k) = e+[k] r + e-[k] (1 - r).
    """
    relevance = np.asarray(relevance)[..., None]
    trusted, mistaken = np.array(settings.click_relevant), np.array(settings.click_irrelevant)
    return trusted * relevance + mistaken * (1 - relevance)


def click(settings: ShopSettings, relevance: np.ndarray) -> np.ndarray:
    """Chance of a click at each position, examined or not, by one who does not only browse;
    shape (..., 3)."""
    return np.array(settings.position_bias) * attraction(settings, relevance)


def cart_chance(settings: ShopSettings, relevance: np.ndarray) -> np.ndarray:
    """Chance that an item clicked after a query of this relevance is put into the cart."""
    return settings.cart_relevant * relevance + settings.cart_irrelevant * (1 - relevance)


def purchase(settings: ShopSettings, relevance: np.ndarray) -> np.ndarray:
    """Chance of one order or more after a search for a query of this relevance."""
    mean = settings.clicks_per_search
    clicks = [math.exp(-mean) * mean**k / math.factorial(k) for k in range(MOST_CLICKS)]
    clicks.append(1 - sum(clicks))
    no_order = 1 - cart_chance(settings, relevance) * settings.order_share
    return 1 - sum(share * no_order**k for k, share in enumerate(clicks))
