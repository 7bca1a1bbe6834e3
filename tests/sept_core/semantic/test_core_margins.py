from __future__ import annotations

import pytest
import torch

from sept_core.errors import InputError
from sept_core.semantic import MARGIN_MODES, handcrafted_distances, margins

CLASSES = ["rain", "dog bark", "sea waves"]
NEIGHBORS = [["drizzle", "a downpour"], ["barking puppy", "hound"], ["surf", "ocean swell"]]
TEMPLATES = ["This is a sound of {}.", "{} is heard", "a clip of {}", "the noise {} makes"]


def unit(tower, text):
    features = tower.encode([text])[0]
    return features / features.norm()


def test_margins_equal_the_formula_written_out(causal_tower):
    mine = handcrafted_distances(causal_tower, CLASSES, NEIGHBORS, TEMPLATES)
    assert mine.shape == (3, 3, 2)
    for i, c in enumerate(CLASSES):
        for j, terms in enumerate(NEIGHBORS):
            for n, p in enumerate(terms):
                total = 0.0
                for template in TEMPLATES:
                    h_c = unit(causal_tower, template.replace("{}", c))
                    h_p = unit(causal_tower, template.replace("{}", p))
                    total += float(torch.sqrt(sum((a - b) ** 2 for a, b in zip(h_c, h_p, strict=True))))
                assert mine[i, j, n].item() == pytest.approx(total / len(TEMPLATES), abs=1e-10)


def test_factors_scale_handcrafted_margins(causal_tower):
    inputs = {"tower": causal_tower, "classes": CLASSES, "neighbors": NEIGHBORS, "templates": TEMPLATES}
    plain = handcrafted_distances(causal_tower, CLASSES, NEIGHBORS, TEMPLATES)
    intra, inter = margins("handcrafted", margin_intra=0.5, margin_inter=1.5, **inputs)
    torch.testing.assert_close(intra, 0.5 * torch.stack([plain[i, i] for i in range(3)]))
    torch.testing.assert_close(inter, 1.5 * plain)


def test_constant_margins_are_the_factors_and_none_pulls_to_zero_and_pushes_without_limit(causal_tower):
    inputs = {"tower": causal_tower, "classes": CLASSES, "neighbors": NEIGHBORS, "templates": TEMPLATES}
    intra, inter = margins("constant", margin_intra=0.3, margin_inter=0.9, **inputs)
    assert set(intra.flatten().tolist()) == {0.3}
    assert set(inter.flatten().tolist()) == {0.9}
    intra, inter = margins("none", margin_intra=0.3, margin_inter=0.9, **inputs)
    assert set(intra.flatten().tolist()) == {0.0}
    assert set(inter.flatten().tolist()) == {2.0}  # no two unit vectors are farther apart


@pytest.mark.parametrize("mode", MARGIN_MODES)
@pytest.mark.parametrize(
    ("neighbors", "said"),
    [
        ([["drizzle", "a downpour"], ["hound"], ["surf", "swell"]], "class 'dog bark' has 1 neighbours and 'rain' 2"),
        ([["drizzle"], ["hound", "puppy"], ["surf"]], "class 'rain' has 1 neighbours and 'dog bark' 2"),
        ([["drizzle"], ["hound"]], "2 lists of neighbours for 3 classes"),
        ([[], [], []], "class 'rain' has 0 neighbours; give every class the same number"),
    ],
)
def test_unequal_numbers_of_neighbours_are_refused_in_every_mode(causal_tower, mode, neighbors, said):
    inputs = {"tower": causal_tower, "classes": CLASSES, "neighbors": neighbors, "templates": TEMPLATES}
    with pytest.raises(InputError, match=said):
        margins(mode, margin_intra=1.0, margin_inter=1.0, **inputs)
    with pytest.raises(InputError, match=said):
        handcrafted_distances(causal_tower, CLASSES, neighbors, TEMPLATES)


def test_an_unknown_mode_is_refused(causal_tower):
    inputs = {"tower": causal_tower, "classes": CLASSES, "neighbors": NEIGHBORS, "templates": TEMPLATES}
    with pytest.raises(InputError, match="margin_mode 'hand'.*handcrafted"):
        margins("hand", margin_intra=1.0, margin_inter=1.0, **inputs)
