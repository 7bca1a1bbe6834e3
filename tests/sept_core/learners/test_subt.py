"""SubT against its formula, with the singular value decomposition as it is in the paper and PyTorch's own SGD."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sept_core.encoders.prefix import PromptBank
from sept_core.hyper import complete
from sept_core.learners import Init
from sept_core.learners.subt import SubT
from sept_core.semantic import SEPT_HYPER, SemanticExpansion, load_neighbors, load_templates
from sept_core.training import FusedTraining, Schedule

TEMPLATE = "This is a sound of {}."
NAMES = ["one", "two", "three"]
OTHERS = ["rooster", "a helicopter engine"]
MORE_THAN_DIMENSIONS = [f"{first} {second}" for first in ("rain", "dog", "sea", "crow") for second in [*NAMES, "four"]]
SCALE, LR, DECAY = 10.0, 0.05, 0.01


def learner_of(tower, classes=NAMES):
    given = {"lr": LR, "weight_decay": DECAY, "schedule": "constant"}
    hyper = complete(SubT.hyper, given, "test", {"logit_scale": SCALE, "template": TEMPLATE})
    return SubT(tower, hyper, classes), hyper


def zero_shot(tower, names):
    return torch.stack([F.normalize(tower.encode([TEMPLATE.format(name)])[0], dim=0) for name in names])


class Slow:
    """The published method: V starts at V0; training classes have U S V^T and a gate of 1, others their projection."""

    def __init__(self, tower, classes):
        self.tower, self.plain = tower, zero_shot(tower, classes)
        u, s, self.v0 = torch.linalg.svd(self.plain, full_matrices=False)  # rows of v0 are right singular vectors
        self.coordinates = u @ torch.diag(s)
        self.v = self.v0.clone().requires_grad_()

    def trained(self):
        moved = self.coordinates @ self.v
        return torch.stack([(z + u / u.norm()) for z, u in zip(self.plain, moved, strict=True)])

    def others(self, names):
        rows = []
        for z in zero_shot(self.tower, names):
            inside = torch.stack([z.dot(row) for row in self.v0])
            moved = sum(share * row for share, row in zip(inside, self.v, strict=True))
            rows.append(z + inside.norm().clamp(0.0, 1.0) * moved / moved.norm())
        return torch.stack(rows)


def logits(audio, features):
    return SCALE * audio @ torch.stack([row / row.norm() for row in features]).T


@pytest.fixture
def clips(causal_tower):
    torch.manual_seed(3)
    return F.normalize(torch.randn(24, causal_tower.dim, dtype=torch.float64), dim=-1)


@pytest.mark.parametrize(("classes", "sept"), [(NAMES, False), (NAMES, True), (MORE_THAN_DIMENSIONS, False)])
def test_training_and_prediction_are_those_of_the_published_formula(causal_tower, clips, classes, sept):
    learner, hyper = learner_of(causal_tower, classes)
    labels = torch.arange(len(clips)) % len(classes)
    semantic = None
    if sept:
        given = complete(SEPT_HYPER, {"n_neighbors": 2, "lambda_se": 3.0, "n_templates": 2}, "test")
        lists = load_neighbors("FSDD", protocol="cross-dataset")
        semantic = SemanticExpansion.of(causal_tower, classes, lists, load_templates("speech"), hyper | given)
    run = FusedTraining(
        learner=learner,
        classes=PromptBank.of(causal_tower, classes),
        semantic=semantic,
        embeddings=clips,
        labels=labels,
        rows=[list(range(12)), list(range(12, 24))],
        keys=["a", "b"],
        schedule=Schedule.of(3, 12, hyper),
    )
    slow = [Slow(causal_tower, classes) for _ in range(2)]
    optimisers = [torch.optim.SGD([one.v], lr=LR, momentum=0.9, weight_decay=DECAY) for one in slow]
    start = learner.features(run.params, None, PromptBank.of(causal_tower, classes))
    torch.testing.assert_close(F.normalize(start[0], dim=-1), zero_shot(causal_tower, classes))
    for _ in range(3):
        run.train_epoch()
        for replica, (one, sgd) in enumerate(zip(slow, optimisers, strict=True)):
            mine = slice(12 * replica, 12 * replica + 12)
            loss = F.cross_entropy(logits(clips[mine], one.trained()), labels[mine])
            if semantic is not None:
                features = torch.cat([one.trained(), one.others(semantic.bank.names[len(classes) :])])
                intra, inter = semantic.hinges(features[None]).losses()
                loss = loss + semantic.weight * (intra + inter).sum()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    bank, others = PromptBank.of(causal_tower, classes), PromptBank.of(causal_tower, OTHERS)
    audio = clips.expand(2, *clips.shape)
    for names, own, base in ((bank, Slow.trained, True), (others, lambda one: one.others(OTHERS), False)):
        found = learner.logits(run.params, audio, learner.features(run.params, None, names), names.names, base=base)
        for replica, one in enumerate(slow):
            torch.testing.assert_close(found[replica], logits(clips, own(one)).detach(), rtol=1e-6, atol=1e-7)
    # A training class is gated by its projection like any other name, which is all of it.
    torch.testing.assert_close(slow[0].others(classes), slow[0].trained(), rtol=1e-9, atol=1e-11)


def test_a_learned_basis_does_not_depend_on_signs_that_a_decomposition_is_free_to_choose(causal_tower, monkeypatch):
    first, _ = learner_of(causal_tower)
    plain = torch.linalg.svd

    def turned(*given, **options):
        u, s, v = plain(*given, **options)
        signs = torch.tensor([1.0, -1.0, -1.0], dtype=u.dtype)
        return u * signs, s, v * signs[:, None]

    monkeypatch.setattr(torch.linalg, "svd", turned)
    second, _ = learner_of(causal_tower)
    torch.testing.assert_close(first.basis, second.basis)


def test_no_gradient_and_no_learned_prompt_passes_through_the_text_tower(causal_tower, monkeypatch):
    learner, _ = learner_of(causal_tower)
    params = learner.init(Init(["a"], torch.device("cpu"), torch.float64))
    bank = PromptBank.of(causal_tower, [*NAMES, *OTHERS])
    expected = learner.features(params, None, bank)

    def refuse(*given):
        raise AssertionError("the text tower was used")

    monkeypatch.setattr(type(causal_tower), "forward", refuse)
    torch.testing.assert_close(learner.features(params, None, bank), expected)


def test_configurations_with_other_templates_or_classes_do_not_share_a_batch(causal_tower):
    learner, hyper = learner_of(causal_tower)
    others = [SubT(causal_tower, hyper | {"template": "A {}."}, NAMES), SubT(causal_tower, hyper, OTHERS)]
    same = SubT(causal_tower, hyper | {"lr": 0.5, "logit_scale": 3.0}, NAMES)
    assert learner.shape == same.shape
    assert all(learner.shape != other.shape for other in others)
