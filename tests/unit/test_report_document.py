"""What a report says of given answers: numbers, verdict, gates, classes, JSON with its schema."""

import json
import re
from dataclasses import replace

import comparison_samples as samples
import jsonschema
import numpy as np
import pytest
from scipy import stats

from edgekit.errors import GateError, InputError
from edgekit_quantize.report import analysis, plots_costs, schema, verdict
from edgekit_quantize.report.changes import Direction
from edgekit_quantize.report.document import Document
from edgekit_quantize.report.gate import Outcome
from edgekit_quantize.report.make import Limits
from edgekit_quantize.report.statistics import Estimate


@pytest.fixture(scope="module")
def full():
    return samples.full_report()


def test_the_numbers_are_those_of_the_answers(full):
    comparison, document = samples.make_comparison(tags=True, collapsed=3), full.document
    ours, theirs = comparison.runs[0].answers, comparison.runs[3].answers
    right, after = ours.top[:, 0] == comparison.targets, theirs.top[:, 0] == comparison.targets
    assert document.reference.top1.value == pytest.approx(100 * right.mean())
    assert document.judged.top1.value == pytest.approx(100 * after.mean())
    in_five = (theirs.top == comparison.targets[:, None]).any(1)
    assert document.judged.top5.value == pytest.approx(100 * in_five.mean())
    assert document.drop.points.value == pytest.approx(100 * (right.mean() - after.mean()))
    assert (document.drop.counts.lost, document.drop.counts.gained) == ((right & ~after).sum(), (~right & after).sum())
    assert document.drop.agreement.value == pytest.approx(100 * (ours.top[:, 0] == theirs.top[:, 0]).mean())
    assert document.judged.kl == pytest.approx(theirs.kl.mean())
    assert document.judged.sqnr_db == pytest.approx(10 * np.log10(theirs.signal.sum() / theirs.noise.sum()))
    night = np.asarray([row["light"] == "night" for row in comparison.tags])
    group = next(g for g in document.subgroups if g.label == "night")
    assert (group.column, group.images) == ("light", night.sum())
    assert group.model_top1 == pytest.approx(100 * after[night].mean())
    assert document.costs.rows[3].p90_ms == pytest.approx(1.65)


def test_each_stage_is_held_against_the_one_before_and_builtin_against_the_model(full):
    steps = [(stage.step_from, stage.name) for stage in full.document.stages if stage.step]
    chain = [("float", "ONNX"), ("ONNX", "float TFLite"), ("float TFLite", "int8")]
    assert steps == [*chain, ("int8", "int8 builtin")]
    model, builtin = (full.document.stages[i] for i in (3, 4))
    assert builtin.step.points.value == pytest.approx(model.top1.value - builtin.top1.value)
    assert model.step.points.value == pytest.approx(full.document.stages[2].top1.value - model.top1.value)


def test_a_collapsed_class_is_found_and_named_first(full):
    document = full.document
    assert [row.label for row in document.classes if row.has_collapsed] == ["cat"]
    assert verdict.line(document).endswith("collapsed: cat")
    assert verdict.sentences(document)[0].startswith("Collapsed: cat (")
    assert all(row.truth == "cat" or row.answer == "cat" for row in document.confusions[:9])
    assert document.flips[0].truth == "cat"
    assert document.flips[0].float_guesses[0].label == "cat" != document.flips[0].model_guesses[0].label


def test_a_class_hidden_by_the_mean_is_found_among_a_hundred():
    labels = tuple(f"class {i}" for i in range(100))
    comparison = samples.make_comparison(3000, classes=100, noise=0.05, collapsed=70, also=False, margin=6.0)
    document = samples.make_report(comparison, Limits(max_drop=3.0), labels).document
    assert document.outcome is Outcome.PASSED  # the mean is within the limit
    assert [row.label for row in document.classes if row.has_collapsed] == ["class 70"]
    assert "class 70" in verdict.line(document)
    assert document.confusion_change is None
    assert any(row.truth == "class 70" and row.after > row.before for row in document.confusions)


