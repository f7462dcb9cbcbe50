import dataclasses

import pytest

from mscnn.core import config
from mscnn.core.errors import UsageError
from mscnn.core.presets import PRESETS
from mscnn.synthetic.screen_plan import held_out_compounds


def from_preset(name: str, **values: object) -> config.Config:
    """Return the settings of a preset, with some values replaced."""
    return config.from_flat({"preset": name, **PRESETS[name](), **values})


def test_every_preset_that_names_its_data_is_complete():
    for preset in ("demo", "fields256", "fields128"):
        assert from_preset(preset).preset == preset
    recipe = from_preset("bbbc021", bbbc021="plates")
    assert (recipe.optim.minibatch, recipe.optim.momentum, recipe.optim.weight_decay) == (256, 0.9, 5e-5)
    assert recipe.optim.lr == "0.008;2;0.032;5;0.029;10;0.026;15;0.001;20;0.0001;22"
    assert recipe.optim.clip_norm == 0
    assert from_preset("screen", sites="a.csv").data.sites == "a.csv"


def test_setting_names_are_unique_over_the_groups():
    names = [field.name for group in config.GROUPS.values() for field in dataclasses.fields(group)]
    assert len(names) == len(set(names))
    known = {name for preset in PRESETS.values() for name in preset()}
    assert known <= set(names)


def test_the_demo_holds_out_what_the_synthetic_plates_have_for_it():
    assert from_preset("demo").split.hold_out.split(",") == held_out_compounds()


def test_settings_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        from_preset("demo").optim.epochs = 3


def test_settings_are_read_from_what_they_are_written_to_by_old_names_too():
    settings = from_preset("fields128")
    values = settings.flat()
    assert config.from_flat(values) == settings
    assert values.pop("tta") == "flips-turns"
    assert config.from_flat({**values, "views": "all", "monitor_every": 2}).aggregation.tta == "flips-turns"


def test_values_outside_the_bounds_of_their_type_are_refused_where_no_command_line_is_read():
    for values, message in (({"microbatch": 0}, "microbatch must be at least 1, got 0"),
                            ({"minibatch": -1}, "minibatch must be 0 or more, got -1"),
                            ({"folds": 1}, "folds must be at least 2, got 1"),
                            ({"epochs": None}, "epochs cannot be empty")):
        with pytest.raises(UsageError) as refusal:
            from_preset("demo", **values)
        assert message in str(refusal.value)
