import gzip
import itertools
import random
from pathlib import Path

import pytest

import made_lists
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.rescoring.formats.reading import read_nbest
from recurlm.rescoring.formats.text_lists import CostFiles, read_references
from recurlm.rescoring.nbest import GivenScales, NBestFile


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    made_lists.write(folder)
    return folder


def forms(made: Path) -> dict[str, NBestFile]:
    """The same list by every way in."""
    kaldi, mikolov = made / "kaldi", CostFiles(made / "mikolov.ac", made / "mikolov.lm")
    costs = CostFiles(kaldi / "ac_cost", kaldi / "lm_cost")
    return {
        "folder": read_nbest([str(kaldi)]),
        "kaldi": read_nbest([str(kaldi / "words_text")], costs=costs),
        "mikolov": read_nbest([str(made / "mikolov.txt")], costs=mikolov),
        "jsonl": read_nbest([str(made / "list.jsonl")]),
        "htk": read_nbest([str(made / "lattices")]),
    }


def test_every_format_gives_the_list_that_was_made(made):
    lists, _ = made_lists.nbest()
    for name, file in forms(made).items():
        assert file.format == {"folder": "kaldi"}.get(name, name)
        assert [each.utterance for each in file.lists] == list(lists)
        for found in file.lists:
            expected = lists[found.utterance]
            assert [each.text for each in found.hypotheses] == [each.text for each in expected]
            assert [each.number for each in found.hypotheses] == list(range(1, 13))
            assert [each.acoustic_cost for each in found.hypotheses] == pytest.approx([e.acoustic for e in expected])
            assert [each.language_cost for each in found.hypotheses] == pytest.approx([e.language for e in expected])


def test_a_thousand_lines_of_pairs(made):
    file = read_nbest([str(made / "pairs.nbest")])
    assert (file.format, len(file.lists)) == ("mikolov", 500)
    written = [line.replace(" ||| ", " ") for line in (made / "pairs.txt").read_text().splitlines()]
    assert [hypothesis.text for hypothesis in file.hypotheses] == written
    assert len(written) == 1000
    assert not file.has_acoustic_costs


def test_references(made):
    _, references = made_lists.nbest()
    assert read_references(made / "references.txt") == {name: tuple(text.split()) for name, text in references.items()}


def test_a_folder_with_kaldis_own_names(tmp_path):
    texts = {"words_text": ["a-b-1 one two", "a-b-2"], "acwt": ["a-b-1 10.5", "a-b-2 11"]}
    texts |= {"lmwt.nolm": ["a-b-1 1", "a-b-2 2"], "lmwt.lmonly": ["a-b-1 -0.5", "a-b-2 6e1"], "ali": ["a-b-1 3 3"]}
    for name, lines in texts.items():
        (tmp_path / name).write_text("\n".join(lines))
    (found,) = read_nbest([str(tmp_path)]).lists
    first, second = found.hypotheses
    assert (found.utterance, first.text, second.text) == ("a-b", "one two", "")
    assert (first.acoustic_cost, first.language_cost, first.graph_cost) == (10.5, -0.5, 1.0)
    assert (second.acoustic_cost, second.language_cost, second.graph_cost) == (11.0, 60.0, 2.0)
    assert second.key == "a-b-2"


def test_packed_files_and_blank_lines(tmp_path):
    path = tmp_path / "list.gz"
    path.write_bytes(gzip.compress("\ufeffu eins\r\n\nu zwei drei\n".encode()))
    assert [each.text for each in read_nbest([str(path)]).hypotheses] == ["eins", "zwei drei"]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptFileError, match=r"list\.gz is not a whole gzip file"):
        read_nbest([str(path)])