def test_noise_alone_collapses_no_class():
    labels = tuple(f"class {i}" for i in range(100))
    for seed in range(5):
        document = samples.make_report(
            samples.make_comparison(3000, seed, 0.3, classes=100, also=False), None, labels
        ).document
        assert not [row for row in document.classes if row.has_collapsed]


def adjusted(p_values):
    """Benjamini and Hochberg 1995, as written: the smallest of p·m/rank from this rank on."""
    order = np.argsort(p_values)
    scaled = np.asarray(p_values)[order] * len(order) / np.arange(1, len(order) + 1)
    found = np.empty(len(order))
    found[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return found


def test_p_values_of_classes_are_corrected_for_their_number():
    labels = tuple(f"class {i}" for i in range(100))
    document = samples.make_report(
        samples.make_comparison(5000, noise=0.9, classes=100, also=False), None, labels
    ).document
    alone = [
        stats.binomtest(c.counts.lost, c.counts.lost + c.counts.gained).pvalue
        if c.counts.lost + c.counts.gained
        else 1.0
        for c in document.classes
    ]
    assert [c.adjusted_p for c in document.classes] == pytest.approx(adjusted(alone))
    marked = [c for c in document.classes if c.direction is not Direction.SAME]
    assert 0 < len(marked) == sum(adjusted(alone) < 0.05) < sum(p < 0.05 for p in alone)


@pytest.mark.parametrize(
    ("drop", "p", "has_collapsed"), [(20.0, 0.01, True), (19.9, 0.01, False), (60.0, 0.05, False), (-40.0, 0.01, False)]
)
def test_a_class_collapses_at_20_points_beyond_chance(full, drop, p, has_collapsed):
    group = replace(full.document.classes[0], drop=Estimate(drop, drop - 5, drop + 5), adjusted_p=p)
    assert group.has_collapsed is has_collapsed


def test_mistakes_are_listed_by_the_size_of_their_change_more_or_fewer():
    rows = samples.make_report(samples.make_comparison(noise=1.0)).document.confusions
    changes = [row.after - row.before for row in rows]
    assert [abs(c) for c in changes] == sorted(map(abs, changes), reverse=True)
    assert min(changes[:10]) < 0 < max(changes[:10])


# With n = 1000 the wilson interval of 93 % is about ±1.6.
@pytest.mark.parametrize(
    ("wanted", "outcome"), [(85.0, Outcome.PASSED), (92.0, Outcome.UNDECIDED), (99.5, Outcome.FAILED)]
)
def test_the_agreement_gate_is_on_the_lower_bound(wanted, outcome):
    report = samples.make_report(samples.make_comparison(noise=0.2), Limits(min_agreement=wanted))
    same = report.document.drop.agreement
    gate = report.document.gates[0]
    assert gate.outcome is outcome
    assert (same.low >= wanted) == (outcome is Outcome.PASSED)
    if outcome is Outcome.PASSED:
        report.check_gate()
        return
    with pytest.raises(GateError, match=f"agreement with float must be at least {wanted:g} %"):
        report.check_gate()
    assert (gate.images_needed is not None) == (outcome is Outcome.UNDECIDED)


def test_undecided_says_how_many_images_would_do():
    report = samples.make_report(samples.make_comparison(200, noise=0.1), Limits(max_drop=0.6))
    gate = report.document.gates[0]
    assert gate.outcome is Outcome.UNDECIDED
    text = " ".join(verdict.sentences(report.document))
    assert f"About {gate.images_needed:,} images like these would decide" in text
    with pytest.raises(GateError, match=rf"too few to decide: take about {gate.images_needed:,}"):
        report.check_gate()


def test_ten_images_are_said_to_tell_nothing():
    document = samples.make_report(samples.make_comparison(10, noise=0.1)).document
    text = " ".join(verdict.sentences(document))
    assert "10 images tell next to nothing" in text
    assert re.search(r"About [\d,]+ images would tell the drop to ±0.5 points", text)
    assert "next to nothing" not in " ".join(
        verdict.sentences(samples.make_report(samples.make_comparison(5000)).document)
    )


@pytest.mark.parametrize(("margin", "is_said"), [(-9.0, True), (3.0, False)])
def test_a_reference_like_chance_is_said_first(margin, is_said):
    document = samples.make_report(samples.make_comparison(margin=margin)).document
    first = verdict.sentences(document)[0]
    assert first.startswith("Float top-1 of 0.00 % cannot be told from chance on 1,000 images") == is_said


def test_a_gate_on_a_reference_like_chance_does_not_pass():
    good, chance = (
        samples.make_report(samples.make_comparison(margin=margin), Limits(max_drop=99)) for margin in (3.0, -9.0)
    )
    assert [report.document.gates[0].outcome for report in (good, chance)] == [Outcome.PASSED] * 2
    assert [report.document.outcome for report in (good, chance)] == [Outcome.PASSED, Outcome.FAILED]
    good.check_gate()
    with pytest.raises(GateError, match=r"better than chance for a gate\..*check the class names"):
        chance.check_gate()
    assert ("failed", "float is like chance") in verdict.badges(chance.document)
    assert ("failed", "float is like chance") not in verdict.badges(good.document)


def test_a_gate_that_cannot_decide_says_once_that_images_are_few():
    comparison = samples.make_comparison(10, noise=0.1)
    text = " ".join(verdict.sentences(samples.make_report(comparison, Limits(max_drop=0.6)).document))
    assert "too few to decide" in text and "next to nothing" not in text


def test_the_headline_reads_as_the_issue_wants_it(full):
    drop = full.document.drop.points
    wanted = f"int8 loses {drop.value:.2f} points (95 % interval {drop.low:.2f} … {drop.high:.2f}, n = 1,000)"
    assert verdict.line(full.document).startswith(f"{wanted}; gate 0.5 points: failed; gate 97 % agreement: failed")


def test_equal_networks_lose_nothing():
    logits, targets = samples.make_logits()
    runs = [samples.make_run(role, logits, targets) for role in ("reference", "model")]
    comparison = replace(samples.make_comparison(), runs=tuple(runs), layers=None)
    report = samples.make_report(comparison, Limits(max_drop=0.5, min_agreement=99.5))
    assert report.document.outcome is Outcome.PASSED
    assert report.document.judged.sqnr_db is None
    assert "No image went from right to wrong or back." in verdict.sentences(report.document)
    assert report.document.flips == report.document.confusions == ()


def test_classes_without_images_are_named():
    labels = (*samples.LABELS, "unicorn")
    comparison = samples.make_comparison()
    document = samples.make_report(comparison, None, labels).document
    assert document.data.empty_classes == ("unicorn",)
    assert "No image of 1 class: unicorn." in verdict.sentences(document)


def test_a_column_of_names_is_no_column_of_tags():
    with pytest.raises(InputError, match="at most 50 values, got 51 in file"):
        analysis.check_tags([{"light": "day", "file": str(i)} for i in range(51)])
    analysis.check_tags([{"light": str(i)} for i in range(50)])
    analysis.check_tags([])


def test_the_json_is_valid_by_its_published_schema_and_reads_back(full):
    text = full.document.to_json()
    published = json.loads(schema.PUBLISHED.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(published)
    for document in (full.document, samples.make_report(samples.make_comparison(50, also=False)).document):
        jsonschema.validate(json.loads(document.to_json()), published, jsonschema.Draft202012Validator)
    assert Document.from_json(text).to_json() == text


def test_the_published_schema_is_the_documents_own():
    assert schema.PUBLISHED.read_text("utf-8") == schema.to_text()


def _spoil_key(plain):
    plain["surprise"] = 1


def _spoil_missing(plain):
    del plain["stages"][0]["top1"]


def _spoil_type(plain):
    plain["classes"][0]["images"] = "many"


def _spoil_enum(plain):
    plain["gates"][0]["outcome"] = "perhaps"


def _spoil_version(plain):
    plain["schema_version"] = 2


@pytest.mark.parametrize("spoil", [_spoil_key, _spoil_missing, _spoil_type, _spoil_enum, _spoil_version])
def test_schema_and_reader_refuse_the_same(full, spoil):
    plain = json.loads(full.document.to_json())
    spoil(plain)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, schema.make_schema(), jsonschema.Draft202012Validator)
    with pytest.raises(InputError):
        Document.from_json(json.dumps(plain))


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "[NaN]", b"\xff\xfe", '{"schema_version": 99}'])
def test_what_is_no_report_is_refused(text):
    with pytest.raises(InputError, match="report"):
        Document.from_json(text)


