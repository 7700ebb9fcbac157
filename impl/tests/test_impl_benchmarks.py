"""The benchmark's own promises: medians and ratios, like with like, nothing left out silently, time kept."""

import json
import time

import pytest
import torch

from steelyard.impl.benchmarks import catalogue, measuring, running
from steelyard.impl.benchmarks.case import Case, Floor, Growth, Peer, Result, near, tensors_of
from steelyard.impl.benchmarks.growth import run_growth, slope
from steelyard.impl.benchmarks.running import Budget, Listener, Options, new_document, run


def _inputs(axes, device, generator):
    return {"logits": torch.randn(axes["N"], device=device, generator=generator).requires_grad_()}


def _raises(_):
    raise RuntimeError("out of order\nsecond line")


def _absent(_):
    import a_library_that_nobody_has  # noqa: F401


def _case(*peers, **changes):
    given = {
        "technique": "square",
        "axes": {"N": 50},
        "make_inputs": _inputs,
        "ours": lambda logits: logits.square().sum(),
        "takes": ("logits",),
        "differentiates": ("logits",),
        "peers": peers,
        "compiles": False,
    }
    return Case(**{**given, **changes})


RIGHT = Peer("right", lambda inputs: lambda: torch.sum(inputs["logits"] ** 2))
WRONG_VALUE = Peer("wrong value", lambda inputs: lambda: (inputs["logits"] ** 2).sum() + 1.0)
WRONG_GRADIENT = Peer("wrong gradient", lambda inputs: lambda: torch.sum(inputs["logits"] * inputs["logits"].detach()))
QUICK = Options(compiled=False, most_rounds=3)


class Clock:
    """Seconds that each call takes, as told beforehand, in place of the machine's clock."""

    def __init__(self, samples):
        self.samples = {name: iter(values) for name, values in samples.items()}
        self.order = []

    def __call__(self, call, number):
        name = call()
        self.order.append(name)
        return number * next(self.samples[name])


def _rows(document):
    (found,) = document["cases"]
    return {row["contender"]: row for row in found["rows"]}


def test_medians_quartiles_and_ratios_of_known_times():
    """The ratio is that of the medians; its spread is over pairs of one round."""
    clock = Clock({"slow": [8.0, 6.0, 4.0, 20.0, 6.0], "fast": [1.0, 2.0, 4.0, 2.0, 3.0]})
    calls = {"slow": lambda: "slow", "fast": lambda: "fast"}

    times = measuring.in_turns(calls, clock, rounds=5, estimates={"slow": 6.0, "fast": 2.0})
    ratio = measuring.ratio(times["slow"], times["fast"])

    assert (times["slow"].median, times["slow"].quartiles) == (6.0, (6.0, 8.0))
    assert (times["fast"].median, times["fast"].quartiles) == (2.0, (2.0, 3.0))
    assert ratio == measuring.Ratio(3.0, 2.0, 8.0)  # of pairs 8, 3, 1, 10, 2


def test_calls_take_turns_and_each_round_begins_with_another():
    """What slows the machine down for a while hits all of them."""
    clock = Clock({name: [1.0] * 3 for name in "abc"})

    measuring.in_turns({n: lambda n=n: n for n in "abc"}, clock, rounds=3, estimates=dict.fromkeys("abc", 1.0))

    assert "".join(clock.order) == "abcbcacab"


def test_a_short_call_is_repeated_within_a_sample():
    """So that the clock's own time is small; the time is that of one call."""
    numbers = []

    def clock(call, number):
        numbers.append(number)
        return number * 1e-5

    times = measuring.in_turns({"a": lambda: None}, clock, rounds=1, estimates={"a": 1e-5})

    assert numbers == [100]
    assert times["a"].median == pytest.approx(1e-5)


def test_rounds_end_when_the_time_does():
    """Asked after each round."""
    clock = Clock({"a": [1.0] * 9})

    times = measuring.in_turns({"a": lambda: "a"}, clock, rounds=9, estimates={"a": 1.0}, enough=lambda done: done == 4)

    assert len(times["a"].samples) == 4


def test_a_peer_that_gives_something_else_is_told_and_is_not_the_fastest():
    """A value or a gradient; the others are compared."""
    rows = _rows(run([_case(RIGHT, WRONG_VALUE, WRONG_GRADIENT)], QUICK))

    assert rows["right"]["departs"] == ""
    assert rows["wrong value"]["departs"].startswith("result off by 1")
    assert rows["wrong gradient"]["departs"].startswith("gradient off by")
    assert [rows[n]["comparable"] for n in ("right", "wrong value", "wrong gradient")] == [True, False, False]
    assert {row["status"] for row in rows.values()} == {"measured"}