@pytest.mark.parametrize(
    ("format", "content", "said"),
    [
        ("kaldi", "u-1 a\nu b\n", "line 2: the id 'u' does not end with the number"),
        ("kaldi", "u-1 a\nu-1 b\n", "line 2: 'u-1' occurs a second time"),
        ("mikolov", "u a\nv b\nu c\n", "line 3: 'u' appears again after another"),
        ("jsonl", '{"utterance": "u", "text": "a"}\n{"utterance": "u"\n', "line 2: not JSON"),
        ("jsonl", '{"utterance": "u"}\n', 'line 1: needs "utterance"'),
        ("jsonl", "[1]\n", "line 1: not a JSON object"),
        ("jsonl", '{"utterance": "u", "text": "a", "acoustic": NaN}\n', "line 1: NaN is not a number of JSON"),
        (
            "jsonl",
            '{"utterance": "u", "text": "a", "acoustic": 1}\n{"utterance": "u", "text": "a"}\n',
            "line 2: no acoustic score",
        ),
        ("mikolov", "\n", "no hypotheses"),
        ("mikolov", b"u a\nu \xff\n", "line 2: not UTF-8 at byte 3"),
    ],
)
def test_what_is_wrong_with_a_list_is_said_with_its_line(tmp_path, format, content, said):
    path = tmp_path / "list"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as error:
        read_nbest([str(path)], format)
    assert str(error.value).startswith(str(path))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("format", "costs", "said"),
    [
        ("kaldi", "u-1 1\n", "costs: no cost for 'u-2'"),
        ("kaldi", "u-1 1\nu-2 x\n", "costs, line 2: the cost should be a number, not 'x'"),
        ("kaldi", "u-1 1\nu-2 inf\n", "costs, line 2: the cost should be a number, not 'inf'"),
        ("kaldi", "u-1 1 2\nu-2 1\n", "costs, line 1: should be an id and a cost"),
        ("mikolov", "1\n", "costs: has 1 cost where the text has 2"),
        ("mikolov", "u-1 1\nv 2\n", "costs, line 2: a cost of 'v', where the text has 'u-2'"),
    ],
)
def test_what_is_wrong_with_costs(tmp_path, format, costs, said):
    (tmp_path / "list").write_text("u-1 a\nu-2 b\n")
    (tmp_path / "costs").write_text(costs)
    with pytest.raises(InputError) as error:
        read_nbest([str(tmp_path / "list")], format, CostFiles(acoustic=tmp_path / "costs"))
    assert said in str(error.value)


def test_what_does_not_go_together(tmp_path, made):
    with pytest.raises(UsageError, match="only lattices can be many"):
        read_nbest([str(made / "mikolov.txt")] * 2)
    with pytest.raises(UsageError, match="hold their own scores"):
        read_nbest([str(made / "lattices")], costs=CostFiles(acoustic=made / "mikolov.ac"))
    with pytest.raises(UsageError, match="no format named 'julius'"):
        read_nbest([str(made / "mikolov.txt")], "julius")
    with pytest.raises(InputError, match="neither an n-best folder of Kaldi"):
        read_nbest([str(tmp_path)])
    with pytest.raises(InputError, match="no such file"):
        read_nbest([str(tmp_path / "absent")])


# Lattices


