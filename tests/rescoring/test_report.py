import pytest

from recurlm.errors import InputError
from recurlm.rescoring.combination import Combination
from recurlm.rescoring.nbest import Hypothesis, NBestFile, group
from recurlm.rescoring.report import check_references, report, unknown_tokens, unused_references
from recurlm.rescoring.rescorer import RescoredHypothesis, RescoredList

HYPOTHESES = [Hypothesis("u", 1, "a b x", 10.0, 1.0), Hypothesis("u", 2, "a b", 10.0, 9.0), Hypothesis("v", 1, "d")]
FILE = NBestFile(group(HYPOTHESES), "kaldi", "list")
RESCORED = [
    RescoredList("u", tuple(RescoredHypothesis(each, -2.0, -float(each.number), 2) for each in HYPOTHESES[:2])),
    RescoredList("v", (RescoredHypothesis(HYPOTHESES[2], -3.0, -3.0, 1),)),
]
REFERENCES = {"u": ("a", "b"), "v": ("d",), "w": (), "x": ()}
COMBINATION = Combination(1.0)


def test_the_report_without_references():
    found = report(RESCORED, FILE, COMBINATION)
    assert found.lines() == [
        "2 lists, 3 hypotheses, read as kaldi, oov=5",
        "--weight 1 --acoustic-scale 1 --lm-scale 1 --length-bonus 0, state zero",
    ]
    assert found.to_json() == {
        "format": "kaldi",
        "lists": 2,
        "hypotheses": 3,
        "oov": "5",
        "state": "zero",
        **COMBINATION.to_json(),
        "references_without_list": 0,
        "word_errors": None,
    }


def test_the_report_with_references():
    found = report(RESCORED, FILE, COMBINATION, REFERENCES, carry=True)
    errors = {"rate": 1 / 3, "errors": 1, "substitutions": 0, "deletions": 0, "insertions": 1, "words": 3}
    none = errors | {"rate": 0.0, "errors": 0, "insertions": 0}
    assert found.to_json()["word_errors"] == {"new": errors, "old": errors, "oracle": none}
    assert (found.to_json()["state"], found.to_json()["references_without_list"]) == ("carried", 2)
    one = "33.33 %, 1 error in 3 words: 0 substituted, 0 deleted, 1 inserted"
    assert found.lines()[1:] == [
        "--weight 1 --acoustic-scale 1 --lm-scale 1 --length-bonus 0, state carried",
        "references without a list, not counted: 2",
        f"word error rate  {one}",
        f"old 1-best       {one}",
        "oracle           0.00 %, 0 errors in 3 words: 0 substituted, 0 deleted, 0 inserted",
    ]
    assert unused_references(FILE, {"u": (), "v": ()}) == 0


def test_unknown_tokens_are_counted_beside_all_words():
    assert unknown_tokens(RESCORED) == (5, 6)


def test_a_hypothesis_in_json_has_log_probabilities_where_its_list_has_costs():
    assert RESCORED[0].scored[1].to_json(rank=7) == {
        "utterance": "u",
        "rank": 7,
        "number": 2,
        "text": "a b",
        "total": -2.0,
        "logprob": -2.0,
        "acoustic": -10.0,
        "language": -9.0,
        "oov": 2,
    }
    assert "acoustic" not in RESCORED[1].scored[0].to_json(rank=1)


def lists_of(*utterances: str, format: str = "kaldi") -> NBestFile:
    made = [Hypothesis(name, 1, "a", place=f"list, line {at}") for at, name in enumerate(utterances, 1)]
    return NBestFile(group(made), format, "list")


@pytest.mark.parametrize(
    ("utterances", "references", "said"),
    [
        (["u", "v", "w"], ["u", "x"],
         "list, line 2: no reference for the utterance 'v', nor for 1 more, of 3 utterances; add them to the file of "
         "references, or leave their lists out"),
        (["u", "v"], ["v"], "list, line 1: no reference for the utterance 'u', of 2 utterances; add"),
        (["u", "v"], ["U", "V"],
         "list, line 1: no reference for the utterance 'u', nor for any other; the references begin with 'U'\n"
         "a line of references is `utt words`"),
        (["call", "talk"], ["call-01", "talk-01"],
         "the references begin with 'call-01'\neach hypothesis seems to begin with the id of its utterance, "
         "without a number: use --format mikolov"),
        (["call-1", "talk-1"], ["call", "talk"], "the references begin with 'call'\nthe ids of the hypotheses seem to "
         "end with their numbers: use --format kaldi"),
    ],
)  # fmt: skip
def test_ids_that_do_not_match_are_shown(utterances, references, said):
    with pytest.raises(InputError) as refusal:
        check_references(lists_of(*utterances), dict.fromkeys(references, ()))
    assert said in str(refusal.value)
    check_references(lists_of(*utterances), dict.fromkeys([*utterances, *references], ()))
