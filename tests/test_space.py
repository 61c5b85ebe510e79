"""The code: its segments, its repair, its key and its text; and YAML rows that tell the truth about the network."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evoprune import UserError, build_network, load_search_space

NAMES = ("resnet20", "resnet32", "resnet56")
NUM_BLOCKS = {"resnet20": 3, "resnet32": 5, "resnet56": 9}
SPACE = load_search_space("resnet20", width=2)  # 58 bits, so that hypothesis shrinks to something readable
NORMS = (nn.BatchNorm2d,)
WEIGHTED = (nn.Conv2d, nn.Linear)

codes = st.binary(min_size=8, max_size=8).map(lambda raw: np.unpackbits(np.frombuffer(raw, np.uint8))[:58])
segment_names = st.sampled_from([segment.name for segment in SPACE.segments])


def read_back(texts: list[str]) -> list[object]:
    """What pandas, left to its own devices, makes of a CSV column."""
    table = io.StringIO()
    pd.DataFrame({"text": texts, "number": 1}).to_csv(table, index=False)
    return pd.read_csv(io.StringIO(table.getvalue()))["text"].tolist()


# --- lengths, order, parameters


@pytest.mark.parametrize(("name", "length"), [("resnet20", 464), ("resnet32", 688), ("resnet56", 1136)])
def test_length_is_the_published_one(name, length):
    assert load_search_space(name).length == length
    assert load_search_space(name).full_code().tolist() == [1] * length


@pytest.mark.parametrize("name", NAMES)
def test_segments_stand_in_the_order_of_the_design(name):
    n = NUM_BLOCKS[name]
    middles = [(f"layer{s}.{b}.middle", 8 * 2**s) for s in (1, 2, 3) for b in range(n)]
    finals = [("layer1.final", 16), ("layer2.final", 32), ("layer3.final", 64)]
    segments = load_search_space(name).segments
    assert [(segment.name, segment.width) for segment in segments] == [*middles, ("stem", 16), *finals]


@pytest.mark.parametrize("name", NAMES)
def test_segments_tile_the_code(name):
    space = load_search_space(name)
    covered = np.concatenate([np.arange(space.length)[segment.slice] for segment in space.segments])
    assert covered.tolist() == list(range(space.length))


def test_width_scales_every_segment():
    assert load_search_space("resnet20", width=8).length == 232
    assert load_search_space("resnet20", width=1).length == 29
    assert [s.width for s in load_search_space("resnet20", width=3).segments[-4:]] == [3, 3, 6, 12]


def test_classes_and_image_channels_reach_the_network():
    network = build_network(load_search_space("resnet20", num_classes=7, in_channels=2))
    assert network.linear.out_features == 7
    assert network.conv1.in_channels == 2


@pytest.mark.parametrize("key", ["width", "num_classes", "in_channels", "image_size"])
@pytest.mark.parametrize("value", [0, -3, 1.5, True, "16"])
def test_parameters_are_whole_numbers_of_at_least_one(key, value):
    with pytest.raises(UserError, match=key):
        load_search_space("resnet20", **{key: value})


# --- codes


def test_repair_gives_an_empty_segment_its_first_channel():
    repaired = SPACE.repair(np.zeros(58, dtype=int))
    assert np.flatnonzero(repaired).tolist() == [0, 2, 4, 6, 10, 14, 18, 26, 34, 42, 44, 46, 50]


def test_split_and_kept_read_the_code_by_hand():
    space = load_search_space("resnet20", width=1)
    code = np.ones(29, dtype=int)
    code[-4:] = [0, 1, 0, 1]  # layer3.final
    code[-6:-4] = [0, 0]  # layer2.final, empty
    assert space.split(code)["layer3.final"].tolist() == [0, 1, 0, 1]
    assert space.split(code)["layer2.final"].tolist() == [0, 0]
    assert space.kept(code)["layer3.final"].tolist() == [1, 3]
    assert space.kept(code)["layer2.final"].tolist() == [0]
    assert space.widths(code)["layer3.final"] == 2
    assert space.widths(code)["layer2.final"] == 1


@given(codes)
def test_repair_leaves_no_segment_empty_and_changes_nothing_else(code):
    before, repaired = code.copy(), SPACE.repair(code)
    assert np.array_equal(code, before), "the caller's code was changed"
    for segment in SPACE.segments:
        bits = code[segment.slice].tolist()
        wanted = bits if any(bits) else [1] + [0] * (segment.width - 1)
        assert repaired[segment.slice].tolist() == wanted


@given(codes)
def test_repair_is_idempotent(code):
    assert np.array_equal(SPACE.repair(SPACE.repair(code)), SPACE.repair(code))


@given(codes)
def test_widths_count_the_kept_bits(code):
    repaired, start = SPACE.repair(code).tolist(), 0
    for segment in SPACE.segments:
        assert SPACE.widths(code)[segment.name] == repaired[start : start + segment.width].count(1)
        start += segment.width


@given(codes, codes)
def test_keys_are_equal_exactly_where_repaired_codes_are(first, second):
    same = np.array_equal(SPACE.repair(first), SPACE.repair(second))
    assert (SPACE.key(first) == SPACE.key(second)) is same


@given(codes, segment_names)
def test_an_empty_segment_and_its_repair_have_one_key(code, name):
    segment = next(segment for segment in SPACE.segments if segment.name == name)
    code[segment.slice] = 0
    filled = code.copy()
    filled[segment.start] = 1
    assert SPACE.key(code) == SPACE.key(filled)


@given(codes, st.integers(0, 57))
def test_one_more_kept_channel_is_another_key(code, bit):
    code = SPACE.repair(code)
    other = code.copy()
    other[bit] ^= 1
    if np.array_equal(SPACE.repair(other), other):
        assert SPACE.key(code) != SPACE.key(other)


def test_key_is_the_same_on_every_machine_and_in_every_version():
    assert load_search_space("resnet20").key(np.ones(464)) == "kfb2c4cf58bd"  # printf 464: + 58 bytes 0xff | sha256sum


@given(codes)
def test_code_survives_its_text(code):
    assert np.array_equal(SPACE.parse_code(SPACE.format_code(code)), code)


@settings(max_examples=20)
@given(st.lists(codes, min_size=1, max_size=20))
def test_code_texts_and_keys_survive_pandas_as_text(population):
    for write in (SPACE.format_code, SPACE.key):
        texts = [write(code) for code in population]
        assert read_back(texts) == texts


@pytest.mark.parametrize("digit", range(10))
def test_codes_that_look_like_numbers_stay_text_in_pandas(digit):
    code = np.unpackbits(np.full(58, digit * 17, dtype=np.uint8))  # 0000..., 1111..., to 9999...
    space = load_search_space("resnet20")
    texts = [space.format_code(code), space.key(code)]
    assert read_back(texts) == texts


def test_thousands_of_keys_never_parse_as_numbers():
    rng = np.random.default_rng(0)
    keys = [SPACE.key(rng.integers(0, 2, 58)) for _ in range(2000)]
    assert read_back(keys) == keys
    assert pd.to_numeric(pd.Series(keys), errors="coerce").isna().all()


@pytest.mark.parametrize("size", [0, 1, 57, 59, 464])
@pytest.mark.parametrize("method", ["check", "repair", "split", "widths", "kept", "adapters", "key", "format_code"])
def test_a_code_of_the_wrong_length_is_refused(method, size):
    with pytest.raises(UserError, match="58"):
        getattr(SPACE, method)(np.ones(size))


@pytest.mark.parametrize("value", [2, -1, 0.5, float("nan"), 256])
def test_other_values_than_0_and_1_are_refused(value):
    code = np.ones(58) * 1.0
    code[3] = value
    with pytest.raises(UserError, match="0 and 1"):
        SPACE.check(code)


@pytest.mark.parametrize(
    "text", ["", "h", "ff" * 8, "k" + "ff" * 8, "h" + "ff" * 7, "h" + "ff" * 9, "hxyz", "h" + "ff" * 8, "hello"]
)
def test_text_that_is_no_code_is_refused(text):
    with pytest.raises(UserError):  # eight bytes of ff set six bits beyond the 58
        SPACE.parse_code(text)


# --- files


def test_unknown_name_is_refused_with_a_suggestion():
    with pytest.raises(UserError, match=r"resnet_20.*did you mean 'resnet20'.*resnet32, resnet56"):
        load_search_space("resnet_20")


def test_missing_file_is_refused_by_name():
    with pytest.raises(UserError, match=r"mine\.yaml: no such file"):
        load_search_space("mine.yaml")


def write_space(folder: Path, **changes: object) -> str:
    """A user's own file: one block in one stage, three segments of 2, 2 and 4 channels."""
    document = {
        "name": "mine",
        "network": {"family": "resnet_cifar", "blocks": [1]},
        "parameters": {"width": 2, "num_classes": 3, "in_channels": 1, "image_size": 6},
        "segments": [
            {"name": "layer1.0.middle", "times": 1},
            {"name": "stem", "times": 1},
            {"name": "layer1.final", "times": 2},
        ],
        "layers": [{"name": "conv1", "norm": "bn1", "kernel": 3, "inputs": "image", "outputs": "stem"}],
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({**document, **changes}))
    return str(path)