def lattice(path: Path, arcs: list[str], nodes: int, *, head: str = "", words: dict[int, str] | None = None) -> str:
    lines = ["VERSION=1.0", *head.split("\n"), f"N={nodes}  L={len(arcs)}"]
    lines += [f"I={node} t=0.0" + (f" W={words[node]}" if words and node in words else "") for node in range(nodes)]
    lines += [f"J={number} {arc}" for number, arc in enumerate(arcs)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def all_paths(arcs: list[tuple[int, int, str, float, float]], start: int, end: int) -> list[tuple[str, float, float]]:
    """Words, acoustic and language logs of every path."""
    if start == end:
        return [("", 0.0, 0.0)]
    return [
        (f"{word} {rest}".strip(), a + below_a, b + below_b)
        for source, target, word, a, b in arcs
        if source == start
        for rest, below_a, below_b in all_paths(arcs, target, end)
    ]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_the_best_paths_are_those_of_all_paths(tmp_path, seed, count):
    generator = random.Random(seed)
    nodes = 8
    arcs = [
        (source, target, generator.choice(["a", "b", "!NULL"]), -generator.uniform(0, 9), -generator.uniform(0, 9))
        for source, target in itertools.combinations(range(nodes), 2)
        for _ in range(generator.choice([0, 1, 2]) if target > source + 1 else 1)
    ]
    written = [f"S={s} E={e} W={word} a={a!r} l={b!r}" for s, e, word, a, b in generator.sample(arcs, len(arcs))]
    path = lattice(tmp_path / "u.lat", written, nodes, head="lmscale=3.0\nwdpenalty=-0.5")
    best: dict[str, tuple[float, float, float]] = {}
    for words, a, b in all_paths([(s, e, "" if w == "!NULL" else w, a, b) for s, e, w, a, b in arcs], 0, nodes - 1):
        words = " ".join(words.split())
        total = a + 3 * b - 0.5 * len(words.split())
        best[words] = max(best.get(words, (-1e9, 0, 0)), (total, a, b))
    expected = sorted(best.items(), key=lambda item: -item[1][0])[:count]
    file = read_nbest([path], count=count)
    assert (file.lm_scale, file.length_bonus) == (3.0, -0.5)
    assert [each.text for each in file.hypotheses] == [words for words, _ in expected]
    assert [each.acoustic_cost for each in file.hypotheses] == pytest.approx([-a for _, (_, a, _) in expected])
    assert [each.language_cost for each in file.hypotheses] == pytest.approx([-b for _, (_, _, b) in expected])


def test_words_on_nodes_and_quoted_words(tmp_path):
    words = {0: "!SENT_START", 1: "don\\'t", 2: '"two words"', 3: "!NULL", 4: "'tis", 5: "</s>"}
    arcs = ["S=0 E=1 a=-1", "S=1 E=3 a=-1", "S=1 E=2 a=-9", "S=2 E=3 a=-1", "S=3 E=4", "S=4 E=5"]
    path = lattice(tmp_path / "u.lat", arcs, 6, words=words, head="# a remark\nUTTERANCE=call")
    (found,) = read_nbest([path]).lists
    assert found.utterance == "call"
    assert [each.text for each in found.hypotheses] == ["don't 'tis", "don't two words 'tis"]


@pytest.mark.parametrize(
    ("head", "arc", "acoustic"),
    [
        ("base=10", "a=-2", 4.605170),
        ("base=0", "a=0.25", 1.386294),
        ("acscale=2 prscale=3", "a=-2 r=-4", 8.0),
        ("acscale=0 prscale=3", "a=-2 r=-4", 2.0),
        ("", "a=-2.5e1", 25.0),
    ],
)
def test_scores_become_natural_logs(tmp_path, head, arc, acoustic):
    path = lattice(tmp_path / "u.lat", [f"S=0 E=1 W=a {arc}"], 2, head=head)
    (found,) = read_nbest([path]).hypotheses
    assert found.acoustic_cost == pytest.approx(acoustic, rel=1e-6)


@pytest.mark.parametrize(
    ("arcs", "head", "said"),
    [
        (["S=0 E=1", "S=1 E=2", "S=2 E=1", "S=2 E=3"], "", "has a cycle (nodes "),
        (["S=0 E=1", "S=1 E=0"], "", "has a cycle"),
        (["S=0 E=9"], "", "line 8: the arc needs E= with the number of a node, not '9'"),
        (["S=0 E=3 a=much"], "", "line 8: a= should be a number, not 'much'"),
        (["S=0 E=3", "S=1 E=3"], "", "starts at one node, but this one at 0, 1"),
        (["S=0 E=3"], "start=1", "no path leads from the first node, 1"),
        (["S=0 E=3"], "base=1", "line 2: base=1 is not a base"),
        (["S=0 E=3"], "lmscale=big", "line 2: lmscale= should be a number"),
        (["S=0 E=3 a=-2"], "base=0", "line 8: the probability -2 must be above 0"),
        (["S=0 E=1", "S=1 E=2", "S=2 E=3", "nonsense"], "", "arcs (L=)"),
    ],
)
def test_lattices_that_cannot_be_read(tmp_path, arcs, head, said):
    path = lattice(tmp_path / "u.lat", arcs, 4, head=head)
    if "nonsense" in arcs[-1]:
        Path(path).write_text("\n".join(Path(path).read_text().splitlines()[:-1]))
    with pytest.raises(InputError) as error:
        read_nbest([path])
    assert str(error.value).startswith(path)
    assert said in str(error.value)


def test_a_long_cycle_is_named_by_its_first_nodes(tmp_path):
    arcs = [*(f"S={node} E={node + 1}" for node in range(2001)), "S=2000 E=1"]
    path = lattice(tmp_path / "u.lat", arcs, 2002)
    with pytest.raises(InputError, match=r"has a cycle \(nodes .* → … of 2,001\); only acyclic") as error:
        read_nbest([path])
    assert len(str(error.value)) < len(path) + 200


def test_more_word_sequences_than_fit_are_refused(tmp_path, monkeypatch):
    """A chain of thirty places with two words each: a billion sequences, of which each node keeps `count`."""
    arcs = [f"S={place} E={place + 1} W={word}" for place in range(30) for word in "ab"]
    path = lattice(tmp_path / "u.lat", arcs, 31)
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: 10**8)
    assert len(read_nbest([path], count=100).lists[0].hypotheses) == 100
    with pytest.raises(InputError, match=r"1,000,000 word sequences would take at least 1\.\d GB of memory"):
        read_nbest([path], count=10**6)


