"""The fixed invocations of `recurlm` whose output must not change, and the files that they read.

The invocations run in the order of the list and in one folder: later ones read what earlier ones wrote.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

import made_lists

FIXTURES = Path(__file__).parents[1] / "fixtures"
SENTENCES = ["the red fruit is a cherry", "the yellow fruit is a lemon", "the green fruit is a lime", "it is sweet"]
TEXTS = {
    "texts/train.txt": [*SENTENCES, "a lemon is not sweet", "the red fruit is sweet"] * 8,
    "texts/valid.txt": [*SENTENCES, "a lime is not a cherry"],
    "texts/test.txt": ["the lemon is a yellow fruit", "a zebra is not a fruit", "", "it is red", "the lime is green"],
    "lines.txt": ["call-1 the red fruit is sweet", "call-2 a zebra is sweet"],
    "more.txt": ["the blue fruit is a plum", "a plum is sour"],
    "small.toml": [
        'description = "A small LSTM for the list of invocations."',
        "[text]",
        "minimum_count = 1",
        "[batches]",
        'kind = "stream"',
        "batch_size = 4",
        "bptt = 10",
        "[model]",
        "embedding_size = 8",
        "hidden_sizes = [8]",
        "tied = true",
        "dropout = { output = 0.2 }",
        "[optimizer]",
        'kind = "adamw"',
        "learning_rate = 0.03",
        "[schedule]",
        'kind = "one-cycle"',
        "[training]",
        "clip_norm = 0.25",
        "epochs = 4",
        "log_every = 5",
        'precision = "fp32"',
        "checkpoint_seconds = 100000.0",
    ],
}
VARIABLES = {"RECURLM_CACHE_DIR": "cache", "RECURLM_DATA_DIR": "data", "RECURLM_OFFLINE": "1", "RECURLM_DEVICE": "cpu"}
"""The environment of every invocation."""

SMALL = "--recipe small.toml --seed 3"
CHARACTERS = "--set text.unit=character --epochs 1"
LISTS = "lists/mikolov.txt --acoustic-costs lists/mikolov.ac --language-costs lists/mikolov.lm"


@dataclass(frozen=True)
class Invocation:
    """One command line.

    name: name of the recorded file · command: the words after `recurlm`, split at spaces · code: exit code ·
    stdin: standard input · interrupt_after: text on standard error that SIGINT follows
    """

    name: str
    command: str
    code: int = 0
    stdin: str = ""
    interrupt_after: str | None = None


INVOCATIONS = [
    Invocation("version", "--version"),
    Invocation("recipes", "recipes"),
    Invocation("recipes-show", "recipes show demo"),
    Invocation("corpora", "corpora"),
    Invocation("train-interrupted", f"train texts --out run {SMALL}", code=75, interrupt_after="step 20"),
    Invocation("train-resumed", "train --out run --resume"),
    Invocation("train-gru", f"train texts --out gru {SMALL} --set model.cell=gru --epochs 2 --quiet --json"),
    Invocation("verify", "verify run"),
    Invocation("eval-stream", "eval run"),
    Invocation("eval-sentence", "eval run --split valid --protocol sentence --json"),
    Invocation("eval-mxnet", "eval run texts/test.txt --protocol mxnet"),
    Invocation("score-tsv", "score run texts/test.txt --format tsv --oov skip --log-base 2"),
    Invocation("score-jsonl", "score run texts/test.txt --json --context carry --state-out read.state"),
    Invocation("score-lines", "score run --format lines --context carry --state-in read.state", stdin="it is sweet\n"),
    Invocation("score-kaldi", "score run lines.txt --format kaldi --oov share:1000"),
    Invocation("generate", "generate run --prompt the --tokens 12 --temperature 0.8 --top-k 5 --seed 7"),
    Invocation("generate-json", "generate run --tokens 8 --count 3 --seed 7 --top-p 0.9 --until-eos --json"),
    Invocation("generate-beam", "generate run --prompt the --beam 4 --count 2 --length-penalty 0.5 --json"),
    Invocation("ngram", "ngram texts --order 2 --vocabulary run --out bigrams.arpa"),
    Invocation("compare", "compare run gru bigrams.arpa texts"),
    Invocation("eval-mixture", "eval run texts/valid.txt --with bigrams.arpa --with gru --held-out texts/test.txt"),
    Invocation("rescore-kaldi", "rescore run lists/kaldi --references lists/references.txt --out best.txt --json"),
    Invocation("rescore-nbest", f"rescore run {LISTS} --weight 0.7 --carry --output-format scores"),
    Invocation("rescore-lattices", "rescore run lists/lattices --nbest 3 --output-format nbest"),
    Invocation("vocabulary-extend", "vocabulary run --extend more.txt --out larger --seed 5"),
    Invocation("adapt-cache", "adapt run --method cache --set window=20 --json"),
    Invocation("search", f"search texts --out search {SMALL} {CHARACTERS} --trials 2 --vary batches.bptt=5|10|20"),
    Invocation("graph", "graph run --out network.svg"),
    Invocation("plot", "plot old --out curves.svg --json"),
    Invocation("import-mxnet", "import-mxnet mxnet/model --epoch 1 --vocabulary mxnet/vocab.json --out imported"),
    Invocation("export-mxnet", "export-mxnet imported exported --json"),
    Invocation("wrong-options", "generate run --beam 2 --seed 1", code=2),
    Invocation("unknown-key", "train texts --out none --set model.hiden_sizes=[8]", code=3),
    Invocation("missing-file", "score run missing.txt", code=3),
    Invocation("altered-file", "verify altered", code=4),
]


def write_scene(folder: Path) -> None:
    """Write the files that the invocations read into a folder."""
    for name, lines in TEXTS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    (folder / "data").mkdir()
    made_lists.write(folder / "lists")
    shutil.copytree(FIXTURES / "mxnet" / "lstm_fused", folder / "mxnet")
    for copy in ("old", "altered"):
        shutil.copytree(FIXTURES / "0.1.0" / "run", folder / copy)
    model = folder / "altered" / "model.safetensors"
    content = bytearray(model.read_bytes())
    content[-1] ^= 1
    model.write_bytes(content)