def test_two_runs_give_the_same_bytes_but_for_the_costs(full):
    comparison = samples.make_comparison(tags=True, collapsed=3)
    slower = tuple(replace(run, cost=replace(run.cost, p50_ms=77.0)) for run in comparison.runs)
    first, second = (samples.make_report(c).document for c in (comparison, replace(comparison, runs=slower)))
    assert first.to_json() != second.to_json()
    plain = [json.loads(document.to_json()) for document in (first, second)]
    for one in plain:
        one.pop("costs")
    assert json.dumps(plain[0]) == json.dumps(plain[1])
    assert first.to_json() == samples.make_report(comparison).document.to_json()


def test_a_file_called_like_a_stage_is_shown_under_its_file_name():
    comparison = samples.make_comparison()
    twin = replace(comparison.runs[-1], name="int8", file="int8.tflite")
    document = samples.make_report(replace(comparison, runs=(*comparison.runs[:-1], twin))).document
    assert [stage.name for stage in document.files] == ["int8", "small", "int8.tflite"]
    assert len({row.name for row in document.costs.rows}) == len(document.stages)


def test_a_file_that_another_beats_is_not_on_the_front():
    document = samples.make_report(samples.make_comparison()).document
    stages = {stage.name: stage for stage in document.files}
    accurate, cheap, bad = sorted(stages.values(), key=lambda stage: -stage.top1.value)
    files = [(bad, 5.0), (accurate, 4.0), (cheap, 1.0)]
    assert plots_costs.front(files) == [(cheap, 1.0), (accurate, 4.0)]
    assert plots_costs.front([*files, (accurate, 0.5)]) == [(accurate, 0.5)]
    assert plots_costs.front([(accurate, 1.0), (accurate, 1.0)]) == [(accurate, 1.0)] * 2


