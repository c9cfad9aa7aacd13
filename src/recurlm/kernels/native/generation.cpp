// Linear layers, draws, and generation with both; called through ctypes.

#include "linear.h"
#include "lstm_forward.h"

#include <vector>

namespace recurlm {
namespace {

// LSTM layers between an embedding and a softmax. Each drawn word is the next input; `batch` texts run side by side.
struct Generator {
    const float* embedding;  // (words, inputs of the first layer)
    uint16_t* input;         // (batch, inputs of the first layer)
    const Forward* layers;   // one step each
    int64_t depth;
    Linear decoder;
    const float* sharpness;  // (batch), one over the temperature
    const double* shares;   // (steps, batch)
    const int64_t* before;  // (batch)
    int64_t* drawn;         // (steps, batch)
    int64_t steps, batch;

    void run(const Thread& thread) const {
        for (int64_t step = 0; step < steps; ++step) {
            const int64_t* last = step ? drawn + (step - 1) * batch : before;
            for (int64_t row = thread.first(batch); row < thread.last(batch); ++row) embed(row, last[row]);
            thread.meet();
            for (int64_t number = 0; number < depth; ++number) {
                layers[number].run(thread);
                layers[number].go_on(thread);
            }
            decoder.run(thread);
            thread.meet();
            for (int64_t row = thread.first(batch); row < thread.last(batch); ++row)
                drawn[step * batch + row] = draw(decoder.output + row * decoder.outputs, decoder.outputs, sharpness[row],
                                                 shares[step * batch + row]);
            thread.meet();
        }
    }

   private:
    void embed(int64_t row, int64_t word) const {
        const int64_t size = layers[0].inputs;
        for (int64_t at = 0; at < size; at += kLanes)
            store(input + row * size + at, load(embedding + word * size + at, lanes(size - at)), lanes(size - at));
    }
};

}  // namespace
}  // namespace recurlm

// A weight matrix (outputs, inputs) as tiles of B: [16 outputs][inputs in tiles], in pairs of 16.
extern "C" void recurlm_linear_pack(const float* weight, uint16_t* packed, int64_t outputs, int64_t inputs,
                                    int64_t threads) {
    using namespace recurlm;
    const int64_t columns = 2 * tiles(outputs, 2 * kTileColumns), depth = tiles(inputs, kTileDepth);
    in_threads(threads, [&](const Thread& thread) {
        for (int64_t column = thread.first(columns); column < thread.last(columns); ++column)
            for (int64_t step = 0; step < depth; ++step) {
                const int64_t first = column * kTileColumns, left = std::max<int64_t>(0, outputs - first);
                pack_columns(weight + (left ? first * inputs : 0) + step * kTileDepth, inputs, left,
                             inputs - step * kTileDepth, packed + (column * depth + step) * kTileSize);
            }
    });
}

extern "C" void recurlm_linear(const uint16_t* input, const uint16_t* packed, const float* bias, float* output,
                               int64_t rows, int64_t inputs, int64_t outputs, int64_t threads) {
    const recurlm::Linear layer{input, packed, bias, output, rows, inputs, outputs};
    recurlm::in_threads(threads, [&](const recurlm::Thread& thread) { layer.run(thread); });
}

// Draws a column for each row of logits (rows, columns) from a uniform number in [0, 1). Overwrites the logits.
// `sharpness` (rows) is one over the temperature.
extern "C" void recurlm_draw(float* logits, const float* sharpness, const double* shares, int64_t* drawn, int64_t rows,
                             int64_t columns, int64_t threads) {
    using namespace recurlm;
    in_threads(std::min(threads, rows), [&](const Thread& thread) {
        for (int64_t row = thread.first(rows); row < thread.last(rows); ++row)
            drawn[row] = draw(logits + row * columns, columns, sharpness[row], shares[row]);
    });
}

// The logarithm of the sum of e^logit for each row of logits (rows, columns).
extern "C" void recurlm_log_totals(const float* logits, double* totals, int64_t rows, int64_t columns, int64_t threads) {
    using namespace recurlm;
    in_threads(std::min(threads, rows), [&](const Thread& thread) {
        for (int64_t row = thread.first(rows); row < thread.last(rows); ++row)
            totals[row] = log_total(logits + row * columns, columns);
    });
}

// Draws `steps` words for each of `batch` texts. `pointers` hold, for each layer, packed weights (2), bias, hidden and cell;
// `sizes` hold its inputs and units. Hidden and cell are (2 batch, units); the second half is the state, before and
// after the call. The first layer reads `input`; every other layer reads the layer below.
extern "C" void recurlm_generate(const float* embedding, uint16_t* input, void* const* pointers, const int64_t* sizes,
                                 const uint16_t* decoder, const float* bias, float* logits, const float* sharpness,
                                 const double* shares, const int64_t* before, int64_t* drawn, int64_t depth,
                                 int64_t words, int64_t batch, int64_t steps, int64_t threads) {
    using namespace recurlm;
    std::vector<Forward> layers;
    const uint16_t* below = input;
    for (int64_t number = 0; number < depth; ++number) {
        void* const* own = pointers + 5 * number;
        const int64_t inputs = sizes[2 * number], units = sizes[2 * number + 1];
        uint16_t* hidden = static_cast<uint16_t*>(own[3]);
        layers.push_back({below, static_cast<const uint16_t*>(own[0]), static_cast<const uint16_t*>(own[1]),
                          static_cast<const float*>(own[2]), hidden, static_cast<float*>(own[4]), nullptr, 1, batch,
                          inputs, units});
        layers.back().go_on(Thread{0, 1});
        below = hidden + batch * units;
    }
    const int64_t units = sizes[2 * depth - 1];
    const Generator generator{embedding, input,  layers.data(), depth, {below, decoder, bias, logits, batch, units, words},
                              sharpness, shares, before,       drawn, steps, batch};
    in_threads(threads, [&](const Thread& thread) { generator.run(thread); });
}
