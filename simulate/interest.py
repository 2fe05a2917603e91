"""Interest in clicking and converting, and the true rates that follow (docs/simulation.md).

a, b     click and conversion interest: effects of ids that add up, and a low-rank product of profile and category
c        effect of the place, on clicks only
u        N(0, 1) per impression, in no feature
v        N(0, 1) per pair of profile value and category, in no feature as a pair
h      = gamma u + eta v
logit p_click      = alpha + s_c (sqrt(1 - kappa^2) a + kappa c) + h
logit p_conversion = beta  + s_r (rho a + sqrt(1 - rho^2) b)     + h + m |a - 0.5|

kappa, gamma, eta (`hidden_interaction`) and m (`non_monotone`) are 0 by default.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from features import names
from simulate import audience, randomness
from simulate.catalog import PROFILE_SIZES
from simulate.exposure import Requests, World

# Parts of an interest's variance. Most of it is on ids that occur often enough to be learned and to pass a frequency
# filter; some is on users and items, as in life.
PROFILE, USER, CATEGORY, INTENTS, BRAND, SHOP, ITEM, MATCH, HISTORY, INTERACTION = range(10)
VARIANCE_SHARES = {
    PROFILE: 0.34,
    USER: 0.02,
    CATEGORY: 0.20,
    INTENTS: 0.06,
    BRAND: 0.03,
    SHOP: 0.02,
    ITEM: 0.02,
    MATCH: 0.22,
    HISTORY: 0.05,
    INTERACTION: 0.04,
}
COMPONENTS = len(VARIANCE_SHARES)
TASKS = 2
RANK = 2
# How much each combination field adds for a match of logarithmic weight 1: to clicking, to converting.
MATCH_EFFECTS = {"508": (1.0, 0.0), "509": (0.3, 1.0), "702": (0.3, 1.0), "853": (0.3, 0.0)}
# How much the length of a history adds, where the effect of a category has deviation 1.
HISTORY_EFFECTS = (1.0, 0.0)
PLACE_EFFECTS = (-0.6, 0.2, 1.5)
# Field whose value makes a pair with the category, for `hidden_interaction`.
PAIRED_PROFILE = "121"
# Click interest at which `non_monotone` turns: more than half of the impressions lie below, and few of the clicks.
BEND = 0.5

# Requests of the train split, its first, that stand for all: interests are standardized on them. Rates are set on more,
# as they depend on how active users happen to be; below that many requests they are exact but for the draw of labels.
MIN_PILOT, MAX_PILOT, MAX_RATE_PILOT = 512, 4096, 16_384
PILOT_CHUNK = 256
BISECTIONS = 60
OVERLAP_STEPS = 4
# Probabilities are whole multiples of 1 / PROBABILITY_UNITS: so the truth file holds exactly what was drawn from.
PROBABILITY_UNITS = 10**9


@dataclasses.dataclass(frozen=True)
class Truth:
    """What is true of some impressions, and what happened.

    Attributes:
        p_click, p_conversion: int64 [impressions], in units of 1e-9.
        click: bool [impressions].
        conversion_if_clicked: bool [impressions], what a click would have led to.
    """

    p_click: np.ndarray
    p_conversion: np.ndarray
    click: np.ndarray
    conversion_if_clicked: np.ndarray

    @property
    def conversion(self) -> np.ndarray:
        """What the log shows: bool [impressions]."""
        return self.click & self.conversion_if_clicked


class Interest:
    """True rates as functions of the features.

    Attributes:
        alpha, beta: intercepts of the click and conversion logits.
    """

    def __init__(self, world: World) -> None:
        self._options = world.options
        self._calendar = world.calendar
        self._effects = {
            name: randomness.stream(world.options.seed, f"effect of {name}")
            for name in (*PROFILE_SIZES, "user", "category", "intent", "brand", "shop", "item", "past", "style", "pair")
        }
        self._standardize(*self._observe(world, 0, _pilot(world.options.requests, MAX_PILOT))[:2])
        click_logits, conversion_logits = self._pilot_logits(world)
        self.alpha = _intercept(click_logits, np.ones(len(click_logits)), self._options.click_rate)
        clicks = randomness.sigmoid(self.alpha + click_logits)
        self.beta = _intercept(conversion_logits, clicks, self._options.conversion_rate)

    def truth(self, requests: Requests) -> Truth:
        """True rates of impressions and what they led to."""
        seed = self._options.seed
        alpha = self.alpha + (self._calendar.click_logit(requests.day) if self._calendar else 0.0)
        click_logits, conversion_logits = self._logits_of(
            self._components(requests), requests.places, self._hidden(requests)
        )
        p_click = _in_units(randomness.sigmoid(alpha + click_logits))
        p_conversion = _in_units(randomness.sigmoid(self.beta + conversion_logits))
        drawn = [
            randomness.unit(requests.impression_bits(seed, name)) * PROBABILITY_UNITS
            for name in (names.CLICK, names.CONVERSION)
        ]
        return Truth(p_click, p_conversion, drawn[0] < p_click, drawn[1] < p_conversion)

    def _observe(self, world: World, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Components, places and hidden causes of the impressions of some requests of the train split."""
        parts = []
        for first in range(start, stop, PILOT_CHUNK):
            requests = world.draw(names.TRAIN, first, min(stop, first + PILOT_CHUNK))
            parts.append((self._components(requests), requests.places, self._hidden(requests)))
        components, places, hidden = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        return components, places, hidden

    def _pilot_logits(self, world: World) -> np.ndarray:
        """Logits without intercepts of the impressions that stand for all: float64 [TASKS, impressions]."""
        pilot = _pilot(world.options.requests, MAX_RATE_PILOT)
        starts = range(0, pilot, PILOT_CHUNK)
        parts = [self._logits_of(*self._observe(world, start, min(pilot, start + PILOT_CHUNK))) for start in starts]
        return np.concatenate(parts, axis=1)

    def _hidden(self, requests: Requests) -> np.ndarray:
        """What drives clicks and conversions and is in no field, h: float64 [impressions]."""
        options = self._options
        hidden = options.gamma * randomness.normals(requests.impression_bits(options.seed, "hidden"), 0)
        if options.hidden_interaction:
            profile = requests.profile[PAIRED_PROFILE][requests.rows] + 1
            pairs = randomness.bits(randomness.bits(self._effects["pair"], profile), requests.items.category)
            hidden += options.hidden_interaction * randomness.normals(pairs, 0)
        return hidden

    def _components(self, requests: Requests) -> np.ndarray:
        """Parts of both interests before scaling: float64 [TASKS, COMPONENTS, impressions]."""
        items, rows, day = requests.items, requests.rows, requests.day
        parts = np.empty((TASKS, COMPONENTS, len(rows)))
        taste = np.zeros((TASKS * RANK, len(requests.users)))
        profile = np.zeros((TASKS, len(requests.users)))
        for field, values in requests.profile.items():
            effect_bits = randomness.bits(self._effects[field], values + 1)
            taste_bits = randomness.bits(effect_bits, np.zeros(len(values)))
            profile += self._normals(effect_bits, TASKS, day)
            taste += self._normals(taste_bits, TASKS * RANK, day)
        parts[:, PROFILE] = profile[:, rows]
        parts[:, USER] = self._effect("user", requests.users, day)[:, rows]
        parts[:, CATEGORY] = self._effect("category", items.category, day)
        parts[:, INTENTS] = self._intent_effects(requests)
        parts[:, BRAND] = self._effect("brand", items.brand + 1, day)
        parts[:, SHOP] = self._effect("shop", items.shop, day)
        parts[:, ITEM] = self._effect("item", items.item, day)
        parts[:, MATCH] = _match_effects(requests)
        parts[:, HISTORY] = self._history_effects(requests)[:, rows]
        style = self._normals(randomness.bits(self._effects["style"], items.category), TASKS * RANK, day)
        product = taste[:, rows] * style
        parts[:, INTERACTION] = product[0::RANK] + product[1::RANK]
        return parts

    def _effect(self, name: str, values: np.ndarray, day: int) -> np.ndarray:
        return self._normals(randomness.bits(self._effects[name], values), TASKS, day)

    def _normals(self, random_bits: np.ndarray, lanes: int, day: int) -> np.ndarray:
        """Normal numbers as they stand on a day: uint64 [n] -> float64 [lanes, n]."""
        if self._calendar is None or not self._calendar.drift:
            return _normal_lanes(random_bits, lanes)
        quarter, first, last = self._calendar.turn(day)
        before, after = (_normal_lanes(_turned(random_bits, number), lanes) for number in (quarter, quarter + 1))
        return first * before + last * after

    def _intent_effects(self, requests: Requests) -> np.ndarray:
        items = requests.items
        effects = self._effect("intent", items.intents, requests.day)
        return np.stack([np.bincount(items.intent_rows, each, len(requests.rows)) for each in effects])

    def _history_effects(self, requests: Requests) -> np.ndarray:
        """Effect of what a user looked at before: a weighted sum over categories, by the root of their number."""
        history = requests.histories[audience.CATEGORY]
        effects = self._effect("past", history.values, requests.day) + np.array(HISTORY_EFFECTS)[:, None]
        effects *= log_weights()[history.counts]
        sums = np.stack([np.bincount(history.rows, each, len(requests.users)) for each in effects])
        return sums / np.sqrt(np.maximum(history.lengths, 1))

    def _standardize(self, components: np.ndarray, places: np.ndarray) -> None:
        """Sets scales such that a, b and c have mean 0 and variance 1, and clicks for a tell nothing of b.

        Part by part: what a and b have in common in one part would else come back, negative, through the others.
        Scales are rounded to six digits: sums over many numbers may differ in the last bit between machines.
        """
        a, b = components - components.mean(axis=2, keepdims=True)
        self._overlaps = np.round((a * b).mean(axis=1) / np.maximum((a * a).mean(axis=1), 1e-12), 6)
        spread = np.stack([a.std(axis=1), (b - self._overlaps[:, None] * a).std(axis=1)])
        shares = np.sqrt(self._variance_shares())
        self._scales = np.round(shares / np.where(spread > 1e-6, spread, 1.0), 6)
        sums = self._sums(components)
        self._means = np.round(sums.mean(axis=1), 6)
        a, b = sums - self._means[:, None]
        deviation = round(float(a.std()), 6)
        self._overlap = _overlap(a / deviation, b, self._options.click_strength, self._options.conversion_strength)
        self._deviations = deviation, round(float((b - self._overlap * a / deviation).std()), 6)
        effects = np.array(PLACE_EFFECTS)[places]
        self._place_effects = np.round((np.array(PLACE_EFFECTS) - effects.mean()) / effects.std(), 6)

    def _variance_shares(self) -> np.ndarray:
        """Part of each component in the variance of an interest: float64 [COMPONENTS]."""
        shares = np.array([VARIANCE_SHARES[part] for part in range(COMPONENTS)])
        if self._calendar is not None:
            shares *= (1 - self._calendar.item_share) / (1 - shares[ITEM])
            shares[ITEM] = self._calendar.item_share
        return shares

    def _sums(self, components: np.ndarray) -> np.ndarray:
        """Weighted sum over parts, one after the other, so that it is the same everywhere: [TASKS, impressions]."""
        sums = np.zeros((TASKS, components.shape[2]))
        for part, (a, b) in enumerate(components.swapaxes(0, 1)):
            sums[0] += self._scales[0, part] * a
            sums[1] += self._scales[1, part] * (b - self._overlaps[part] * a)
        return sums

    def _logits_of(self, components: np.ndarray, places: np.ndarray, hidden: np.ndarray) -> np.ndarray:
        """Logits without intercepts: float64 [TASKS, impressions]."""
        options = self._options
        a, b = self._sums(components) - self._means[:, None]
        a = a / self._deviations[0]
        b = (b - self._overlap * a) / self._deviations[1]
        interest = math.sqrt(1 - options.kappa**2) * a + options.kappa * self._place_effects[places]
        conversion = options.rho * a + math.sqrt(1 - options.rho**2) * b
        bend = options.non_monotone * np.abs(a - BEND)
        return np.stack(
            [options.click_strength * interest + hidden, options.conversion_strength * conversion + hidden + bend]
        )


