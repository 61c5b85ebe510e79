"""Values that the keys of an experiment's file may have, as strategies."""

from typing import Any

from hypothesis import strategies as st

NON_NEGATIVE = st.floats(0, 1e300)
POSITIVE = st.floats(0, 1e300, exclude_min=True)
SHARE = st.floats(0, 1, exclude_min=True, exclude_max=True)
BELOW_ONE = st.floats(0, 1, exclude_max=True)
COUNT = st.integers(1, 10**9)
SIDE = st.integers(1, 4096)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
EPOCHS = st.floats(0, 1e6)
BOUND = (
    st.none()
    | st.integers(-(10**300), 10**300)
    | st.floats(-1e300, 1e300)
    | st.integers(1, 10**9 - 1).map("{}%".format)
)
TRAINING = {
    "epochs": EPOCHS,
    "batch_size": st.integers(2, 10**6),
    "lr": POSITIVE,
    "momentum": BELOW_ONE,
    "weight_decay": NON_NEGATIVE,
    "warmup_epochs": EPOCHS,
    "label_smoothing": BELOW_ONE,
}


PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e300, 1e300) | TEXT


def lists_and_mappings(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3)


@st.composite
def ladders(draw: st.DrawFn) -> dict[str, Any]:
    """Rungs that lead upwards, and the epochs above them."""
    *epochs, last = sorted(draw(st.lists(EPOCHS, min_size=1, max_size=4, unique=True)))
    rungs = [{"epochs": each, "promote": draw(SHARE), "validation_images": draw(st.none() | COUNT)} for each in epochs]
    return {"epochs": last, "ladder": rungs}


@st.composite
def proposals(draw: st.DrawFn) -> str | dict[str, float]:
    """A name, or several with shares that add up to 1."""
    names = draw(st.lists(st.sampled_from(["evolution", "magnitude", "scop", "random"]), min_size=1, unique=True))
    weights = [draw(st.integers(1, 99)) for _ in names]
    shares = {name: weight / sum(weights) for name, weight in zip(names, weights, strict=True)}
    return names[0] if draw(st.booleans()) else shares


