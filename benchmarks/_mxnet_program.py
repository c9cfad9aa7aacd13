"""The seed document's program, by MXNet 1.9.1: a contestant's process for an interpreter that has MXNet.

    PYTHON _mxnet_program.py FOLDER

The folder holds `batches.npz` and `weights.npz`. Each step is what `Module.fit` does with a batch: forward and
backward, update, metric. As in the seed document, padding is trained and neither it nor `<eos>` is counted.
It stands alone: that interpreter has no torch.
"""

import json
import os
import sys
import time

import mxnet as mx
import numpy as np

LEARNING_RATE = 0.01
WEIGHT_DECAY = 1e-5


class Program:
    """The bucketing module with given first weights."""

    def __init__(self, folder):
        with np.load(os.path.join(folder, "batches.npz")) as arrays:
            count = len(arrays["sentences"])
            rows = [(arrays[f"{i}.input"].T, np.maximum(arrays[f"{i}.target"].T, 0)) for i in range(count)]
        with np.load(os.path.join(folder, "weights.npz")) as arrays:
            weights = dict(arrays)
        self.vocabulary_size, self.size = weights["embedding.weight"].shape
        self.batches = [self._batch(data, label) for data, label in rows]
        self.stack = mx.rnn.SequentialRNNCell()
        for layer in range(2):
            self.stack.add(mx.rnn.LSTMCell(num_hidden=self.size, prefix=f"lstm_l{layer}_"))
        largest = max(self.batches, key=lambda batch: batch.bucket_key)
        self.module = mx.mod.BucketingModule(self._symbol, default_bucket_key=largest.bucket_key, context=mx.cpu())
        self.module.bind(data_shapes=largest.provide_data, label_shapes=largest.provide_label)
        self.module.init_params(arg_params={name: mx.nd.array(value) for name, value in _renamed(weights)})
        options = {"learning_rate": LEARNING_RATE, "momentum": 0.0, "wd": WEIGHT_DECAY}
        self.module.init_optimizer(kvstore="device", optimizer="sgd", optimizer_params=options)

    def train(self, first, steps):
        """Steps over the batches from number `first` on."""
        batches = self.batches[first : first + steps]
        nats, counted = [], []
        start = time.perf_counter()
        for batch in batches:
            metric = mx.metric.Perplexity(0)
            self.module.forward_backward(batch)
            self.module.update()
            self.module.update_metric(metric, batch.label)
            nats.append(float(metric.sum_metric))
            counted.append(int(metric.num_inst))
        mx.nd.waitall()
        return {
            "seconds": time.perf_counter() - start,
            "sentences": sum(batch.data[0].shape[0] for batch in batches),
            "tokens": sum(counted),
            "nats": nats,
            "counted": counted,
        }

    def peak(self):
        """The largest resident memory so far."""
        with open("/proc/self/status") as status:
            return {"megabytes": next(int(line.split()[1]) * 1024 / 1e6 for line in status if "VmHWM" in line)}

    def _batch(self, data, label):
        shapes = [mx.io.DataDesc(name, data.shape, layout="NT") for name in ("data", "softmax_label")]
        return mx.io.DataBatch(
            [mx.nd.array(data)],
            [mx.nd.array(label)],
            pad=0,
            bucket_key=data.shape[1],
            provide_data=shapes[:1],
            provide_label=shapes[1:],
        )

    def _symbol(self, length):
        data, label = mx.sym.Variable("data"), mx.sym.Variable("softmax_label")
        embed = mx.sym.Embedding(data=data, input_dim=self.vocabulary_size, output_dim=self.size, name="embed")
        self.stack.reset()
        outputs, _ = self.stack.unroll(length, inputs=embed, merge_outputs=True)
        outputs = mx.sym.Reshape(outputs, shape=(-1, self.size))
        pred = mx.sym.FullyConnected(data=outputs, num_hidden=self.vocabulary_size, name="pred")
        loss = mx.sym.SoftmaxOutput(data=pred, label=mx.sym.Reshape(label, shape=(-1,)), name="softmax")
        return loss, ("data",), ("softmax_label",)


def _renamed(weights):
    for name, value in weights.items():
        parts = name.split(".")
        if parts[0] == "stack":
            kind, side = parts[3].split("_")
            yield f"lstm_l{parts[2]}_{side[0]}2h_{kind}", value
        else:
            yield {"embedding": "embed", "decoder": "pred"}[parts[0]] + "_" + parts[1], value


def main():
    """Answer requests until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    program = Program(sys.argv[1])
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(program, request.pop("do"))(**request)), file=answers, flush=True)


if __name__ == "__main__":
    main()
