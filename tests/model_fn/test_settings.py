"""What a setting's metadata says of it is so."""

import dataclasses

import pytest
import tensorflow as tf
from model_batches import SCHEMA, VOCABULARY_SIZE, parsed, requests
from test_losses import scored

from model_fn import network, optimizers, settings, terms
from model_fn.hyperparameters import BACKBONES, OPTIMIZERS, Hyperparameters
from model_fn.models import MODELS
from trainer.options import Options

OF_MODEL = {"counterfactual_wgt", "global_wgt", "balance_wgt", "propensity_normalize", "propensity_power"}
OF_BACKBONE = {"group_layers", "cross_layers", "cross_rank", "behind_crosses", "num_experts", "expert_layers"}
OF_BACKBONE |= {"ple_levels", "ple_shared_experts", "ple_task_experts"}
OF_OPTIMIZER = {"momentum", "adam_beta1", "adam_beta2", "adam_epsilon", "initial_accumulator", "ftrl_l1"}


def read_by(use, **changes):
    """The settings that `use` looks at."""
    seen = set()

    class Watched(Hyperparameters):
        def __getattribute__(self, name):
            seen.add(name)
            return super().__getattribute__(name)

    made = Watched(**changes)
    seen.clear()
    use(made)
    return seen


def said(names, **changes):
    """Those of some settings that are read by what their metadata says."""
    return {name for name in names if settings.is_read(name, Hyperparameters(**changes))}


@pytest.mark.parametrize("model", MODELS)
def test_a_models_terms_read_the_settings_that_name_the_model(model):
    seen = read_by(lambda made: terms.total_loss(terms.task_losses(batch(made)), made), model=model)
    assert seen & OF_MODEL == said(OF_MODEL, model=model)


def batch(made):
    return scored(model=made.model)._replace(settings=made)


@pytest.mark.parametrize(
    ("backbone", "behind"), [(one, "shared_embedding") for one in BACKBONES] + [("dcn", "mmoe"), ("dcn", "ple")]
)
def test_a_backbone_reads_the_settings_that_name_it(backbone, behind):
    def use(made):
        with tf.Graph().as_default():
            network.build(parsed(requests(2))[0], SCHEMA, VOCABULARY_SIZE, made, training=True)

    changes = {"backbone": backbone, "behind_crosses": behind, "deep_layers": (4,)}
    assert read_by(use, **changes) & OF_BACKBONE == said(OF_BACKBONE, **changes)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_reads_the_settings_that_name_it(name):
    seen = read_by(lambda made: optimizers.make_optimizer(name, 0.1, made), optimizer=name, embedding_optimizer=name)
    assert seen & OF_OPTIMIZER == said(OF_OPTIMIZER, optimizer=name, embedding_optimizer=name)


def test_what_has_no_effect_is_named_with_what_would_give_it_one():
    made = Hyperparameters(num_experts=4, behind_crosses="mmoe", expert_layers=(8, 4), decay_steps=10)
    lines = settings.without_effect(made, ["num_experts", "expert_layers", "decay_steps", "learning_rate", "model"])
    assert lines == [
        "--num_experts=4 has no effect here: it is read with --backbone=mmoe or --behind_crosses=mmoe",
        "--expert_layers=8,4 has no effect here: it is read with --backbone=mmoe|ple or --behind_crosses=mmoe|ple",
        "--decay_steps=10 has no effect here: it is read with --decay=exponential|cosine|linear",
    ]
    options = Options(task_type="eval", data_dir="d", model_dir="m", predictions="p", warm_up="none")
    assert settings.without_effect(options, ["predictions", "warm_up"]) == [
        "--predictions=p has no effect here: it is read with --task_type=infer",
        "--warm_up=none has no effect here: it is read with --task_type=export or --exporters",
    ]


@pytest.mark.parametrize("kind", [Options, Hyperparameters])
def test_bounds_and_conditions_name_settings_that_there_are(kind):
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for field in fields.values():
        assert field.metadata["group"] in settings.groups(kind)
        assert field.metadata["read_by"].keys() <= fields.keys() - {field.name}
        for other, values in field.metadata["read_by"].items():
            assert set(values) <= set(fields[other].metadata["choices"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_a_number_out_of_its_bounds_is_refused(value):
    with pytest.raises(ValueError, match=r"clip_norm .*: allowed is 0 or more"):
        Hyperparameters(clip_norm=value)
