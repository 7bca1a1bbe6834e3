"""How names stand in prompts, what a context starts from, and which names are refused."""

from __future__ import annotations

import pytest
import torch
from trial_made import TRAINED, UNSEEN, suited

from sept_core.datasets import DATASETS, trained_classes
from sept_core.encoders.mini import load_mini
from sept_core.encoders.prefix import PromptBank, encode_prompts
from sept_core.errors import InputError
from sept_core.learners import LEARNERS, Init
from sept_core.prediction import Predictor
from sept_core.prompt import Prompt
from sept_core.prompt_form import EARLIER_WORDING, PROMPT_END, Wording
from sept_core.semantic import Neighbors, load_neighbors
from sept_core.trial import TrialInputs, TrialRun, make_config

WITH_CONTEXT = [name for name in TRAINED if PROMPT_END in LEARNERS[name].hyper]
OPTIONS = ("prompt_end", "name_case", "context_init", "schedule", "warmup_epochs", "weight_decay", "last_batch")


@pytest.fixture
def inputs(encoder, make_table):
    return TrialInputs(encoder, make_table("FSDD"), load_neighbors("FSDD"))


def config(inputs, method="coop", **hyper):
    hyper = suited(method, {"n_ctx": 2, "lr": 0.5, "n_neighbors": 2}) | hyper
    return make_config(inputs, method, hyper, shots=2, folds=["theo"], epochs=2, report_every=2, batch_size=8)


def learned(inputs, trial):
    """The exported prompt of a trial, its classes' features, and its result."""
    run = TrialRun(trial, inputs)
    while not run.finished:
        run.advance()
    result = run.result()
    card = {
        "study": trial.study_key,
        "baseline": trial.baseline,
        "hyper": trial.hyper,
        "encoder": {"name": "tiny", "fingerprint": inputs.encoder.fingerprint},
        "classes": {"trained": result.classnames["base"], "all": list(inputs.table.info.classnames)},
        "replicas": list(result.replicas),
    }
    return Prompt(card, run.learned), result


@pytest.mark.parametrize("method", [*WITH_CONTEXT, "coop+sept"])
def test_the_full_stop_is_behind_every_learned_prompt_in_training_measurement_and_prediction(inputs, method):
    tower = inputs.encoder.text
    trials = {end: config(inputs, method, prompt_end=end) for end in ("full-stop", "none")}
    assert config(inputs, method) == trials["full-stop"]
    run = TrialRun(trials["full-stop"], inputs)
    stage, training = run.tested, run._trainings[0]
    banks = [training._classes, *(group.bank for group in (*stage.measured.values(), *run._plan.tested.values()))]
    if training._semantic is not None:
        banks.append(training._semantic.bank)
    for bank in banks:
        assert not any(name.endswith(".") for name in bank.names)
        for row, length, name in zip(bank.embeddings, bank.lengths, bank.names, strict=True):
            assert torch.equal(row[:length], tower.embed(tower.tokenize([f" {name}."]).ids[0]))
    prompts = {end: learned(inputs, trial)[0] for end, trial in trials.items()}
    assert not torch.equal(prompts["none"].params["ctx"], prompts["full-stop"].params["ctx"])
    if method.startswith("coop"):
        audio, names = inputs.table.embeddings[:5], ["rain", "a dog bark", "helicopter"]
        for end, text in (("none", ""), ("full-stop", ".")):
            bank = PromptBank.of(tower, names, end=text)
            z = torch.nn.functional.normalize(encode_prompts(tower, prompts[end].params["ctx"][0], bank), dim=-1)
            expected = (10.0 * audio.double() @ z.T).softmax(-1)
            found = Predictor(prompts[end], inputs.encoder).probabilities(audio, names)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("baseline", ["zero-shot", *TRAINED])
def test_a_prompt_of_before_that_names_no_option_predicts_as_it_did(inputs, baseline):
    trial = config(inputs, baseline, **suited(baseline, {"prompt_end": "none"}))
    prompt, _ = learned(inputs, trial)
    before = Prompt({**prompt.card, "hyper": {k: v for k, v in trial.hyper.items() if k not in OPTIONS}}, prompt.params)
    assert Wording.of(before.card["hyper"]) == EARLIER_WORDING
    audio, names = inputs.table.embeddings[:5], ["rain", "a dog bark", "helicopter"]
    same, other = (Predictor(one, inputs.encoder).probabilities(audio, names) for one in (prompt, before))
    assert torch.equal(same, other)


def test_a_stored_configuration_of_before_keeps_its_signature_and_trains_what_it_did(inputs):
    explicit = {"prompt_end": "none"}
    new = config(inputs, **explicit)
    old = new.model_copy(update={"hyper": {name: new.hyper[name] for name in ("logit_scale", "lr", "n_ctx")}})
    assert set(new.hyper) - set(old.hyper) == set(OPTIONS)
    assert type(old).model_validate(old.model_dump(mode="json")).signature == old.signature != new.signature
    results = [learned(inputs, trial)[0].params["ctx"] for trial in (old, new)]
    assert torch.equal(*results)


