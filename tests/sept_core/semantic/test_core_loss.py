from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from sept_core.semantic import Hinges, expansion_losses

sizes = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(0, 10_000))


def draw(size):
    replicas, classes, neighbors, seed = size
    g = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(replicas, classes, 6, generator=g, dtype=torch.float64), dim=-1)
    p = F.normalize(torch.randn(replicas, classes, neighbors, 6, generator=g, dtype=torch.float64), dim=-1)
    intra = 2 * torch.rand(classes, neighbors, generator=g, dtype=torch.float64)
    inter = 2 * torch.rand(classes, classes, neighbors, generator=g, dtype=torch.float64)
    return z, p, intra, inter


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) ** 0.5


@settings(max_examples=40, deadline=None)
@given(sizes)
def test_the_loss_equals_the_formula_written_out(size):
    z, p, intra, inter = draw(size)
    replicas, classes, neighbors, _ = size
    l_intra, l_inter = expansion_losses(z, p, intra, inter)
    for r in range(replicas):
        pulls, pushes = [], []
        for i in range(classes):
            for n in range(neighbors):
                pulls.append(max(0.0, distance(z[r, i], p[r, i, n]) - intra[i, n].item()))
                for j in range(classes):
                    if j != i:
                        pushes.append(max(0.0, inter[i, j, n].item() - distance(z[r, i], p[r, j, n])))
        assert l_intra[r].item() == pytest.approx(sum(pulls) / len(pulls), abs=1e-12)
        assert l_inter[r].item() == pytest.approx(sum(pushes) / len(pushes) if pushes else 0.0, abs=1e-12)
    # A hinge that adds to the loss is active, and no other.
    intra_active, inter_active = Hinges.of(z, p, intra, inter).active()
    for r in range(replicas):
        far = [distance(z[r, i], p[r, i, n]) > intra[i, n].item() for i in range(classes) for n in range(neighbors)]
        near = [
            distance(z[r, i], p[r, j, n]) < inter[i, j, n].item()
            for i in range(classes)
            for j in range(classes)
            if j != i
            for n in range(neighbors)
        ]
        assert intra_active[r].item() == pytest.approx(100 * sum(far) / len(far))
        assert inter_active[r].item() == pytest.approx(100 * sum(near) / len(near) if near else 0.0)


@settings(max_examples=40, deadline=None)
@given(sizes, st.floats(0, 0.5))
def test_the_loss_is_zero_when_every_distance_respects_its_margin(size, slack):
    z, p, _, _ = draw(size)
    distances = (z[:, :, None, None] - p[:, None]).norm(dim=-1)
    own = torch.arange(z.shape[1])
    intra = distances[:, own, own].amax(0) + slack
    inter = distances.amin(0) - slack
    l_intra, l_inter = expansion_losses(z, p, intra, inter)
    assert l_intra.abs().max() <= 1e-12
    assert l_inter.abs().max() <= 1e-12


@settings(max_examples=40, deadline=None)
@given(sizes, st.randoms(use_true_random=False))
def test_permuting_classes_changes_nothing(size, random):
    z, p, intra, inter = draw(size)
    order = list(range(size[1]))
    random.shuffle(order)
    plain = expansion_losses(z, p, intra, inter)
    permuted = expansion_losses(z[:, order], p[:, order], intra[order], inter[order][:, order])
    for mine, other in zip(permuted, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)


def test_pull_and_push_act_in_the_right_direction():
    z = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]], requires_grad=True)
    p = F.normalize(torch.tensor([[[[1.0, 1.0]], [[1.0, 2.0]]]]), dim=-1)
    l_intra, _ = expansion_losses(z, p, torch.zeros(2, 1), torch.zeros(2, 2, 1))
    pull = torch.autograd.grad(l_intra.sum(), z)[0]
    assert ((z - 0.1 * pull)[0, 0] - p[0, 0, 0]).norm() < (z[0, 0] - p[0, 0, 0]).norm()
    _, l_inter = expansion_losses(z, p, torch.zeros(2, 1), torch.full((2, 2, 1), 2.0))
    push = torch.autograd.grad(l_inter.sum(), z)[0]
    assert ((z - 0.1 * push)[0, 0] - p[0, 1, 0]).norm() > (z[0, 0] - p[0, 1, 0]).norm()


def test_a_class_that_coincides_with_a_neighbour_has_a_finite_gradient():
    z = F.normalize(torch.ones(1, 2, 3), dim=-1).requires_grad_()
    p = z.detach()[:, :, None].expand(1, 2, 2, 3)
    losses = expansion_losses(z, p, torch.zeros(2, 2), torch.full((2, 2, 2), 1.0))
    gradient = torch.autograd.grad(sum(loss.sum() for loss in losses), z)[0]
    assert gradient.isfinite().all()