def test_costs_are_drawn_from_zero_so_that_noise_looks_small():
    axes = plots_costs.pareto(samples.make_report(samples.make_comparison()).document).axes
    assert [a.get_xlim()[0] for a in axes] == [0.0, 0.0]
    assert [a.get_xlabel() for a in axes] == ["latency, ms (2 threads)", "size, MB"]
    assert axes[0].get_xlim()[1] > 3.0  # the slowest file, in ms


def test_a_large_effect_on_few_images_is_not_called_nothing():
    report = samples.make_report(samples.make_comparison(60, noise=6.0), Limits(max_drop=0.5))
    assert report.document.drop.points.low > 2.5
    assert "next to nothing" not in " ".join(verdict.sentences(report.document))


def test_a_class_of_few_images_that_loses_all_is_named_as_doubtful():
    document = samples.make_report(samples.make_comparison(80, noise=0.05, collapsed=3)).document
    row = document.classes[[row.label for row in document.classes].index("cat")]
    assert row.images == 8 and row.drop.value > 50.0 and not row.has_collapsed
    text = " ".join(verdict.sentences(document))
    assert re.search(r"Lost much, on too few images to be sure: (class )?cat \(\d+ → \d+ %, 8 images\)", text)


def test_another_network_as_reference_is_refused():
    comparison = samples.make_comparison(also=False)
    rest = comparison.runs[1:]
    wrong = samples.make_run("reference", samples.make_logits(seed=8)[0][::-1].copy(), comparison.targets)
    with pytest.raises(InputError, match=r"reference must be the network that the model was made from.*gains"):
        samples.make_report(replace(comparison, runs=(wrong, *rest)))
