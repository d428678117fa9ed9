"""The mathematics against theorems and the reference files, float64."""

from __future__ import annotations

import numpy as np
import pytest
from cases import LAYERS, label

from ssm import discretise, dss, hippo, s4, s5
from ssm.lengths import chunk_length, largest_divisor, transform_length
from ssm.network import initial, mathematics, network_options, ssm_parameter_names, statistic_names
from ssm.operations import operations

MEASURES = [("legs", 1), ("legs", 3), ("legt", 2), ("fourier", 1)]


def both(half: np.ndarray, axis: int = -1) -> np.ndarray:
    """One member of each conjugate pair -> both."""
    return np.concatenate([half, half.conj()], axis)


@pytest.mark.parametrize("n", [2, 8, 64])
@pytest.mark.parametrize("init,rank", MEASURES)
def test_dplr_gives_back_the_hippo_matrix(init, rank, n):
    form = hippo.dplr(init, n, rank)
    a, b = hippo.transition(init, n)
    v, w, p = both(form.V), both(form.w), both(form.P)
    np.testing.assert_allclose(v.conj().T @ v, np.eye(n), atol=1e-12)
    rebuilt = v @ (np.diag(w) - p.T @ p.conj()) @ v.conj().T
    np.testing.assert_allclose(rebuilt, a, atol=1e-13 * np.abs(a).max())
    np.testing.assert_allclose(v @ both(form.B), b, atol=1e-12 * np.abs(b).max())
    assert np.all(form.w.imag <= 0)
    assert np.all(form.B.real >= 0)  # the phase is fixed
    np.testing.assert_allclose(form.B.imag, 0, atol=1e-12)


def test_legs_is_what_the_paper_prints():
    a, b = hippo.legs(3)
    expected = -np.array([[1, 0, 0], [3**0.5, 2, 0], [5**0.5, 15**0.5, 3]])
    np.testing.assert_allclose(a, expected)
    np.testing.assert_allclose(b, [1, 3**0.5, 5**0.5])
    np.testing.assert_allclose(sorted(np.linalg.eigvals(a).real), [-3, -2, -1])


def test_legs_normal_part_has_real_part_minus_one_half():
    np.testing.assert_allclose(hippo.dplr("legs", 64).w.real, -0.5, rtol=1e-14)
    w, v = hippo.normal_eigen(7)
    np.testing.assert_allclose(w.real, -0.5)
    np.testing.assert_allclose(v.conj().T @ v, np.eye(7), atol=1e-13)


@pytest.mark.parametrize("n", [8, 64])
def test_dplr_against_the_reference(golden, n):
    reference, form = golden("s4_dplr"), hippo.dplr("legs", n)
    np.testing.assert_allclose(hippo.legs(n)[0], reference[f"N{n}_hippo_A"], atol=1e-12)
    np.testing.assert_allclose(form.w, reference[f"N{n}_w"], atol=1e-11)
    np.testing.assert_allclose(np.abs(form.P[0]), np.abs(reference[f"N{n}_P"]), atol=1e-11)
    free_of_phase = reference[f"N{n}_P"].conj() * reference[f"N{n}_B"]
    np.testing.assert_allclose(form.P[0].conj() * form.B, free_of_phase, atol=1e-10)


def test_s5_blocks_against_the_reference(golden):
    reference = golden("s5")
    w, _ = hippo.normal_eigen(8)
    np.testing.assert_allclose(w, reference["J8_block_Lambda_full"], atol=1e-11)
    values = s5.initial(s5.Options(16, 64, blocks=8), np.random.default_rng(0))
    lam = values["Lambda_re"] + 1j * values["Lambda_im"]
    np.testing.assert_allclose(np.sort_complex(lam), np.sort_complex(reference["J8_Lambda"]), atol=1e-11)


def test_zero_order_hold_is_the_exact_solution():
    # x' = w x + b u with u held at 1 from x = 0: x(dt) = (exp(w dt) - 1) / w b, by fine Euler steps
    w, dt, fine = -0.3 + 2.0j, 0.1, 200_000
    _, factor = discretise.zoh_diagonal(np.array(w), np.array(dt))
    x = 0j
    for _ in range(fine):
        x = x + dt / fine * (w * x + 1.0)
    assert abs(x - factor) < 1e-6


def test_bilinear_is_second_order():
    w = np.array([-0.5 + 3.0j])
    errors = []
    for dt in (0.02, 0.01):
        a_bar, _ = discretise.bilinear(np.diag(w), np.ones(1, complex), np.array(dt))
        diagonal, _ = discretise.bilinear_diagonal(w, np.array(dt))
        np.testing.assert_allclose(a_bar[0, 0], diagonal[0], rtol=1e-14)
        errors.append(abs(diagonal[0] ** round(1 / dt) - np.exp(w[0])))
    assert 3.8 < errors[0] / errors[1] < 4.2


def test_dt_is_drawn_log_uniformly_within_its_bounds():
    for name in ("s4", "dss", "s5"):
        layer = mathematics(name).Options(2000, 2000 if name == "s5" else 2, 4, dt_min=1e-4, dt_max=0.3)
        if name == "s5":
            layer = s5.Options(4, 2000, 4, blocks=500, dt_min=1e-4, dt_max=0.3)
        drawn = mathematics(name).initial(layer, np.random.default_rng(1))["log_dt"]
        assert np.log(1e-4) <= drawn.min() < np.log(1e-4) + 0.1
        assert np.log(0.3) - 0.1 < drawn.max() <= np.log(0.3)


