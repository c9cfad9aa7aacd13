import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recurlm.config import SentenceBatches, StreamBatches
from recurlm.errors import InputError
from recurlm.text.batching import (
    IGNORED,
    Batch,
    BucketedSentences,
    Streams,
    choose_buckets,
    length_groups,
    open_batches,
)

# ids tell where they stand: no pair can be mistaken for another
sentence_lengths = st.lists(st.integers(0, 12), min_size=1, max_size=25)


def numbered(lengths: list[int]) -> list[list[int]]:
    counter = itertools.count(1)
    return [list(itertools.islice(counter, length)) for length in lengths]


def pairs(batches: list[Batch]) -> Counter:
    """(input, target) of every position that the loss looks at."""
    found: Counter = Counter()
    for batch in batches:
        seen = batch.target != IGNORED
        found.update(zip(batch.input[seen].tolist(), batch.target[seen].tolist(), strict=True))
    return found


def shape_is_sound(batch: Batch) -> None:
    assert batch.input.shape == batch.target.shape == batch.counted.shape
    assert batch.input.dtype == batch.target.dtype == torch.int64
    assert batch.counted.dtype == torch.bool
    assert (batch.input >= 0).all()
    assert batch.columns == batch.input.shape[1]
    assert not (batch.counted & (batch.target == IGNORED)).any()


def same(one: Batch, other: Batch) -> bool:
    restarts = [None if batch.restarts is None else batch.restarts.tolist() for batch in (one, other)]
    return torch.equal(one.input, other.input) and torch.equal(one.target, other.target) and restarts[0] == restarts[1]


stream_options = st.builds(
    StreamBatches,
    batch_size=st.integers(1, 7),
    bptt=st.integers(1, 9),
    random_lengths=st.booleans(),
    partial_shuffle=st.booleans(),
    reset_probability=st.sampled_from([0.0, 0.4]),
)


@given(sentence_lengths, stream_options, st.integers(0, 3))
def test_a_stream_predicts_every_token_once_from_the_token_before(encoded, lengths, options, epoch):
    text = encoded(numbered(lengths))
    batches = list(Streams(text, options, seed=5).batches(epoch))
    ids = text.ids.tolist()
    assert pairs(batches) == Counter(zip([0, *ids[:-1]], ids, strict=True))
    assert sum(int(batch.counted.sum()) for batch in batches) == len(ids)
    assert sum(batch.sentences for batch in batches) == len(lengths)
    assert [batch.carried for batch in batches] == [False] + [True] * (len(batches) - 1)
    for batch in batches:
        shape_is_sound(batch)
        assert torch.equal(batch.counted, batch.target != IGNORED)


@given(sentence_lengths, st.integers(1, 4), st.integers(1, 9), st.booleans())
def test_a_column_goes_on_where_the_batch_before_ended(encoded, lengths, columns, bptt, random):
    text = encoded(numbered(lengths))
    options = StreamBatches(batch_size=columns, bptt=bptt, random_lengths=random)
    batches = list(Streams(text, options, seed=1).batches(0))
    together = torch.cat([batch.target for batch in batches])
    columns_joined = together.t().flatten()
    assert columns_joined[columns_joined != IGNORED].tolist() == text.ids.tolist()
    for before, after in itertools.pairwise(batches):
        carried_on = after.target[0] != IGNORED
        assert torch.equal(after.input[0][carried_on], before.target[-1][carried_on])