def test_the_fastest_peer_is_one_that_agrees():
    """However fast the others are; a departure that is known beforehand does not exclude."""
    times = {"ours, eager": 1.0, "copy": 1.0, "exp": 1.0, "right": 5.0, "wrong value": 2.0, "known": 4.0}
    known = Peer("known", WRONG_VALUE.prepare, departs="adds one")
    found = {}
    for peers in ((RIGHT, WRONG_VALUE), (RIGHT, WRONG_VALUE, known)):
        document = run([_case(*peers)], QUICK)
        (case,) = document["cases"]
        for row in case["rows"]:
            row["median_seconds"] = times[row["contender"]]
            row["by_eager"] = {"ratio": times[row["contender"]], "quartiles": [1.0, 1.0]}
        found[len(peers)] = running.summary_of_case(case)

    assert (found[2]["fastest_peer"], found[2]["eager"]) == ("right", 5.0)
    assert (found[3]["fastest_peer"], found[3]["eager"]) == ("known", 4.0)


def test_what_cannot_be_measured_has_a_row_that_says_why():
    """Absent, or raising; the others are measured."""
    rows = _rows(run([_case(Peer("gone", _absent), Peer("raises", _raises), RIGHT)], QUICK))

    assert (rows["gone"]["status"], rows["gone"]["message"]) == (
        "absent",
        "a_library_that_nobody_has cannot be imported",
    )
    assert (rows["raises"]["status"], rows["raises"]["message"]) == ("error", "RuntimeError: out of order")
    assert rows["right"]["status"] == "measured"


def test_only_the_peers_asked_for():
    """By library, whatever stands behind a comma."""
    peers = (Peer("right, class ids", RIGHT.prepare), WRONG_VALUE)

    rows = _rows(run([_case(*peers)], Options(compiled=False, most_rounds=1, peers=("right",))))

    assert list(rows) == ["ours, eager", "copy", "exp", "right, class ids"]


def test_what_does_not_fit_into_the_time_is_marked():
    """A peer that would take the case's time away is not timed; ours is; nothing is dropped."""
    rows = _rows(run([_case(Peer("slow", _takes(1.0)), RIGHT)], QUICK, budget=Budget(4.0, now=lambda: 0.0)))

    assert rows["slow"]["status"] == "late"
    assert rows["slow"]["message"] == running.TOO_SLOW
    assert rows["slow"]["first_call_seconds"] > 1.0
    assert rows["slow"]["median_seconds"] is None
    assert rows["ours, eager"]["status"] == rows["right"]["status"] == "measured"


def test_the_time_goes_to_the_fastest_peers():
    """In whatever order they stand, and to those that give what ours gives before others."""
    peers = Peer("slow", _takes(0.4)), Peer("less slow", _takes(0.3)), WRONG_VALUE, RIGHT

    rows = _rows(run([_case(*peers)], QUICK, budget=Budget(2.4, now=lambda: 0.0)))

    assert [rows[name]["status"] for name in ("slow", "less slow", "right")] == ["late", "measured", "measured"]


def test_small_cases_run_first_and_stand_in_the_order_given():
    """What they leave of their time goes to the large ones; each knows its inputs."""
    made = []

    def inputs(axes, device, generator):
        made.append(axes["N"])
        return _inputs(axes, device, generator)

    cases = [_case(axes={"N": n}, make_inputs=inputs, technique=t) for n, t in ((30, "a"), (10, "b"), (10, "c"))]
    document = run(cases, QUICK)

    assert made == [10, 30]
    assert [(case["technique"], case["axes"]["N"]) for case in document["cases"]] == [("a", 30), ("b", 10), ("c", 10)]


def test_a_floor_limits_what_can_be_reached():
    """It is timed, not compared; the limit is that of the fastest peer. Memory cannot be less than the results."""
    floor = Floor("one square", lambda inputs: inputs["logits"].detach().square)
    compiled = Floor("two of them", lambda inputs: (inputs["logits"].detach().square,) * 2, compiled=True)
    document = run([_case(RIGHT, floors=(floor, compiled))], QUICK)
    (case,) = document["cases"]
    for row in case["rows"]:
        row["median_seconds"] = {"right": 6.0, "floor, eager": 1.5}.get(row["contender"], 1.0)
        if row["kind"] == "peer":
            row["peak_extra_bytes"] = 102

    rows = _rows(document)
    assert list(rows) == ["ours, eager", "copy", "exp", "right", "floor, eager"]  # compiled is off
    assert rows["floor, eager"]["status"] == "measured"
    assert (rows["floor, eager"]["what"], rows["floor, eager"]["departs"]) == ("one square", "")
    assert not rows["floor, eager"]["comparable"]
    assert case["result_bytes"] == 4 + 50 * 4
    summary = running.summary_of_case(case)
    assert (summary["eager_limit"], summary["compiled_limit"], summary["memory_limit"]) == (4.0, None, 2.0)


def test_geometric_mean_of_what_was_compared():
    """Cases without a peer do not count."""
    cases = [
        {"summary": {"fastest_peer": peer, "eager": eager, "compiled": compiled}}
        for peer, eager, compiled in (("a", 2.0, None), ("b", 8.0, 3.0), (None, None, None))
    ]

    assert running.geometric_mean(cases) == {"cases": 2, "eager": pytest.approx(4.0), "compiled": pytest.approx(3.0)}
    assert running.geometric_mean([]) == {"cases": 0, "eager": None, "compiled": None}


