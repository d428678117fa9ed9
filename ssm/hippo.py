"""HiPPO matrices and their normal plus low-rank and diagonal plus low-rank forms, float64.

Sources: HiPPO (Gu et al. 2020, arXiv 2008.07669), eq. 29 and appendix D; S4 (Gu et al. 2022, arXiv 2111.00396),
theorem 1 and appendix C; How to train your HiPPO (arXiv 2206.12037) for the Fourier basis.
Nothing is clipped or rounded here; the phase of every eigenvector is fixed (see ``dplr``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from settings.errors import SettingError
from settings.rules import check_choice, check_whole

MOST_STATES = 2**16  # HiPPO's matrices have as many rows and columns: 34 GB
RANKS = {"legs": 1, "legt": 2, "fourier": 1}  # the least rank that makes A + P P^T normal


class Dplr(NamedTuple):
    """A = V diag(w) V* - P P*, one member of each conjugate pair, in the eigenbasis. N even."""

    w: np.ndarray  # (N/2,) complex128, negative imaginary part, ascending
    P: np.ndarray  # (rank, N/2) complex128
    B: np.ndarray  # (N/2,) complex128
    V: np.ndarray  # (N, N/2) complex128, unit columns


def legs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """HiPPO-LegS: A (n, n) lower triangular and B (n,)."""
    root = np.sqrt(2.0 * np.arange(n) + 1.0)
    a = -np.tril(np.outer(root, root), -1) - np.diag(np.arange(n) + 1.0)
    return a, root


def legt(n: int) -> tuple[np.ndarray, np.ndarray]:
    """HiPPO-LegT (translated Legendre), halved so that its window has length 1: A (n, n), B (n,)."""
    index = np.arange(n)
    root = np.sqrt(2.0 * index + 1.0)
    lag = index[:, None] - index[None, :]
    sign = np.where(lag < 0, (-1.0) ** lag, 1.0)
    return -0.5 * np.outer(root, root) * sign, 0.5 * root


def fourier(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Truncated Fourier basis (FouT): A (n, n), B (n,). n must be even."""
    between = np.zeros(n - 1)
    between[0::2] = np.arange(n // 2)
    b = np.where(np.arange(n) % 2 == 0, np.sqrt(2.0), 0.0)
    b[0] = 1.0
    skew = np.pi * (np.diag(between, -1) - np.diag(between, 1))
    return skew - np.outer(b, b), b


def low_rank(init: str, n: int, rank: int) -> np.ndarray:
    """P (rank, n), real, such that A + P^T P is a multiple of the identity plus a skew matrix; spare rows are zero."""
    check_choice("init", init, RANKS)
    check_whole("rank", rank, RANKS[init])
    index = np.arange(n)
    if init == "legs":
        rows = np.sqrt(index + 0.5)[None, :]
    elif init == "legt":
        root = np.sqrt(index + 0.5)
        rows = np.stack([np.where(index % 2 == 1, root, 0.0), np.where(index % 2 == 0, root, 0.0)])
    else:
        rows = fourier(n)[1][None, :]
    return np.concatenate([rows, np.zeros((rank - len(rows), n))])


def transition(init: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The named HiPPO pair A (n, n), B (n,)."""
    check_choice("init", init, RANKS)
    return {"legs": legs, "legt": legt, "fourier": fourier}[init](n)


def dplr(init: str, n: int, rank: int = 1) -> Dplr:
    """Diagonal plus low-rank form of a HiPPO matrix of even size n, half of each conjugate pair.

    Eigenvectors are defined up to a phase: here each is turned so that its entry of V*B is real and not negative.
    """
    if n % 2:
        raise SettingError("n", n, "must be even, for conjugate pairs", f"set n={n + 1} or n={n - 1}.")
    a, b = transition(init, n)
    p = low_rank(init, n, rank)
    normal = a + p.T @ p
    real = np.mean(np.diag(normal))
    # -i (normal - real) is Hermitian, because normal - real is skew: eigh is exact and its eigenvectors unitary
    imag, vectors = np.linalg.eigh(-1j * (normal - real * np.eye(n)))
    half = vectors[:, : n // 2].copy()
    imag = imag[: n // 2].copy()
    if abs(imag[-1]) < 1e-9:
        # a double zero eigenvalue (Fourier): its two real eigenvectors make one conjugate pair
        imag[-1] = 0.0
        plane = np.linalg.svd(normal - real * np.eye(n))[2][-2:]
        half[:, -1] = (plane[0] + 1j * plane[1]) / np.sqrt(2.0)
    overlap = half.conj().T @ b
    half = half * np.where(np.abs(overlap) > 0, overlap / np.maximum(np.abs(overlap), 1e-300), 1.0)
    return Dplr(real + 1j * imag, (half.conj().T @ p.T).T, half.conj().T @ b, half)


def normal_eigen(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues (n,) and unitary eigenvectors (n, n) of HiPPO-N = HiPPO-LegS + p p^T, ascending imaginary part.

    S5 (Smith et al. 2023, arXiv 2208.04933), section 4.3. n may be odd.
    """
    a, _ = legs(n)
    p = low_rank("legs", n, 1)
    imag, vectors = np.linalg.eigh(-1j * (a + p.T @ p + 0.5 * np.eye(n)))
    return -0.5 + 1j * imag, vectors