KEYS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "DataConfig": {
        "dataset": st.sampled_from(["cifar10", "cifar100", "image_folder", "npz", "digits"]),
        "root": TEXT,
        "validation": SHARE | TEXT.filter(bool),
        "split_seed": st.integers(0, 2**63),
        "image_size": st.none() | SIDE | st.tuples(SIDE, SIDE).map(list),
        "skip_corrupt": st.booleans(),
        "cache": st.none() | TEXT,
        "mean": st.none() | st.lists(st.floats(0, 1), max_size=3),
        "std": st.none() | st.lists(st.floats(0, 1, exclude_min=True), max_size=3),
        "crop": st.integers(0, 9),
        "flip": st.sampled_from([True, False, "alternating"]),
        "follow_links": st.booleans(),
    },
    "NetworkConfig": {
        "source": TEXT.map("mine.py:{}".format) | st.sampled_from(["resnet20", "vgg16_bn", "mine.yaml"]),
        "arguments": st.dictionaries(TEXT, st.none() | st.booleans() | st.integers() | TEXT | st.lists(TEXT)),
        "stem": st.sampled_from(["imagenet", "cifar"]),
        "weights": st.none() | TEXT,
    },
    "SearchSpaceConfig": {"name": TEXT, "width": st.none() | st.integers(1, 16384)},
    "TrainingConfig": TRAINING,
    "BaseConfig": {**TRAINING, "weights": st.none() | TEXT, "cache": TEXT},
    "DistillationConfig": {"weight": SHARE, "temperature": POSITIVE},
    "RungConfig": {"epochs": EPOCHS, "promote": SHARE, "validation_images": st.none() | COUNT},
    "EvaluationConfig": {
        **TRAINING,
        "recalibration_images": COUNT,
        "time_limit_s": st.none() | POSITIVE,
        "latency_batch_size": st.integers(1, 4096),
        "latency_precision": st.sampled_from(["fp32", "bf16"]),
        "latency_limit_s": st.floats(0, 1e6, exclude_min=True),
        "latency_command": st.none() | st.lists(TEXT, max_size=3).map(lambda words: [*words, "{model}"]),
    },
    "ScopConfig": {
        "epochs": st.floats(0, 1e6, exclude_min=True),
        "batch_size": st.integers(2, 10**6),
        "lr": POSITIVE,
        "knockoff": st.just("derangement"),
        "loss_on_knockoff": st.booleans(),
    },
    "ImportanceConfig": {
        "criterion": st.sampled_from(["least_squares", "activation", "group_l2", "l1", "taylor"]),
        "images": COUNT,
        "ranking": st.sampled_from(["sensitivity", "uniform", "global"]),
        "scop": st.fixed_dictionaries({"knockoff": st.sampled_from(["derangement", "gaussian"])}),
    },
    "LimitConfig": {"min": BOUND, "max": BOUND},
    "SearchConfig": {
        "mode": st.sampled_from(["generational", "steady_state"]),
        "objectives": st.lists(
            st.sampled_from(["accuracy", "macs", "params", "bandwidth", "latency"]), min_size=2, unique=True
        ),
        "limits": st.dictionaries(
            st.sampled_from(["accuracy", "macs", "latency"]), st.fixed_dictionaries({"max": BOUND}), max_size=3
        ),
        "random_samples": COUNT,
        "num_individual": st.integers(2, 100_000),
        "generations": st.integers(0, 10**9),
        "proposal": proposals(),
        "prior": st.sampled_from(["magnitude", "scop", None]),
        "prior_fade": POSITIVE,
        "sensitivity": st.none() | st.just("measured") | TEXT,
        "crossover_rate": st.floats(0, 1),
        "min_keep": SHARE,
        "round_to": st.integers(1, 4096),
    },
    "CountSelection": {"count": COUNT},
    "MaxSelection": {"max": st.just({"flops": [3e7, "15%"], "latency": [2]})},
    "RetrainConfig": {
        **TRAINING,
        "select": st.sampled_from(["all", "knees", {"count": 4}, {"max": {"flops": [3e7, "15%"]}}])
        | st.lists(TEXT.filter(str.isprintable), min_size=1, max_size=3),
        "from": st.sampled_from(["inherited", "scratch"]),
        "seeds": st.integers(1, 1000),
        "averaging": st.none() | st.sampled_from([0.9, 0.999]),
        "distillation": st.none() | st.fixed_dictionaries({"weight": SHARE, "temperature": POSITIVE}),
    },
    "WeightsConfig": {
        "sparsity": st.none() | SHARE,
        "scope": st.sampled_from(["global", "layer"]),
        "layers": st.dictionaries(TEXT, BELOW_ONE, max_size=3),
        "schedule": st.sampled_from(["once", "logarithmic", "logarithmic_from_zero", "cubic"]),
        "changes": COUNT,
        "until": SHARE,
        "csr_from": SHARE,
    },
    "WorkersConfig": {
        "backend": st.sampled_from(["ray", "local"]),
        "num_workers": st.just("auto") | st.integers(1, 4096),
        "cpus_per_worker": st.integers(1, 1024),
        "gpus_per_worker": st.none() | st.floats(0, 1) | st.integers(0, 64).map(float),
        "candidates_per_batch": st.just("auto") | st.integers(1, 4096),
        "retries": st.integers(0, 9),
        "start_limit_s": st.floats(0, 1e6, exclude_min=True),
        "address": st.none() | TEXT,
        "runtime_env": st.dictionaries(TEXT, st.recursive(PLAIN, lists_and_mappings, max_leaves=4), max_size=3),
        "device": st.sampled_from(["auto", "cpu", "cuda"]),
    },
    "ReportConfig": {
        "every": COUNT,
        "formats": st.lists(st.sampled_from(["png", "svg", "pdf"]), min_size=1),
        "tensorboard": st.booleans(),
    },
    "Experiment": {
        "name": st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,12}", fullmatch=True),
        "seed": st.integers(0, 2**63),
        "precision": st.sampled_from(["auto", "fp32", "bf16"]),
        "inherit": st.sampled_from(["compensated", "plain"]),
        "network": st.none(),
        "search_space": st.just({"name": "resnet20"}),
    },
}
"""Key -> what it may be."""
TOGETHER = {"EvaluationConfig": ladders()}
"""Keys that hang together."""