def test_a_users_own_file_is_a_search_space(tmp_path):
    space = load_search_space(write_space(tmp_path))
    assert (space.name, space.length) == ("mine", 8)
    assert space.widths([0, 1, 1, 1, 1, 1, 1, 0]) == {"layer1.0.middle": 1, "stem": 2, "layer1.final": 3}
    network = build_network(space, [0, 1, 1, 1, 1, 1, 1, 0])
    assert network.get_submodule("layer1.0.conv2").weight.shape == (3, 1, 3, 3)


CONV = {"name": "conv1", "inputs": "image", "outputs": "stem"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": [{**CONV, "outputs": "stm"}]}, "did you mean 'stem'"),
        ({"layers": [{**CONV, "inputs": "classes"}]}, "unknown segment 'classes'"),
        ({"layers": [{**CONV, "kind": "konv"}]}, "did you mean 'conv'"),
        ({"layers": [{**CONV, "kernal": 3}]}, "kernal"),
        ({"segments": [{"name": "a", "times": 1}, {"name": "a", "times": 1}]}, "twice"),
        ({"segments": [{"name": "a"}]}, "times"),
        ({"segments": [{"name": "stem", "times": 0}]}, "times"),
        ({"segments": [{"name": "stem", "times": 1.5}]}, "times"),
        ({"segments": [{"name": "stem", "times": -1}]}, "times"),
        ({"parameters": {"width": 2}}, "num_classes"),
        ({"segments": None}, "not a search space"),
    ],
)
def test_a_wrong_file_is_refused_with_its_reason(tmp_path, changes, message):
    with pytest.raises(UserError, match=message):
        load_search_space(write_space(tmp_path, **changes))