def _pilot(requests: int, most: int) -> int:
    return min(max(requests, MIN_PILOT), most)


def _turned(random_bits: np.ndarray, quarter: int) -> np.ndarray:
    """Bits of an effect after some quarter turns: uint64 [n]."""
    return randomness.bits(random_bits, np.full(len(random_bits), quarter)) if quarter else random_bits


def _normal_lanes(random_bits: np.ndarray, lanes: int) -> np.ndarray:
    return np.stack([randomness.normals(random_bits, lane) for lane in range(lanes)])


def _match_effects(requests: Requests) -> np.ndarray:
    """Effect of what the history says about an item: float64 [TASKS, impressions], linear in the fields' weights."""
    weights = log_weights()
    effects = np.zeros((TASKS, len(requests.rows)))
    for field, each in MATCH_EFFECTS.items():
        matched = weights[requests.matches[field]]
        if field == "853":
            matched = np.bincount(requests.items.intent_rows, matched, len(requests.rows))
        effects += np.array(each)[:, None] * matched
    return effects


@functools.cache
def log_weights() -> np.ndarray:
    """Weight of a count in the log: ln(1 + n) to five digits, as in Ali-CCP: float64 [MAX_COUNT]."""
    return np.array([round(math.log1p(count), 5) for count in range(audience.MAX_COUNT)])


