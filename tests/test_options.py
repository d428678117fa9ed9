"""Settings that make no sense are refused with the name, the value given, the rule and the fix."""

from __future__ import annotations

import pytest

from ssm import dss
from ssm.network import BlockOptions, network_options


@pytest.mark.parametrize(
    "model,settings,message",
    [
        ("s4", {"n": 7}, r"n=7: must be even.*n=8"),
        ("dss", {"n": 7}, r"n=7: must be even.*conj_sym=false"),
        ("s5", {"n": 10, "blocks": 4}, r"n=10: must be divisible by blocks=4.*n=8"),
        ("s5", {"n": 12, "blocks": 4}, r"n / blocks = 3 must be even.*n=16"),
        ("s4", {"pooling": "avg_4", "n_blocks": 3}, r"pooling='avg_4': block 3 of 3 gets 2 steps.*at least 64"),
        ("s4", {"pooling": "mean_2"}, r"pooling='mean_2': must be none, avg_k or max_k"),
        ("s4", {"norm": "layr"}, r"norm='layr': must be one of layer, batch, none; did you mean layer"),
        ("s4", {"n_block": 3}, r"n_block=3: is not a setting.*did you mean n_blocks"),
        ("s4", {"blocks": 2}, r"blocks=2: is not a setting"),
        ("s4", {"init": "legt"}, r"rank=1: init=legt needs a correction of rank 2; set rank=2"),
        ("s4", {"dt_min": 0.2}, r"dt_min=0\.2: must not be larger than dt_max=0\.1"),
        ("dss", {"dropout": 1.0}, r"dropout=1\.0: must be a number in \[0, 1\)"),
        ("s5", {"conj_sym": "yes"}, r"conj_sym='yes': must be true or false"),
        ("s5", {"d_model": 2.5}, r"d_model=2\.5: must be a whole number"),
        ("s5", {"n_blocks": True}, r"n_blocks=True: must be a whole number"),
        ("s6", {}, r"model='s6': there is no ssm/s6\.py"),
        ("s4", {"collapse": True, "readout": "mean"}, r"collapse=True: stands for a readout.*give only one"),
        ("s4", {"algorithm": "scan"}, r"algorithm='scan': must be one of auto, fft, recurrent"),
        ("dss", {"algorithm": "chunk"}, r"algorithm='chunk': must be one of auto.*did you mean chunked"),
        ("dss", {"algorithm": "chunked", "variant": "softmax"}, r"algorithm='chunked': must be one of auto, fft, "),
        ("s5", {"algorithm": "recurrent", "bidirectional": True}, r"algorithm='recurrent': a step.*algorithm=auto or"),
        ("s5", {"step_rescale": 0}, r"step_rescale=0: must be a number in \(0"),
    ],
)
def test_refusals(model, settings, message):
    with pytest.raises(ValueError, match=message):
        network_options(model, 1, 10, 32, settings)


def test_settings_find_their_place():
    given = {"d_model": 8, "n": 4, "n_blocks": 3, "pooling": "avg_2", "variant": "softmax", "dropout": 0.1}
    options = network_options("dss", 1, 10, 32, given)
    assert options.lengths == (32, 16, 8)
    assert (options.d_model, len(options.layers), options.block) == (8, 3, BlockOptions(pooling="avg_2", dropout=0.1))
    made = [dss.Options(8, 4, length, variant="softmax") for length in options.lengths]
    assert options.layers == tuple(made)