def test_word_sequences_are_refused_from_the_first_byte_that_is_missing(tmp_path, monkeypatch):
    arcs = [f"S={place} E={place + 1} W={word}" for place in range(2) for word in "ab"]
    path = lattice(tmp_path / "u.lat", arcs, 3)
    needed = 150 * (1 + 2 + 3)  # at the three nodes, of which the last keeps three of four
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: needed)
    assert len(read_nbest([path], count=3).lists[0].hypotheses) == 3
    monkeypatch.setattr("recurlm.capacity.machine_memory", lambda: needed - 1)
    with pytest.raises(InputError, match="ask for fewer with --nbest"):
        read_nbest([path], count=3)


def test_a_lattice_gives_a_hundred_word_sequences_unless_told_otherwise(tmp_path):
    arcs = [f"S={place} E={place + 1} W={word}" for place in range(7) for word in "ab"]
    assert len(read_nbest([lattice(tmp_path / "u.lat", arcs, 8)]).lists[0].hypotheses) == 100


@pytest.mark.parametrize(("nodes", "cut"), [(10, False), (11, True)])
def test_of_a_cycle_ten_nodes_are_named(tmp_path, nodes, cut):
    arcs = [*(f"S={node} E={node + 1}" for node in range(nodes)), f"S={nodes - 1} E=1"]
    with pytest.raises(InputError) as error:
        read_nbest([lattice(tmp_path / "u.lat", arcs, nodes + 1)])
    assert str(error.value).count(" → ") == 9 + cut
    assert ("→ … of 11)" in str(error.value)) == cut


def test_lattices_that_differ(tmp_path):
    one = lattice(tmp_path / "one.lat", ["S=0 E=1 W=a"], 2, head="lmscale=2")
    two = lattice(tmp_path / "two.lat", ["S=0 E=1 W=a"], 2, head="lmscale=3")
    with pytest.raises(UsageError, match=r"scales differ \(2, 3\); choose one with --lm-scale"):
        read_nbest([one, two])
    assert read_nbest([str(tmp_path)], scales=GivenScales(lm_scale=5)).lm_scale == 5
    with pytest.raises(InputError, match="the utterance 'one' is already that of"):
        read_nbest([one, one])


def test_scores_that_no_arc_has_are_not_zero_but_missing(tmp_path):
    bare = lattice(tmp_path / "bare.lat", ["S=0 E=1 W=a a=-1"], 2)
    file = read_nbest([bare])
    assert (file.has_acoustic_costs, file.has_language_costs) == (True, False)
    whole = lattice(tmp_path / "whole.lat", ["S=0 E=1 W=a a=-1 l=-1"], 2)
    with pytest.raises(InputError, match=r"bare\.lat: no language score, which other hypotheses have"):
        read_nbest([whole, bare])


def test_a_lattice_inside_a_lattice(tmp_path):
    path = lattice(tmp_path / "u.lat", ["S=0 E=1"], 2, words={1: "a L=part"})
    with pytest.raises(InputError, match=r"line 5: a lattice inside a lattice"):
        read_nbest([path])
