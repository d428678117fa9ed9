"""Options are made once and handed through; parameters and defaults stand where a reader looks for them."""

from __future__ import annotations

import importlib
import inspect
import typing
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
import yaml
from cases import LAYERS, NETWORKS, PADDED, SIDES, parameters, small_network

from ssm.network import BlockOptions, NetworkOptions, initial, mathematics, network_options

MODELS = ["s4", "dss", "s5"]
CONF = Path(__file__).parents[1] / "conf" / "model"
sides = pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
# what conf/ states and the library leaves to its user, or chooses otherwise, and why
CHOSEN = {
    "encoder": "auto: the data decide; a library's user says linear or embedding",
    "readout": "auto: the data decide; a library's user says what the output is",
    "activation": "S5's is the published one, with its gate in place of the mixing",
    "mixing": "as activation",
}


def network(side):
    return importlib.import_module(f"models_{side.name}.network")


@pytest.fixture
def made(monkeypatch):
    """Counts the options of each kind that are made."""
    counts = {}

    def counting(kind, before):
        def after(self):
            counts[kind] = counts.get(kind, 0) + 1
            before(self)

        return after

    for kind in (BlockOptions, *(mathematics(model).Options for model in MODELS)):
        monkeypatch.setattr(kind, "__post_init__", counting(kind, kind.__post_init__))
    return counts


@sides
def test_each_block_s_layer_has_its_options_made_once(side, made):
    sizes = {"d_model": 6, "n_blocks": 6, "n": 4}
    options = network_options("s5", 2, 3, 16, sizes)
    whole = network(side).SequenceModel(options, initial(options, 0))
    assert [block.layer.options for block in whole.blocks] == list(options.layers)
    assert whole.blocks[0].options is options.block
    assert made == {BlockOptions: 1, mathematics("s5").Options: 6}
    made.clear()
    side.library("S5Model")(2, 6, 3, 6, 4, 16)
    assert made == {BlockOptions: 1, mathematics("s5").Options: 6}
    made.clear()
    side.library("S5Block")(6, 4, 16)
    side.library("S5Layer")(6, 4, 16)
    assert made == {BlockOptions: 1, mathematics("s5").Options: 2}


def declared(cls) -> set[str]:
    """The names that the bodies of a class and of those above it declare as ours."""
    ours = (one for one in cls.__mro__ if one.__module__.startswith("models_"))
    return {name for one in ours for name in inspect.get_annotations(one)} - {"model", "options"}


@sides
@pytest.mark.parametrize("model", MODELS)
def test_a_layer_declares_its_parameters_and_no_others(side, model):
    held = {
        name
        for own, settings in LAYERS
        if own == model
        for name in parameters(side.layer(model, 3, 8, 12, "fp64", **settings))
    }
    assert held == declared(network(side).layer_class(model))


@sides
def test_blocks_and_networks_declare_their_parts_and_no_others(side):
    seen: dict[str, set[str]] = {"SequenceModel": set(), "Block": set()}
    for _, settings in [*((None, settings) for settings in NETWORKS), *PADDED, ("s5", {"documents": 2})]:
        whole = network(side).SequenceModel(options := small_network("s5", settings), initial(options, 0))
        for name in parameters(whole):
            first, *rest = name.split(".")
            seen["SequenceModel"].add(first)
            if first == "blocks":
                seen["Block"].add(rest[1])
    for name, parts in seen.items():
        assert parts == declared(getattr(network(side), name))


def defaults(kind) -> dict[str, object]:
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


@pytest.mark.parametrize("model", MODELS)
def test_what_a_yaml_states_is_what_the_library_has_unless_it_is_a_choice(model):
    stated = yaml.safe_load((CONF / "_network.yaml").read_text()) | yaml.safe_load((CONF / f"{model}.yaml").read_text())
    whole = network_options(model, 2, 3, 784, {})
    own = {"d_model": whole.d_model, "n_blocks": len(whole.layers), "readout": whole.readout, "encoder": whole.encoder}
    library = defaults(NetworkOptions) | defaults(BlockOptions) | defaults(mathematics(model).Options) | own
    for name, value in stated.items():
        if name in ("name", "defaults"):
            continue
        assert name in library, f"{name} is stated in conf/model/{model}.yaml and is no setting of the library"
        if name not in CHOSEN:
            assert value == library[name], name
    unstated = library.keys() - stated.keys() - {"padding", "documents", "l_max"}  # the data's to say
    assert unstated == set()


def test_what_is_said_to_be_chosen_is():
    stated = [yaml.safe_load((CONF / f"{name}.yaml").read_text()) for name in ("_network", *MODELS)]
    library = defaults(BlockOptions) | {"encoder": "linear", "readout": "mean"}
    assert {name for one in stated for name in one if name in library and one[name] != library[name]} == CHOSEN.keys()


@sides
def test_annotations_are_types_of_this_framework(side):
    for cls in (network(side).Block, network(side).SequenceModel, *map(network(side).layer_class, MODELS)):
        assert typing.get_type_hints(cls)
