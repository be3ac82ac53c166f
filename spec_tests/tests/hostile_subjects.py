"""An adapter file whose subjects misbehave in every way that a process can; ``good`` does not."""

import ctypes
import os
import random
import sys
import time

import numpy as np
import torch

from spec_tests import Unsupported, subject


def kl(p, q):
    return (torch.special.xlogy(p, p) - torch.special.xlogy(p, q)).sum()


@subject("kl_divergence")
def good(p, q):
    return kl(p, q)


@subject("kl_divergence")
def raises(p, q):
    raise ValueError("<b>the matrix is singular</b>")


@subject("kl_divergence")
def asserts(p, q):
    assert len(p) > 100, "an assertion of the subject's own"


@subject("kl_divergence")
def leaves_by_exit(p, q):
    os._exit(3)


@subject("kl_divergence")
def leaves_by_sys_exit(p, q):
    sys.exit(3)


@subject("kl_divergence")
def interrupts(p, q):
    raise KeyboardInterrupt


@subject("kl_divergence")
def segfaults(p, q):
    ctypes.string_at(0)


@subject("kl_divergence")
def sleeps(p, q):
    time.sleep(1e6)


@subject("kl_divergence")
def spins(p, q):
    while True:
        pass


@subject("kl_divergence")
def prints_megabytes(p, q):
    print("x" * 3_000_000)
    print("x" * 3_000_000, file=sys.stderr)
    return kl(p, q)


@subject("kl_divergence")
def allocates_tensors(p, q):
    hoard = []
    while True:
        hoard.append(torch.ones(10**7))


@subject("kl_divergence")
def allocates_lists(p, q):
    hoard = []
    while True:
        hoard.append([0] * 100_000)


@subject("kl_divergence")
def forks(p, q):
    if os.fork() == 0:
        time.sleep(1e6)
    return kl(p, q)


@subject("kl_divergence")
def supports_nothing(p, q):
    raise Unsupported("no divergences on Fridays")


@subject("kl_divergence")
def changes_default_dtype(p, q):
    torch.set_default_dtype(torch.float64)
    return kl(p, q)


@subject("kl_divergence")
def turns_gradients_off(p, q):
    torch.set_grad_enabled(False)
    return kl(p, q)


@subject("kl_divergence")
def reseeds_torch(p, q):
    torch.manual_seed(0)
    return kl(p, q)


@subject("kl_divergence")
def reseeds_numpy(p, q):
    np.random.seed(0)
    return kl(p, q)


@subject("kl_divergence")
def reseeds_python(p, q):
    random.seed(0)
    return kl(p, q)


@subject("kl_divergence")
def writes_to_its_input(p, q):
    with torch.no_grad():
        p.mul_(0.5)
    return kl(2 * p, q)


@subject("kl_divergence")
def returns_nan(p, q):
    return kl(p, q) * float("nan")


@subject("kl_divergence")
def returns_a_string(p, q):
    return "0.3"


@subject("kl_divergence")
def returns_a_vector(p, q):
    return kl(p, q)[None]


@subject("kl_divergence")
def returns_float32(p, q):
    return kl(p, q).float()


@subject("kl_divergence")
def returns_another_device(p, q):
    return kl(p, q).to("meta")


@subject("kl_divergence")
def breaks_torch(p, q):
    torch.Tensor.sum = lambda *a, **k: None
    return torch.zeros((), dtype=p.dtype)