def _takes(seconds):
    def prepare(inputs):
        def call():
            time.sleep(seconds)
            return inputs["logits"].square().sum()

        return call

    return prepare


def test_no_case_is_dropped_when_the_time_is_over():
    """Each has all its rows, marked."""
    document = run([_case(RIGHT)] * 3, QUICK, budget=Budget(0.0))

    assert len(document["cases"]) == 3
    assert {row["status"] for case in document["cases"] for row in case["rows"]} == {"late"}
    assert [case["summary"]["fastest_peer"] for case in document["cases"]] == [None] * 3


def test_an_interrupt_keeps_what_is_complete():
    """The document that the listener was given last is whole."""
    kept = []

    def interrupt(found):
        if len(kept) == 1:
            raise KeyboardInterrupt

    listener = Listener(on_case=interrupt, on_document=lambda document: kept.append(json.dumps(document)))
    with pytest.raises(KeyboardInterrupt):
        run([_case(RIGHT)] * 3, QUICK, listener)

    assert [len(json.loads(text)["cases"]) for text in kept] == [1]


def test_memory_is_the_most_that_was_held_at_once():
    """Two temporaries one after the other count once, side by side twice."""

    def one_after_the_other():
        torch.empty(100_000, dtype=torch.uint8)
        torch.empty(100_000, dtype=torch.uint8)

    def side_by_side():
        return torch.empty(100_000, dtype=torch.uint8), torch.empty(100_000, dtype=torch.uint8)

    cpu = torch.device("cpu")
    assert measuring.peak_extra_bytes(one_after_the_other, cpu) == 100_000
    assert measuring.peak_extra_bytes(side_by_side, cpu) == 200_000


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_slope_of_a_power_law(power):
    """Whatever the factor."""
    sizes = [10, 100, 1000, 5000]

    assert slope(sizes, [3.0 * size**power for size in sizes]) == pytest.approx(power, abs=1e-12)


def test_growth_by_one_axis_beside_others():
    """Every size has its point; a size that does not fit into the time is marked, and so are larger ones."""
    case = _case(growth=(Growth("N", (1_000, 10_000, 1_000_000_000_000, 2_000_000_000_000)),))
    document = new_document(QUICK)
    shapes = []

    run_growth([case], QUICK, document, Listener(on_document=lambda d: shapes.append(len(d["growth"]))), Budget(600.0))

    (curve,) = document["growth"]
    assert [point["axes"]["N"] for point in curve["points"]] == [1_000, 10_000, 1_000_000_000_000, 2_000_000_000_000]
    assert [point["status"] for point in curve["points"]] == ["measured", "measured", "late", "late"]
    measured = [point for point in curve["points"] if point["median_seconds"] is not None]
    assert curve["slope"] == slope([p["size"] for p in measured], [p["median_seconds"] for p in measured])
    assert shapes == [1]


def test_results_of_other_shapes_and_numbers_depart():
    """NaN too."""
    one = Result((torch.ones(2),), ())

    assert near(one, one) == ""
    assert near(one, Result((torch.ones(3),), ())) == "result of shape (3,), not (2,)"
    assert near(one, Result((), ())) == "0 tensors as result, not 1"
    assert near(one, Result((torch.tensor([1.0, float("nan")]),), ())).startswith("result off by nan")
    assert near(one, Result((torch.tensor([1.0, 1.0009]),), ())) == ""


def test_tensors_of_whatever_a_library_returns():
    """Tuples, mappings, and what holds none."""
    a, b = torch.zeros(1), torch.ones(1)

    assert [t.item() for t in tensors_of({"x": [a, (b,)], "y": "text", "z": None, "n": 3})] == [0.0, 1.0]


def test_the_catalogue_is_of_our_functions():
    """Each case names a public function, takes inputs that it makes, and can be told from the others."""
    import steelyard.impl as room

    ids = [case.id for case in catalogue.CASES]
    assert len(set(ids)) == len(ids)
    for case in catalogue.CASES:
        assert callable(getattr(room, case.technique)), case.technique
        small = {axis: min(length, 4) for axis, length in case.axes.items()}
        inputs = case.make_inputs(small, torch.device("cpu"), torch.Generator().manual_seed(0))
        assert {*case.takes, *case.differentiates, case.yardstick} <= set(inputs)
        assert tensors_of(case.ours(**{name: inputs[name] for name in case.takes}))
        kinds = [floor.compiled for floor in case.floors]
        assert len(set(kinds)) == len(kinds)
        for floor in case.floors:
            assert floor.what
            calls = floor.prepare(inputs)
            assert all(call() is not None for call in (calls if isinstance(calls, tuple) else (calls,)))
        assert {growth.axis for growth in case.growth} <= set(case.axes)
