import dataclasses
import json

import pytest

from model_fn.hyperparameters import Hyperparameters, parse_group_layers


def test_json_gives_the_same_settings_back():
    settings = Hyperparameters(
        model="escm2_dr", deep_layers=(64, 32), dropout=(0.2, 0.5), group_layers="user:8,4;*:2", clip_norm=1.5
    )
    assert Hyperparameters.from_json(settings.to_json()) == settings


def test_lists_may_be_text_as_in_flags_and_json():
    settings = Hyperparameters(deep_layers="256, 128", dropout=["0.2", "0.5"])
    assert settings == Hyperparameters(deep_layers=(256, 128), dropout=(0.2, 0.5))
    assert Hyperparameters(dropout="").dropout == ()


def test_settings_left_out_of_the_json_have_their_default():
    assert Hyperparameters.from_json('{"model": "naive_cvr"}') == Hyperparameters(model="naive_cvr")


def test_unknown_settings_in_the_json_are_refused():
    with pytest.raises(ValueError, match="unknown hyperparameters tower_units"):
        Hyperparameters.from_json(json.dumps({"tower_units": 3}))


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("ctr_task_wgt", None, "a number"),
        ("ctr_task_wgt", "half", "a number"),
        ("ctr_task_wgt", True, "a number"),
        ("embedding_size", 4.5, "a whole number"),
        ("model", None, "a text"),
    ],
)
def test_a_value_of_another_kind_in_the_json_is_refused(name, value, allowed):
    with pytest.raises(ValueError, match=f"{name} {value!r}: allowed is {allowed}"):
        Hyperparameters.from_json(json.dumps({name: value}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "esmm2"}, "model 'esmm2': allowed are esmm, naive_cvr, escm2_ips, escm2_dr"),
        ({"backbone": "mlp"}, "backbone 'mlp'"),
        ({"optimizer": "adam"}, "optimizer 'adam': allowed are Adam,"),
        ({"ctr_task_wgt": 1.1}, "ctr_task_wgt 1.1: allowed is 0 to 1"),
        ({"propensity_floor": 1.0}, "propensity_floor 1.0"),
        ({"learning_rate": -0.1}, "learning_rate -0.1: allowed is 0 or more"),
        ({"l2_reg": -1.0}, "l2_reg -1.0: allowed is 0 or more"),
        ({"decay_rate": 5.0}, "decay_rate 5.0: allowed is more than 0, at most 1"),
        ({"decay_steps": -1}, "decay_steps -1: allowed is 0 or more"),
        ({"deep_layers": "a,b"}, "deep_layers 'a,b': numbers"),
        ({"deep_layers": (8, 0)}, "units are 1 or more"),
        ({"dropout": (0.2,)}, r"dropout \(0.2,\): allowed is one rate for each of deep_layers \(2\)"),
        ({"dropout": (0.2, 1.0)}, "drop rates"),
        ({"expert_layers": ()}, "expert_layers"),
        ({"group_layers": "user"}, "group_layers 'user'"),
        ({"group_layers": "user:4;user:3"}, "each group is written once"),
    ],
)
def test_a_value_that_cannot_be_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        Hyperparameters(**changes)


def test_open_decay_steps_are_those_of_the_run_behind_the_warm_up():
    assert Hyperparameters(decay="cosine", warmup_steps=20).for_run(100).decay_steps == 80
    assert Hyperparameters(decay="cosine", decay_steps=7).for_run(100).decay_steps == 7
    assert Hyperparameters().for_run(100) == Hyperparameters()


def test_group_layers_are_read_per_group():
    assert parse_group_layers("user:256,128; item:64;*:") == {"user": (256, 128), "item": (64,), "*": ()}
    settings = Hyperparameters(group_layers="user:256,128;*:7")
    assert settings.layers_of_group("user") == (256, 128)
    assert settings.layers_of_group("place") == (7,)
    assert Hyperparameters(group_layers="user:3").layers_of_group("place") == ()


def test_every_setting_tells_the_command_line_what_it_is():
    for field in dataclasses.fields(Hyperparameters):
        assert field.metadata["help"].endswith("."), field.name
        assert isinstance(field.default, str | int | float | bool | tuple), field.name