@given(st.integers(1, 600), st.integers(1, 5), st.integers(1, 60), st.integers(0, 5))
def test_random_lengths_add_up_and_scale_the_rate(encoded, tokens, columns, bptt, epoch):
    text = encoded([[1] * (tokens - 1)])
    options = StreamBatches(batch_size=columns, bptt=bptt, random_lengths=True)
    source = Streams(text, options, seed=2)
    batches = list(source.batches(epoch))
    lengths = [len(batch.input) for batch in batches]
    assert sum(lengths) == -(-tokens // columns)
    assert source.length(epoch) == len(lengths)
    assert all(length >= 5 for length in lengths[:-1])
    assert [batch.rate for batch in batches] == [length / bptt for length in lengths]


def test_random_lengths_follow_their_distribution(encoded):
    source = Streams(encoded([[1] * 400_000]), StreamBatches(batch_size=1, bptt=70, random_lengths=True), seed=3)
    lengths = np.array([len(batch.input) for batch in source.batches(0)][:-1])
    short = lengths < 52
    assert 0.03 < short.mean() < 0.07
    assert abs(lengths[~short].mean() - 69.5) < 0.5
    assert abs(lengths[short].mean() - 34.5) < 1.5
    assert abs(lengths[~short].std() - 5) < 0.5


def test_fixed_lengths_keep_the_rate(encoded):
    batches = list(Streams(encoded([[1] * 20]), StreamBatches(batch_size=2, bptt=4), seed=0).batches(0))
    assert [batch.rate for batch in batches] == [1.0, 1.0, 1.0]
    assert [len(batch.input) for batch in batches] == [4, 4, 3]


def test_a_stream_by_hand(encoded):
    batches = list(Streams(encoded([[1, 2], [3, 4, 5]]), StreamBatches(batch_size=2, bptt=3), seed=0).batches(0))
    assert batches[0].input.t().tolist() == [[0, 1, 2], [3, 4, 5]]
    assert batches[0].target.t().tolist() == [[1, 2, 0], [4, 5, 0]]
    assert batches[1].input.t().tolist() == [[0], [0]]
    assert batches[1].target.t().tolist() == [[3], [IGNORED]]


@given(sentence_lengths, st.integers(1, 7), st.integers(0, 3))
def test_a_partial_shuffle_rotates_each_column_by_itself(encoded, lengths, columns, epoch):
    text = encoded(numbered(lengths))

    def joined(**options) -> list[list[int]]:
        source = Streams(text, StreamBatches(batch_size=columns, bptt=4, **options), seed=6)
        targets = torch.cat([batch.target for batch in source.batches(epoch)]).t().tolist()
        return [[token for token in column if token != IGNORED] for column in targets]

    for plain, rotated in zip(joined(), joined(partial_shuffle=True), strict=True):
        assert rotated in [plain[cut:] + plain[:cut] for cut in range(max(len(plain), 1))]


def test_rotations_are_spread_over_the_column_and_differ_between_columns(encoded):
    source = Streams(encoded([range(1, 400)]), StreamBatches(batch_size=4, partial_shuffle=True), seed=6)
    first = torch.cat([next(iter(source.batches(epoch))).target[:1] for epoch in range(60)])
    places = (first + 399 - torch.arange(4) * 100) % 400  # ids count from 1, 0 ends the text
    assert ((places >= 0) & (places < 100)).all()
    # sixty draws from 0 to 99 have a mean of 49.5 and its standard deviation is 3.7
    assert (places.double().mean(0) - 49.5).abs().max() < 15
    assert all(len(set(row.tolist())) > 1 for row in places[:5])


def test_columns_restart_with_the_probability_asked_for(encoded):
    options = StreamBatches(batch_size=50, bptt=2, reset_probability=0.1)
    batches = list(Streams(encoded([[1] * 40_000]), options, seed=6).batches(1))
    restarted = np.stack([np.zeros(50) if b.restarts is None else b.restarts[0] for b in batches])
    # 20,000 draws: the share has a standard deviation of 0.002
    assert restarted.mean() == pytest.approx(0.1, abs=0.01)
    assert 0 < restarted[0].sum() < 50
    assert not any(batch.restarts[1:].any() for batch in batches if batch.restarts is not None)
    assert all(batch.restarts is None for batch in Streams(encoded([[1] * 99]), StreamBatches(), seed=6).batches(1))


def test_the_columns_that_restart_are_those_of_one_table_of_draws(encoded):
    """Runs of earlier versions drew the table at once; a resumed run draws the rest of it."""
    options = StreamBatches(batch_size=50, bptt=2, reset_probability=0.4)
    streams = Streams(encoded([[1] * 2_000]), options, seed=6)
    table = np.random.default_rng([6, 3, 2]).random((streams.length(3), 50)) < 0.4
    for start in (0, 7):
        drawn = [batch.restarts[0] for batch in streams.batches(3, start)]
        assert np.array_equal(np.stack(drawn), table[start:])


sentence_options = st.builds(
    SentenceBatches,
    batch_size=st.integers(1, 6),
    buckets=st.one_of(
        st.just("auto"),
        st.lists(st.integers(1, 16), min_size=1, max_size=4, unique=True).map(lambda b: tuple(sorted(b))),
    ),
)


@given(sentence_lengths, sentence_options, st.integers(0, 3))
def test_sentences_predict_every_token_once_from_the_token_before(encoded, lengths, options, epoch):
    sentences = numbered(lengths)
    batches = list(BucketedSentences(encoded(sentences), options, seed=5).batches(epoch))
    expected = Counter(pair for s in sentences for pair in zip([0, *s], [*s, 0], strict=True))
    assert pairs(batches) == expected
    assert sum(int(batch.counted.sum()) for batch in batches) == sum(lengths) + len(lengths)
    assert sum(batch.sentences for batch in batches) == len(lengths)
    assert not any(batch.carried for batch in batches)
    for batch in batches:
        shape_is_sound(batch)
        assert batch.columns <= options.batch_size
        assert (batch.input[0] == 0).all()


@given(sentence_lengths, sentence_options)
def test_a_sentence_goes_to_the_smallest_bucket_that_holds_it(encoded, lengths, options):
    source = BucketedSentences(encoded(numbered(lengths)), options, seed=0)
    for batch in source.batches(0):
        width = len(batch.input)
        assert width in source.buckets
        smaller = max((bucket for bucket in source.buckets if bucket < width), default=0)
        for column in batch.target.t():
            assert smaller < int((column != IGNORED).sum()) <= width
            assert (column[int((column != IGNORED).sum()) :] == IGNORED).all()


@given(sentence_lengths, sentence_options)
def test_with_the_first_word_given_only_the_rest_is_predicted(encoded, lengths, options):
    sentences = numbered(lengths)
    given_options = options.model_copy(update={"first_word": "given"})
    batches = list(BucketedSentences(encoded(sentences), given_options, seed=5).batches(0))
    assert pairs(batches) == Counter(pair for s in sentences for pair in itertools.pairwise([*s, 0]))
    assert sum(int(batch.counted.sum()) for batch in batches) == sum(lengths)


def test_trained_padding_is_what_mxnet_does(encoded):
    """Its label is the padded row shifted left by one with 0 at the end, and 0 is not counted."""
    options = SentenceBatches(batch_size=2, buckets=(6,), first_word="given", padding="trained")
    (batch,) = BucketedSentences(encoded([[7, 8, 9], [5]]), options, seed=0).batches(0)
    rows = sorted(zip(batch.input.t().tolist(), batch.target.t().tolist(), batch.counted.t().tolist(), strict=True))
    assert rows == [
        ([5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0], [False] * 6),
        ([7, 8, 9, 0, 0, 0], [8, 9, 0, 0, 0, 0], [True, True, False, False, False, False]),
    ]


def test_masked_batches_by_hand(encoded):
    options = SentenceBatches(batch_size=2, buckets=(4,))
    (batch,) = BucketedSentences(encoded([[7, 8], [5]]), options, seed=0).batches(0)
    rows = sorted(zip(batch.input.t().tolist(), batch.target.t().tolist(), strict=True))
    assert rows == [([0, 5, 0, 0], [5, 0, IGNORED, IGNORED]), ([0, 7, 8, 0], [7, 8, 0, IGNORED])]


def test_long_sentences_are_kept_unless_asked_otherwise(encoded):
    text = encoded(numbered([3, 3, 9, 15]))
    kept = BucketedSentences(text, SentenceBatches(batch_size=2, buckets=(4, 6)), seed=0)
    assert kept.buckets == (4, 6, 16)
    assert kept.discarded == 0
    assert not any("discarded" in line for line in kept.report())
    discarding = SentenceBatches(batch_size=2, buckets=(4, 6), longer="discard")
    discarded = BucketedSentences(text, discarding, seed=0)
    assert pairs(list(discarded.batches(0))).total() == 8
    assert discarded.report()[1].startswith("2 sentences longer than the largest bucket discarded")
    assert "batches.longer" in discarded.report()[1]


@given(sentence_lengths, st.integers(1, 6), st.integers(0, 3))
def test_dropped_remainders_are_counted(encoded, lengths, batch_size, epoch):
    options = SentenceBatches(batch_size=batch_size, buckets=(5, 10, 20), remainder="drop")
    by_bucket = Counter(5 if length < 5 else 10 if length < 10 else 20 for length in lengths)
    full = sum(count // batch_size for count in by_bucket.values())
    if not full:
        with pytest.raises(InputError, match=f"no bucket holds a full batch of {batch_size}"):
            BucketedSentences(encoded(numbered(lengths)), options, seed=0)
        return
    source = BucketedSentences(encoded(numbered(lengths)), options, seed=0)
    batches = list(source.batches(epoch))
    assert len(batches) == source.length(epoch) == full
    assert all(batch.columns == batch_size for batch in batches)
    lost = len(lengths) - full * batch_size
    said = [line for line in source.report() if "left over by the batches" in line]
    assert [line.split()[0] for line in said] == ([str(lost)] if lost else [])


def test_when_all_sentences_are_too_long_the_message_says_so(encoded):
    options = SentenceBatches(batch_size=2, buckets=(2,), longer="discard")
    with pytest.raises(InputError, match="all 3 sentences are longer than the largest bucket"):
        BucketedSentences(encoded(numbered([4, 5, 6])), options, seed=0)


def test_the_report_tells_sentences_buckets_and_padding(encoded):
    source = BucketedSentences(encoded(numbered([3, 3, 7])), SentenceBatches(buckets=(5, 10)), seed=0)
    # 4 + 4 + 8 tokens stand in 5 + 5 + 10 positions
    assert source.report() == ["3 sentences in buckets [5, 10], 20% of positions are padding"]


SOURCES = [
    StreamBatches(batch_size=3, bptt=4),
    StreamBatches(batch_size=3, bptt=9, random_lengths=True),
    StreamBatches(batch_size=3, bptt=4, partial_shuffle=True, reset_probability=0.3),
    SentenceBatches(batch_size=3),
    SentenceBatches(batch_size=2, buckets=(4, 9), longer="discard", remainder="drop"),
]
LENGTHS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4] * 3


@pytest.mark.parametrize("options", SOURCES)
@pytest.mark.parametrize("epoch", [0, 3])
def test_batches_go_on_from_any_position(encoded, options, epoch):
    text = encoded(numbered(LENGTHS))
    whole = list(open_batches(text, options, seed=4).batches(epoch))
    assert len(whole) == open_batches(text, options, seed=4).length(epoch)
    for start in range(len(whole) + 1):
        tail = list(open_batches(text, options, seed=4).batches(epoch, start))
        assert len(tail) == len(whole) - start
        for one, other in zip(tail, whole[start:], strict=True):
            assert same(one, other)
            assert (one.carried, one.rate, one.sentences) == (other.carried, other.rate, other.sentences)


@pytest.mark.parametrize("options", SOURCES[1:])
def test_epochs_and_seeds_differ_and_repeat(encoded, options):
    text = encoded(numbered(LENGTHS * 2))

    def order(seed: int, epoch: int) -> list[list[int]]:
        return [batch.target.flatten().tolist() for batch in open_batches(text, options, seed).batches(epoch)]

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)
    assert order(1, 2) == order(1, 2)


