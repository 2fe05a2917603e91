"""Ali-CCP's fields as docs/simulation.md gives them, for tests of simulated logs."""

# Mean number of ids per impression; requests are weighted by their impressions.
PROFILE_COVERAGE = {field: 0.87 for field in ("121", "122", "124", "125", "127", "128")} | {"126": 0.42, "129": 0.64}
HISTORY_LENGTHS = {"109_14": 69, "110_14": 250, "127_14": 154, "150_14": 136}
ITEM_COVERAGE = {"205": 1, "206": 1, "207": 1, "216": 0.71, "210": 6.1, "301": 1}
COMBINATION_COVERAGE = {"508": 0.70, "509": 0.22, "702": 0.22, "853": 1.4}
CONTEXT_FIELDS = {"101": 1, **PROFILE_COVERAGE, **HISTORY_LENGTHS}
IMPRESSION_FIELDS = {**ITEM_COVERAGE, **COMBINATION_COVERAGE}
WEIGHTED = (*HISTORY_LENGTHS, *COMBINATION_COVERAGE)

# Field of the history, of the item, and of both together.
COMBINATIONS = (
    ("109_14", "206", "508"),
    ("110_14", "207", "509"),
    ("127_14", "216", "702"),
    ("150_14", "210", "853"),
)
DISTINCT_IDS = {"101": 295_787, "205": 3_200_000, "206": 8_627, "207": 614_739, "216": 210_973, "210": 98_714}