# --- the rows against the real network


def test_every_layer_of_the_network_stands_in_the_space_and_back():
    for name in NAMES:
        space = load_search_space(name)
        modules = dict(build_network(space).named_modules())
        rows = [layer for layer in space.layers if layer.kind != "adapter"]
        assert [row.name for row in rows] == [n for n, m in modules.items() if isinstance(m, WEIGHTED)]
        assert {row.norm for row in rows if row.norm} == {n for n, m in modules.items() if isinstance(m, NORMS)}


@pytest.mark.parametrize("name", NAMES)
def test_channels_of_every_row_are_those_of_the_module(name):
    space = load_search_space(name, width=3, num_classes=7, in_channels=2)
    code = space.repair(np.random.default_rng(0).integers(0, 2, space.length))  # stem != layer1.final, so an adapter
    modules = dict(build_network(space, code).named_modules())
    widths = {"image": 2, "classes": 7, **space.widths(code)}
    for row in space.layers:
        kernel = () if row.kind == "linear" else (row.kernel, row.kernel)
        assert modules[row.name].weight.shape == (widths[row.outputs], widths[row.inputs], *kernel), row
        if row.norm is not None:
            assert modules[row.norm].num_features == widths[row.outputs], row


def test_segments_that_an_adapter_joins_are_tied():
    space = load_search_space("resnet20")
    alone = [(segment.name,) for segment in space.segments if segment.name not in ("stem", "layer1.final")]
    assert list(space.tied) == [*alone[:9], ("stem", "layer1.final"), *alone[9:]]


def test_segments_of_different_widths_are_not_tied():
    space = load_search_space("resnet20")
    segments = tuple(replace(segment, width=8) if segment.name == "stem" else segment for segment in space.segments)
    assert replace(space, segments=segments).tied == tuple((segment.name,) for segment in segments)