def _intercept(logits: np.ndarray, weights: np.ndarray, rate: float) -> float:
    """The intercept at which the weighted mean of the rates is as wanted, by bisection."""
    low, high = -randomness.LOGIT_LIMIT, randomness.LOGIT_LIMIT
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = float((weights * randomness.sigmoid(middle + logits)).sum() / weights.sum())
        low, high = (middle, high) if found < rate else (low, middle)
    return round((low + high) / 2, 6)


def _overlap(a: np.ndarray, b: np.ndarray, click_strength: float, conversion_strength: float) -> float:
    """How much of a to take from b, so that rates that depend on b alone are the same with clicks as without.

    Without correlation would nearly do, but a and b are not quite normal, and what is left would look like selection
    bias where there should be none. Newton's method from the covariance: the ratio of means is all but linear.
    """
    overlap = float((a * b).mean() / (a * a).mean())
    clicks = randomness.exp(click_strength * a)
    for _ in range(OVERLAP_STEPS if click_strength * conversion_strength > 0 else 0):
        rest = b - overlap * a
        strength = conversion_strength / float(rest.std())
        conversions = randomness.exp(strength * rest)
        ratio = float((clicks * conversions).mean() / (clicks.mean() * conversions.mean()))
        overlap += (ratio - 1) / (click_strength * strength)
    return round(overlap, 6)


def _in_units(probabilities: np.ndarray) -> np.ndarray:
    units = np.rint(probabilities * PROBABILITY_UNITS).astype(np.int64)
    return np.clip(units, 1, PROBABILITY_UNITS - 1)
