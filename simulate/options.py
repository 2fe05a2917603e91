"""What a simulated log shall be."""

from __future__ import annotations

import dataclasses

# Ali-CCP's train split: the log whose shape is reproduced.
ALICCP_REQUESTS = 730_600

DEFAULT_USERS_PER_REQUEST = 0.56
DEFAULT_ITEMS_PER_REQUEST = 5.2


@dataclasses.dataclass(frozen=True)
class Options:
    """Parameters of a simulated log; the defaults give oracle AUCs of 0.637 (CTR), 0.732 (CVR) and 0.797 (CTCVR).

    Attributes:
        requests: requests of the train split; about 58 impressions each.
        test_requests: requests of the test split.
        seed: of everything random. The same seed and parameters give the same bytes.
        click_rate: clicks per impression.
        conversion_rate: conversions per click (Ali-CCP: 0.0054; the default gives small logs enough of them).
        rho: how much of the conversion interest is click interest, -1 to 1; 0: clicks say nothing about it.
        kappa: how much of the clicks the place explains instead of the interest, 0 to 1.
        gamma: strength of a cause of clicks and conversions that no feature shows.
        hidden_interaction: strength of an effect of pairs (profile value, category) on clicks and conversions alike. No
            field carries it, so towers of these fields cannot fit it: but the true propensities know it.
        non_monotone: weight of |a - 0.5| in the conversion logit: the further from it, the more conversions. Clicks
            show the upper side; towers that cannot bend miss the lower one.
        click_strength: standard deviation of the click logit (s_c).
        conversion_strength: standard deviation of the conversion logit (s_r).
        users: people in the world, seen or not; 0: in Ali-CCP's proportion to the requests.
        items: items in the world, seen or not; 0: in Ali-CCP's proportion to the requests.
        history_scale: lengths of the history lists relative to Ali-CCP's 609 ids; small for quick tests.
        malformed: broken rows of each kind.
        chunk_requests: requests made at once; bounds memory, changes nothing else.
    """

    requests: int
    test_requests: int
    seed: int
    click_rate: float = 0.0389
    conversion_rate: float = 0.054
    rho: float = 0.6
    kappa: float = 0.0
    gamma: float = 0.0
    hidden_interaction: float = 0.0
    non_monotone: float = 0.0
    click_strength: float = 0.5
    conversion_strength: float = 0.9
    users: int = 0
    items: int = 0
    history_scale: float = 1.0
    malformed: int = 0
    chunk_requests: int = 256

    def __post_init__(self) -> None:
        for name, low, high in (
            ("requests", 1, 10**9),
            ("test_requests", 0, 10**9),
            ("click_rate", 1e-4, 0.9),
            ("conversion_rate", 1e-4, 0.9),
            ("rho", -1, 1),
            ("kappa", 0, 1),
            ("gamma", 0, 5),
            ("hidden_interaction", 0, 5),
            ("non_monotone", -5, 5),
            ("click_strength", 0, 5),
            ("conversion_strength", 0, 5),
            ("users", 0, 10**9),
            ("items", 0, 10**9),
            ("history_scale", 0.01, 4),
            ("malformed", 0, 10**6),
            ("chunk_requests", 1, 8192),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"--{name}={value}: allowed is {low} to {high}")
        if self.users == 0:
            object.__setattr__(self, "users", max(1, round(self.requests * DEFAULT_USERS_PER_REQUEST)))
        if self.items == 0:
            object.__setattr__(self, "items", max(1, round(self.requests * DEFAULT_ITEMS_PER_REQUEST)))