def test_rows_are_shuffled_within_their_bucket_too(encoded):
    source = BucketedSentences(encoded(numbered([4] * 30)), SentenceBatches(batch_size=5), seed=0)
    together = [{frozenset(batch.target[0].tolist()) for batch in source.batches(epoch)} for epoch in range(2)]
    assert together[0] != together[1]


def padded_positions(lengths: list[int], buckets: tuple[int, ...]) -> int:
    return sum(min(bucket for bucket in buckets if bucket >= length) for length in lengths)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(1, 4))
def test_chosen_buckets_pad_least(lengths, count):
    chosen = choose_buckets(np.array(lengths), count)
    assert len(chosen) <= count
    assert chosen == tuple(sorted(set(chosen)))
    values = sorted(set(lengths))
    candidates = (
        (*smaller, values[-1])
        for size in range(min(count, len(values)))
        for smaller in itertools.combinations(values[:-1], size)
    )
    best = min(padded_positions(lengths, buckets) for buckets in candidates)
    assert padded_positions(lengths, chosen) == best


def test_there_are_eight_buckets_unless_told_otherwise():
    assert len(choose_buckets(np.arange(1, 1000))) == 8
    assert choose_buckets(np.array([3, 5, 5])) == (3, 5)


def test_chosen_buckets_hold_lengths_of_any_spread():
    lengths = np.random.default_rng(0).geometric(0.002, 20_000)
    buckets = choose_buckets(lengths)
    assert len(buckets) <= 8
    assert buckets[-1] == lengths.max()
    evenly = tuple(int(q) for q in np.quantile(lengths, np.linspace(0, 1, 9)[1:], method="higher"))
    assert padded_positions(lengths.tolist(), buckets) < padded_positions(lengths.tolist(), evenly)


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 80))
def test_length_groups_hold_every_sequence_once_within_the_budget(lengths, budget):
    groups = list(length_groups(lengths, budget))
    assert sorted(itertools.chain(*groups)) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or max(lengths[index] for index in group) * len(group) <= budget


