"""The space of prompts is measured as defined, the same every time; zero-shot has not drifted at all."""

from __future__ import annotations

import math

import pytest
import torch
from trial_made import suited

from sept_core.errors import InputError
from sept_core.learners import LEARNERS, Init
from sept_core.prompt_form import Wording
from sept_core.prompt_space import SLACK, Learned, Names, PromptSpace, measure_space
from sept_core.semantic import margins

NAMES = Names(
    classes=("rain", "dog_bark", "sea waves", "Crow", "engine"),
    trained=3,
    neighbors=(
        ("drizzle", "a downpour"),
        ("barking puppy", "hound"),
        ("surf", "swell"),
        ("rook", "caw"),
        ("motor", "hum"),
    ),
    templates=("This is a sound of {}.", "{} is heard", "a clip of {}"),
    template="the sound of {}.",
)
REPLICAS = 2


def hyper_of(name, **given):
    known = {"logit_scale": 10.0, "template": NAMES.template}
    return {one.name: known.get(one.name, one.default) for one in LEARNERS[name].hyper} | given


def learned(tower, name, own=None, **given):
    hyper = hyper_of(name, **suited(name, {"n_ctx": 3}), **given)
    wording = Wording.of(hyper)
    learner = LEARNERS[name](tower, hyper, wording.names(NAMES.classes)[: NAMES.trained])
    like = next(tower.parameters())
    params = learner.init(Init([f"replica {number}" for number in range(REPLICAS)], like.device, like.dtype))
    # Far from the start, so that margins are violated.
    factors = {"ctx": 30.0, "basis": torch.linspace(-1.0, 2.0, tower.dim, dtype=like.dtype)}
    params = {key: value * factors.get(key, 1.0) for key, value in params.items()}
    audio = torch.randn(REPLICAS, 1, tower.dim, dtype=like.dtype, generator=torch.Generator().manual_seed(0))
    return Learned(name, learner, params, wording, audio if learner.conditional else None, own)


def unit(vector):
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector]


def written(tower, template, name):
    return unit(tower.encode([template.replace("{}", name)])[0].tolist())


def slow(tower, prompt, replica, factors=(1.0, 1.0)):
    """Every measure of one replica, written out name by name."""
    own = {key: value[replica : replica + 1] for key, value in prompt.params.items()}
    audio = None if prompt.audio is None else prompt.audio[replica : replica + 1]

    def feature(name):
        return unit(prompt.learner.features(own, audio, prompt.wording.bank(tower, [name])).flatten().tolist())

    spoken = prompt.wording.names(NAMES.classes)
    z, p = [feature(name) for name in spoken], [[feature(term) for term in terms] for terms in NAMES.neighbors]
    found = {}
    for group, part in (("base", range(3)), ("new", range(3, 5))):
        found[f"drift_{group}"] = sum(math.dist(z[i], written(tower, NAMES.template, spoken[i])) for i in part) / len(
            part
        )
        intra, inter, near, far = [], [], [], []
        for i in part:
            for j in part:
                for n, term in enumerate(NAMES.neighbors[j]):
                    margin = sum(
                        math.dist(written(tower, t, spoken[i]), written(tower, t, term)) for t in NAMES.templates
                    ) / len(NAMES.templates)
                    distance = math.dist(z[i], p[j][n])
                    if i == j:
                        near.append(distance)
                        intra.append(distance > factors[0] * margin + SLACK)
                    else:
                        far.append(distance)
                        inter.append(distance < factors[1] * margin - SLACK)
        found[f"ratio_{group}"] = (sum(near) / len(near)) / (sum(far) / len(far))
        found[f"violated_intra_{group}"] = sum(intra) / len(intra)
        found[f"violated_inter_{group}"] = sum(inter) / len(inter)
    return found


