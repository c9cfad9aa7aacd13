"""Scores sentences with MXNet itself; run by the Python that has it.

python _mxnet_scores.py PREFIX < sentences.json > logprobs.json

sentences.json is a list of sentences, each a list of words; the log-probability of each word after the first is
computed from a zero state. Words get their ids from PREFIX-vocabulary.json.
"""

import json
import sys

import mxnet as mx
import numpy as np


def main():
    prefix = sys.argv[1]
    with open(f"{prefix}-vocabulary.json", encoding="utf-8") as file:
        vocabulary = json.load(file)
    sentences = [np.array([vocabulary[word] for word in words]) for words in json.load(sys.stdin)]
    symbol, parameters, _ = mx.model.load_checkpoint(prefix, 0)
    scores = [logprobs(symbol, parameters, ids).tolist() for ids in sentences]
    versions = {"mxnet": mx.__version__, "numpy": np.__version__, "python": sys.version.split()[0]}
    json.dump({"versions": versions, "scores": scores}, sys.stdout)


def logprobs(symbol, parameters, ids):
    """Natural log-probabilities of ids[1:], each after those before it."""
    data = mx.nd.array(ids[None, :-1])
    given = {**parameters, "data": data, "softmax_label": mx.nd.zeros(data.shape)}
    probabilities = symbol.bind(mx.cpu(), given, grad_req="null").forward(is_train=False)[0].asnumpy()
    return np.log(probabilities[np.arange(len(ids) - 1), ids[1:]].astype(np.float64))


if __name__ == "__main__":
    main()
