"""The table of models: the towers of each, the terms of its loss beside L_CTR, and what each term is multiplied with.

A model is a row here; its terms are rows of `model_fn.terms.TERMS`, where each says which towers it trains. Formulas:
docs/models.md; how to add one: docs/extending.md. No TensorFlow here, as flags are made from it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

CTR = "ctr"
CVR = "cvr"
IMPUTATION = "imputation"
COUNTERFACTUAL = "counterfactual"
TEACHER = "teacher"


@dataclasses.dataclass(frozen=True)
class Model:
    """One way to train a CVR tower over all impressions.

    Attributes:
        source: where it was published.
        terms: of the loss, beside L_CTR: name in `TERMS` -> its factor, a number or the name of a setting.
        more_towers: beside those of CTR and CVR; used in training only.
    """

    source: str
    terms: Mapping[str, float | str]
    more_towers: tuple[str, ...] = ()

    @property
    def towers(self) -> tuple[str, ...]:
        """Every tower by name."""
        return (CTR, CVR, *self.more_towers)


_ENTIRE_SPACE = {"ctcvr": "global_wgt"}
_IPS = _ENTIRE_SPACE | {"ips": "counterfactual_wgt"}
_DR = _ENTIRE_SPACE | {"dr_error": "counterfactual_wgt", "dr_imputation": "counterfactual_wgt"}

MODELS: dict[str, Model] = {
    "esmm": Model("Ma et al., SIGIR 2018, arXiv 1804.07931", {"ctcvr": 1.0}),
    "naive_cvr": Model("the click-space baseline that all are compared with", {"cvr": 1.0}),
    "escm2_ips": Model("Wang et al., SIGIR 2022, arXiv 2204.05125", _IPS),
    "escm2_dr": Model("Wang et al., SIGIR 2022, arXiv 2204.05125", _DR, (IMPUTATION,)),
    "ips_v2": Model("Li et al., ICML 2023", _IPS | {"balance": "balance_wgt"}),
    "dr_v2": Model("Li et al., ICML 2023", _DR | {"balance": "balance_wgt"}, (IMPUTATION,)),
    "mrdr": Model(
        "Guo et al., SIGIR 2021",
        _ENTIRE_SPACE | {"dr_error": "counterfactual_wgt", "mrdr_imputation": "counterfactual_wgt"},
        (IMPUTATION,),
    ),
    "stable_dr": Model(
        "Li et al., ICLR 2023",
        _ENTIRE_SPACE
        | {
            "stable_error": "counterfactual_wgt",
            "dr_imputation": "counterfactual_wgt",
            "imputation_balance": "balance_wgt",
        },
        (IMPUTATION,),
    ),
    "dcmt": Model(
        "Zhu et al., ICDE 2023",
        _IPS | {"counterfactual": "counterfactual_wgt", "agreement": "counterfactual_wgt"},
        (COUNTERFACTUAL,),
    ),
    "ddpo": Model(
        "Su et al., SIGIR 2024",
        _ENTIRE_SPACE
        | {
            "teacher": "counterfactual_wgt",
            "taught_clicked": "counterfactual_wgt",
            "taught_unclicked": "counterfactual_wgt",
        },
        (TEACHER,),
    ),
}
