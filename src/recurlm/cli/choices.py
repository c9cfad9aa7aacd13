"""The closed choices of options: Typer lists them in `--help`, completes them and refuses anything else.

Each choice repeats the names that a room of the library knows, since that room loads torch and `--help` must not. A
test compares both.
"""

from enum import StrEnum


class Choice(StrEnum):
    """A name as the library takes it; in messages it reads as a plain string."""

    def __repr__(self) -> str:
        return repr(self.value)


class Device(Choice):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class Precision(Choice):
    """The type of matrix products."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Split(Choice):
    """A text of a corpus."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class Protocol(Choice):
    """How perplexity is counted."""

    STREAM = "stream"
    SENTENCE = "sentence"
    MXNET = "mxnet"


class ComparableProtocol(Choice):
    """How the perplexities of several models are counted."""

    STREAM = "stream"
    SENTENCE = "sentence"


class Method(Choice):
    """Adaptation at test time."""

    CACHE = "cache"
    DYNAMIC_SGD = "dynamic-sgd"
    DYNAMIC_RMS = "dynamic-rms"
    TEMPERATURE = "temperature"
    MC_DROPOUT = "mc-dropout"


class ScoreFormat(Choice):
    """A layout of scores."""

    TEXT = "text"
    JSONL = "jsonl"
    TSV = "tsv"
    LINES = "lines"
    SRILM = "srilm"
    SENTENCE = "sentence"
    KALDI = "kaldi"
    HTML = "html"


class TableKind(Choice):
    """A layout of a table to read."""

    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"


class LogBase(Choice):
    """The base of logarithms."""

    E = "e"
    TWO = "2"
    TEN = "10"


class Context(Choice):
    """The state before each line."""

    RESET = "reset"
    CARRY = "carry"


class Unit(Choice):
    """What one score belongs to."""

    TOKEN = "token"
    WORD = "word"


class TextUnit(Choice):
    """What one token of a text is."""

    WORD = "word"
    CHARACTER = "character"
    BPE = "bpe"


class NBestFormat(Choice):
    """A layout of n-best lists or lattices to read."""

    AUTO = "auto"
    KALDI = "kaldi"
    MIKOLOV = "mikolov"
    JSONL = "jsonl"
    HTK = "htk"


class RescoredFormat(Choice):
    """A layout of rescored lists to write."""

    BEST = "best"
    NBEST = "nbest"
    SCORES = "scores"
    JSONL = "jsonl"


class NewWeights(Choice):
    """The weights of words that are added to a vocabulary."""

    MEAN = "mean"
    UNK = "unk"