@pytest.mark.parametrize("name", ["coop", "kgcoop", "dept", "cocoop"])
@pytest.mark.parametrize("tower", ["causal_tower", "bidirectional_tower"])
def test_every_number_is_that_of_a_slow_reference(name, tower, request):
    tower = request.getfixturevalue(tower)
    prompt = learned(tower, name)
    own = margins(
        "handcrafted",
        margin_intra=0.6,
        margin_inter=1.4,
        tower=tower,
        classes=prompt.wording.names(NAMES.classes),
        neighbors=NAMES.neighbors,
        templates=NAMES.templates,
    )
    view = measure_space(tower, NAMES, [learned(tower, name, own)]).views[1]
    for replica in range(REPLICAS):
        expected = slow(tower, prompt, replica)
        expected |= {
            f"own_{measure}": value
            for measure, value in slow(tower, prompt, replica, (0.6, 1.4)).items()
            if measure.startswith("violated")
        }
        found = {measure: values[replica] for measure, values in view.values.items() if measure != "drift"}
        assert found == pytest.approx(expected, abs=1e-4)
        drift = (3 * expected["drift_base"] + 2 * expected["drift_new"]) / 5
        assert view.values["drift"][replica] == pytest.approx(drift, abs=1e-4)


def test_zero_shot_has_no_drift_at_all_and_hand_written_prompts_violate_nothing(causal_tower):
    written, view = measure_space(causal_tower, NAMES, [learned(causal_tower, "zero-shot")]).views
    assert [view.values[name] for name in ("drift", "drift_base", "drift_new")] == [[0.0] * REPLICAS] * 3
    violated = {name: values for name, values in written.values.items() if name.startswith("violated")}
    assert set(violated) == {f"violated_{kind}_{group}" for kind in ("intra", "inter") for group in ("base", "new")}
    assert set(map(tuple, violated.values())) == {(0.0,)}
    assert written.violated == [[0.0] * 5] * 5
    # So it is where it was on the map.
    assert view.class_points == written.class_points


def test_the_cells_of_a_picture_are_means_over_neighbours_and_replicas(causal_tower):
    prompt = learned(causal_tower, "coop")
    space = measure_space(causal_tower, NAMES, [prompt])
    view = space.views[1]
    intra = [view.violated[i][i] for i in range(3)]
    assert sum(intra) / 3 == pytest.approx(sum(view.values["violated_intra_base"]) / REPLICAS, abs=1e-3)
    near = sum(view.distances[i][i] for i in range(3)) / 3
    far = sum(view.distances[i][j] for i in range(3) for j in range(3) if i != j) / 6
    # A mean of ratios is not the ratio of means, but the replicas are alike.
    assert near / far == pytest.approx(sum(view.values["ratio_base"]) / REPLICAS, abs=0.05)
    assert len(view.class_points) == 5
    assert len(view.neighbor_points) == 10
    assert 0.0 < space.explained <= 1.0


def test_measuring_twice_gives_the_same_bytes_and_the_store_gives_the_same_back(causal_tower):
    prompts = [learned(causal_tower, "coop"), learned(causal_tower, "kgcoop")]
    first = measure_space(causal_tower, NAMES, prompts, ["a remark"])
    assert measure_space(causal_tower, NAMES, prompts, ["a remark"]).to_json() == first.to_json()
    assert PromptSpace.from_json(first.to_json()).to_json() == first.to_json()


def test_new_classes_without_neighbours_have_their_drift_only(causal_tower):
    names = Names(NAMES.classes, 3, NAMES.neighbors[:3], NAMES.templates, NAMES.template)
    space = measure_space(causal_tower, names, [learned(causal_tower, "coop")])
    full = measure_space(causal_tower, NAMES, [learned(causal_tower, "coop")])
    assert space.groups == ("base",)
    assert set(space.views[1].values) == {
        "drift", "drift_base", "drift_new", "ratio_base", "violated_intra_base", "violated_inter_base",
    }  # fmt: skip
    # What is known of base classes does not depend on whether new ones are looked at.
    for name, values in space.views[1].values.items():
        assert values == pytest.approx(full.views[1].values[name], abs=1e-4)


def test_two_names_that_the_tower_cannot_tell_apart_are_refused(causal_tower):
    same = Names(NAMES.classes, 3, (("drizzle", "drizzle"), *NAMES.neighbors[1:]), NAMES.templates, NAMES.template)
    with pytest.raises(InputError, match="the same tokens"):
        measure_space(causal_tower, same, [learned(causal_tower, "coop")])