@pytest.mark.parametrize("name", ["prompt_end", "name_case", "schedule", "last_batch"])
def test_every_option_is_part_of_the_signature_and_refuses_what_it_does_not_know(inputs, name):
    declared = {parameter.name: parameter for parameter in LEARNERS["coop"].hyper}[name]
    assert len({config(inputs, **{name: value}).signature for value in declared.choices}) == 2
    with pytest.raises(InputError, match=f"coop: {name}: 'x' is not one of"):
        config(inputs, **{name: "x"})


def test_names_are_lower_cased_or_as_their_dataset_writes_them():
    assert Wording(".").names(["Throat clearing", "city_center"]) == ("throat clearing", "city center")
    assert Wording(".", lower=False).names(["Throat clearing", "city_center"]) == ("Throat clearing", "city center")


@pytest.mark.parametrize("baseline", UNSEEN)
def test_names_as_written_reach_training_templates_measurement_and_prediction(
    encoder, make_table, baseline, monkeypatch
):
    inputs = TrialInputs(encoder, make_table("VocalSound"))
    seen = []
    plain = encoder.text.tokenize
    monkeypatch.setattr(encoder.text, "tokenize", lambda texts: seen.extend(texts) or plain(texts))
    encoder.text.forget()
    hyper = suited(baseline, {"name_case": "as-written", "n_ctx": 2})
    trial = make_config(inputs, baseline, hyper, shots=1, epochs=1)
    prompt, _ = learned(inputs, trial)
    Predictor(prompt, encoder).probabilities(inputs.table.embeddings[:2], inputs.table.info.classnames)
    texts = [text for text in seen if "cough" in text.lower() or "throat" in text.lower()]
    assert texts
    assert all("Cough" in text or "Throat clearing" in text for text in texts)


def test_a_context_starts_from_words_whose_tokens_are_its_length(inputs):
    tower, words = inputs.encoder.text, "this is a sound of"
    trial = config(inputs, context_init=words, n_ctx=0)
    assert trial.hyper["n_ctx"] == len(tower.words(words)) == len(tower.tokenize([words]).ids[0])
    assert trial == config(inputs, context_init=words, n_ctx=trial.hyper["n_ctx"])
    for baseline in WITH_CONTEXT:
        learner = LEARNERS[baseline](tower, config(inputs, baseline, context_init=words, n_ctx=0).hyper, ["rain"])
        start = learner.init(Init(["a", "b"], torch.device("cpu"), torch.float64))["ctx"]
        assert torch.equal(start[0], tower.embed(tower.words(words)))
        assert torch.equal(start[0], start[1])
    bank = Wording(".").bank(tower, ["dog bark", "rain"])
    plain = tower.encode([f"{words} dog bark.", f"{words} rain."])
    torch.testing.assert_close(encode_prompts(tower, start[0], bank), plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"context_init": "this is a sound of", "n_ctx": 16},
            r"the words '.*' are \d+ tokens for .*n_ctx is 16; set n_ctx",
        ),
        ({"n_ctx": 0}, "coop: n_ctx: a random context of no tokens"),
        ({"warmup_epochs": 2}, "coop: warmup_epochs: all 2 epochs are warm-up"),
        ({"context_init": "  "}, "coop: context_init: holds no words"),
    ],
)
def test_options_that_contradict_each_other_are_refused(inputs, given, said):
    with pytest.raises(InputError, match=said):
        config(inputs, **given)


def test_names_with_the_same_tokens_are_refused_before_a_trial_and_named_both(inputs):
    tower = inputs.encoder.text
    # NFKC, which mini's tokenizer applies: one text to the tower, two to a person.
    with pytest.raises(InputError, match="'rain' and '\uff52ain': the same tokens"):
        PromptBank.of(load_mini().text, ["rain", "sea waves", "\uff52ain"])
    with pytest.raises(InputError, match="'rain' twice: the same tokens"):
        PromptBank.of(tower, ["rain", "sea waves", "rain"])
    # Leading spaces are dropped: two terms of one list, which a comparison of texts lets through.
    lists = {name: (f"kind {name}", f"other {name}") for name in inputs.table.info.classnames}
    doubled = Neighbors("FSDD", lists | {"one": ("kind one", "  kind eight")})
    with pytest.raises(InputError, match="neighbours of FSDD: 'kind eight' and '  kind eight': the same tokens"):
        config(TrialInputs(inputs.encoder, inputs.table, doubled), "coop+sept")


def test_a_literal_special_token_is_refused_with_one_line(inputs):
    with pytest.raises(InputError, match="the text 'a <pad> of rain.' contains <pad>, a special token"):
        PromptBank.of(load_mini().text, ["rain", "a <PAD> of rain".lower()], end=".")


@pytest.mark.parametrize("name", DATASETS)
def test_mini_can_tell_all_shipped_names_and_neighbours_apart(name):
    info, tower = DATASETS[name], load_mini().text
    Wording(".").check(tower, Wording().names(info.classnames))
    for protocol in ("base-to-new", "cross-dataset"):
        lists, classes = load_neighbors(name, protocol=protocol), trained_classes(info.classnames, protocol)
        terms = lists.first(classes, min(map(len, lists.by_class.values())))
        Wording(".").check(tower, [*Wording().names(classes), *(term for own in terms for term in own)])