@pytest.mark.parametrize("c_init", s5.C_INITS)
def test_s5_c_has_the_deviation_that_its_recipe_says(c_init):
    h, p = 64, 32
    values = s5.initial(s5.Options(h, p, c_init=c_init), np.random.default_rng(0))
    # C V with V half of a unitary matrix keeps the deviation of C's entries
    expected = {"trunc_standard_normal": p**-0.5, "lecun_normal": (p * h) ** -0.5, "complex_normal": 0.5**0.5}
    drawn = np.concatenate([values["C_re"].ravel(), values["C_im"].ravel()]).std()
    assert abs(drawn / expected[c_init] - 1) < 0.05


@pytest.mark.parametrize("case", [case for case in LAYERS if case[0] != "s5"], ids=label)
def test_kernel_and_recurrence_are_one_system(case):
    name, settings = case
    module = mathematics(name)
    options = module.Options(3, 8, 20, **settings)
    values = module.initial(options, np.random.default_rng(0))
    u = np.random.default_rng(1).standard_normal((2, 25, 3))
    taps = module.kernels(options, values, 25)
    expected = u * values["D"]
    for step in range(25):
        for other in range(step + 1):
            expected[:, step] += taps[0, :, step - other] * u[:, other]
        if options.bidirectional:
            for other in range(step, 25):
                expected[:, step] += taps[1, :, other - step] * u[:, other]
    np.testing.assert_allclose(module.recurrence(options, values, u), expected, atol=1e-12)


def test_truncated_output_vector_round_trip(golden):
    reference = golden("s4_dplr")
    options = s4.Options(4, 64, 784)
    half = {"C": reference["Ctilde_L784_dense64"], "P": reference["N64_P"], "B": reference["N64_B"]}
    values = {"Lambda_re": np.log(-reference["N64_w"].real)[None], "Lambda_im": reference["N64_w"].imag[None]}
    values |= {"log_dt": np.log(reference["dt"]), "D": np.zeros(4)}
    values |= {"C_re": half["C"].real, "C_im": half["C"].imag}
    values |= {"P_re": half["P"].real[None, None], "P_im": half["P"].imag[None, None]}
    values |= {"B_re": half["B"].real[None], "B_im": half["B"].imag[None]}
    np.testing.assert_allclose(s4.output_vectors(options, values)[0], both(reference["C"]), atol=1e-9)
    truth = reference["K_L784_dense64"]
    assert np.abs(s4.kernels(options, values, 784)[0] - truth).max() < 1e-12 * np.abs(truth).max()


@pytest.mark.parametrize("variant", dss.VARIANTS)
def test_dss_kernels_against_the_reference(golden, variant):
    reference = golden("dss")
    lam, w = reference["Lambda"], reference["W"]
    options = dss.Options(4, 64, 784, variant=variant, conj_sym=False)
    values = {"Lambda_re": (np.log(-lam.real) if variant == "exp" else lam.real)[None], "Lambda_im": lam.imag[None]}
    values |= {"W_re": w.real, "W_im": w.imag, "log_dt": np.log(reference["step"])}
    truth = reference[f"K_{variant}_np64"]
    assert np.abs(dss.kernels(options, values, 784)[0] - truth).max() < 1e-12 * np.abs(truth).max()


def test_the_seed_alone_decides_the_values():
    options = network_options("s4", 1, 10, 32, {"d_model": 4, "n": 4})
    one, same, other = initial(options, 0), initial(options, 0), initial(options, 1)
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["encoder.weight"], other["encoder.weight"])
    # a deeper network starts with the same blocks and the same decoder
    deeper = initial(network_options("s4", 1, 10, 32, {"d_model": 4, "n": 4, "n_blocks": 3}), 0)
    assert all(np.array_equal(one[name], deeper[name]) for name in one)


def test_parameter_groups_name_real_parameters():
    for name in ("s4", "dss", "s5"):
        options = network_options(name, 1, 10, 32, {"d_model": 4, "n": 4, "norm": "batch"})
        values = initial(options, 0)
        ssm = ssm_parameter_names(options)
        assert ssm < set(values)
        assert {"blocks.0.layer.Lambda_re", "blocks.1.layer.log_dt"} <= ssm
        assert not any(name.endswith((".C_re", ".D", "weight", "bias")) for name in ssm)
        expected = {f"blocks.{i}.norm_post.running_{kind}" for i in range(2) for kind in ("mean", "var")}
        assert statistic_names(options) == expected <= set(values)


def test_lengths():
    for least in (1, 2, 7, 97, 1567, 12289):
        size = transform_length(least)
        assert size >= least
        assert size % 2 == 0
        for prime in (2, 3, 5):
            while size % prime == 0:
                size //= prime
        assert size == 1
    assert [chunk_length(length) for length in (1, 2, 4, 5, 784)] == [1, 2, 2, 3, 28]


def test_largest_divisor_is_the_largest_that_fits():
    for number in range(1, 61):
        for most in range(-3, 71):
            fitting = [size for size in range(1, most + 1) if number % size == 0]
            assert largest_divisor(number, most) == max(fitting, default=1)


def test_operations_count_the_mixing_matrices():
    def flops(**settings):
        options = network_options("s5", 1, 10, 784, {"d_model": 128, "n_blocks": 1, "n": 64, **settings})
        return operations(options, 16, 1).forward_flops

    mixing = flops() - flops(mixing="none")
    assert mixing == 2 * 16 * 784 * 128 * 128
    assert flops(activation="full_glu") - flops() == 2 * mixing