def test_a_batch_goes_to_a_device(encoded):
    (batch,) = Streams(encoded([[1, 2]]), StreamBatches(batch_size=1), seed=0).batches(0)
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    assert {moved.input.device.type, moved.target.device.type, moved.counted.device.type} == {"meta"}
    assert (moved.sentences, moved.carried, moved.rate) == (batch.sentences, batch.carried, batch.rate)


def test_the_steps_of_all_epochs_are_the_sum_over_them(encoded):
    text = encoded([[1] * 99] * 10)
    for options in (
        StreamBatches(batch_size=3, bptt=7),
        StreamBatches(batch_size=3, bptt=20, random_lengths=True),
        SentenceBatches(batch_size=3),
        SentenceBatches(batch_size=3, remainder="drop"),
    ):
        source = open_batches(text, options, seed=5)
        for epochs in (1, 2, 30):
            assert source.total_length(epochs) == sum(source.length(epoch) for epoch in range(epochs))


@pytest.mark.parametrize("random_lengths", [False, True])
def test_the_steps_of_very_many_epochs_are_known_without_going_through_them(encoded, monkeypatch, random_lengths):
    source = open_batches(encoded([[1] * 699]), StreamBatches(bptt=35, batch_size=1, random_lengths=random_lengths), 1)
    monkeypatch.setattr("recurlm.text.batching.MOST_DRAWN_LENGTHS", 2000)
    counted = []
    length = source.length
    monkeypatch.setattr(source, "length", lambda epoch: counted.append(epoch) or length(epoch))
    # 700 tokens in pieces of 35, one in twenty half as long: 20 or a few more
    assert 20 <= source.total_length(10**9) / 10**9 < 23
    assert len(counted) <= 101


@given(sentence_lengths, st.integers(1, 7), st.integers(1, 4))
def test_the_parts_of_a_batch_hold_its_targets_once_and_its_whole(encoded, lengths, columns, processes):
    text = encoded(numbered(lengths))
    for batch in open_batches(text, StreamBatches(batch_size=columns, bptt=3), seed=1).batches(0):
        bounds = [columns * rank // processes for rank in range(processes + 1)]
        parts = [batch.cut(slice(*bound)) for bound in itertools.pairwise(bounds)]
        assert sum((pairs([part]) for part in parts), Counter()) == pairs([batch])
        assert sum(int(part.counted.sum()) for part in parts) == int(batch.counted.sum())
        assert all(part.whole is batch and part.columns >= 1 for part in parts)


def test_a_part_has_the_restarts_of_its_columns(encoded):
    options = StreamBatches(batch_size=4, bptt=5, reset_probability=0.5)
    batch = next(iter(open_batches(encoded(numbered([40])), options, seed=1).batches(0)))
    assert batch.restarts is not None
    assert np.array_equal(batch.cut(slice(1, 3)).restarts, batch.restarts[:, 1:3])
