"""The code: its segments, its repair, its key and its text."""

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evoprune import UserError, compute_costs, load_search_space
from evoprune.space.space import SearchSpace

SPACE = load_search_space("resnet20", width=2)  # 58 bits, so that hypothesis shrinks to something readable

codes = st.binary(min_size=8, max_size=8).map(lambda raw: np.unpackbits(np.frombuffer(raw, np.uint8))[:58])
segment_names = st.sampled_from([segment.name for segment in SPACE.segments])


def read_back(texts: list[str]) -> list[object]:
    """What pandas, left to its own devices, makes of a CSV column."""
    table = io.StringIO()
    pd.DataFrame({"text": texts, "number": 1}).to_csv(table, index=False)
    return pd.read_csv(io.StringIO(table.getvalue()))["text"].tolist()


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


@settings(deadline=None)
@given(codes)
def test_repair_leaves_no_segment_empty_and_changes_nothing_else(code):
    before, repaired = code.copy(), SPACE.repair(code)
    assert np.array_equal(code, before), "the caller's code was changed"
    for segment in SPACE.segments:
        bits = code[segment.slice].tolist()
        wanted = bits if any(bits) else [1] + [0] * (segment.width - 1)
        assert repaired[segment.slice].tolist() == wanted


@settings(deadline=None)
@given(codes)
def test_repair_is_idempotent(code):
    assert np.array_equal(SPACE.repair(SPACE.repair(code)), SPACE.repair(code))


@settings(deadline=None)
@given(codes)
def test_widths_count_the_kept_bits(code):
    repaired, start = SPACE.repair(code).tolist(), 0
    for segment in SPACE.segments:
        assert SPACE.widths(code)[segment.name] == repaired[start : start + segment.width].count(1)
        start += segment.width


@settings(deadline=None)
@given(codes, codes)
def test_keys_are_equal_exactly_where_repaired_codes_are(first, second):
    same = np.array_equal(SPACE.repair(first), SPACE.repair(second))
    assert (SPACE.key(first) == SPACE.key(second)) is same


@settings(deadline=None)
@given(codes, segment_names)
def test_an_empty_segment_and_its_repair_have_one_key(code, name):
    segment = next(segment for segment in SPACE.segments if segment.name == name)
    code[segment.slice] = 0
    filled = code.copy()
    filled[segment.start] = 1
    assert SPACE.key(code) == SPACE.key(filled)


@settings(deadline=None)
@given(codes, st.integers(0, 57))
def test_one_more_kept_channel_is_another_key(code, bit):
    code = SPACE.repair(code)
    other = code.copy()
    other[bit] ^= 1
    if np.array_equal(SPACE.repair(other), other):
        assert SPACE.key(code) != SPACE.key(other)


def test_key_is_the_same_on_every_machine_and_in_every_version():
    assert load_search_space("resnet20").key(np.ones(464)) == "kfb2c4cf58bd"  # printf 464: + 58 bytes 0xff | sha256sum


@settings(deadline=None)
@given(codes)
def test_code_survives_its_text(code):
    assert np.array_equal(SPACE.parse_code(SPACE.format_code(code)), code)


@settings(max_examples=20, deadline=None)
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


def test_the_smallest_code_keeps_one_channel_of_each_segment(small_space: SearchSpace):
    assert set(small_space.widths(small_space.smallest_code()).values()) == {1}
    rng = np.random.default_rng(2)
    codes = (rng.random((20, small_space.length)) < rng.random((20, 1))).astype(np.uint8)
    costs, smallest = compute_costs(small_space, codes), compute_costs(small_space, small_space.smallest_code())
    assert all((costs[name] >= value).all() for name, value in smallest.items())


@settings(deadline=None)
@given(codes)
def test_ones_are_counted_as_they_are_in_many_codes_at_once(code):
    both = np.stack([code, SPACE.repair(code)])
    wanted = [[int(row[segment.slice].sum()) for segment in SPACE.segments] for row in both]
    assert SPACE.count(both).tolist() == wanted
    assert SPACE.count(code).tolist() == wanted[0]


def test_a_segment_is_found_by_its_name():
    assert all(SPACE.segment(segment.name) is segment for segment in SPACE.segments)


def test_adapters_stand_where_stem_and_trunk_keep_other_channels():
    code = SPACE.full_code()
    assert SPACE.adapters(code) == []
    code[SPACE.segment("stem").start] = 0
    assert SPACE.adapters(code) == ["layer1.0.shortcut"]
    code[SPACE.segment("layer1.final").start] = 0
    assert SPACE.adapters(code) == []


def test_a_slim_network_is_as_wide_as_its_code_keeps_it_and_costs_the_same():
    code = SPACE.repair(np.random.default_rng(0).integers(0, 2, SPACE.length))
    code[SPACE.segment("layer1.final").slice] = code[SPACE.segment("stem").slice]
    slim = SPACE.slim(code)
    assert {segment.name: segment.width for segment in slim.segments} == SPACE.widths(code)
    assert [segment.start for segment in slim.segments] == np.cumsum([0, *SPACE.widths(code).values()])[:-1].tolist()
    assert compute_costs(slim, slim.full_code()) == compute_costs(SPACE, code)
