// One LSTM layer over time, forward: packing its weights, and the sweep.
#pragma once

#include "threads.h"
#include "tiles.h"

#include <algorithm>

namespace recurlm {

constexpr int64_t kGates = 4;
constexpr int64_t kUnits = 16;         // units computed together, one vector
constexpr int64_t kProjectionRows = 96;  // positions whose input products are computed ahead of the recurrence

// The four gates' rows of a weight matrix (4 H, depth): [16 units][depth in tiles][gate]
inline void pack_gates(const float* weight, int64_t units, int64_t depth, int64_t block, uint16_t* packed) {
    const int64_t first = block * kUnits;
    for (int64_t step = 0; step < tiles(depth, kTileDepth); ++step)
        for (int64_t gate = 0; gate < kGates; ++gate, packed += kTileSize) {
            const float* at = weight + (gate * units + first) * depth + step * kTileDepth;
            pack_columns(at, depth, units - first, depth - step * kTileDepth, packed);
        }
}

struct Forward {
    const uint16_t* input;                          // (steps batch, inputs)
    const uint16_t *packed_ih, *packed_hh;          // both weights as recurlm_lstm_pack leaves them
    const float* bias;                              // (4 units)
    uint16_t* hidden;                               // ((1 + steps) batch, units), the first batch is given
    float* cell;                                    // ((1 + steps) batch, units), the first batch is given
    uint16_t* gates;                                // (steps batch, 4 units), kept for backward; or null
    int64_t steps, batch, inputs, units;

    void run(const Thread& thread) const {
        const int64_t blocks = tiles(units, kUnits);
        const int64_t first = thread.first(blocks), last = thread.last(blocks);
        const int64_t input_depth = tiles(inputs, kTileDepth), depth = tiles(units, kTileDepth);
        const int64_t input_size = input_depth * kGates * kTileSize, size = depth * kGates * kTileSize;
        const int64_t height = tiles(batch, tiles(batch, kTileRows));
        const int64_t ahead = std::min(steps, std::max<int64_t>(1, kProjectionRows / batch));
        const int64_t tall = std::min(ahead * batch, kTileRows);
        const int64_t rows = ahead * batch + 2 * kTileRows;
        auto projected = allocate<float>((last - first) * rows * kGates * kUnits);
        auto sums = allocate<float>((batch + 2 * kTileRows) * kGates * kUnits);
        for (int64_t start = 0; start < steps; start += ahead) {
            const int64_t count = std::min(ahead, steps - start);
            configure_tiles(tall);
            for (int64_t block = first; block < last; ++block)
                multiply({input + start * batch * inputs, inputs, packed_ih + block * input_size, input_depth,
                          count * batch, tall},
                         nullptr, projected.get() + (block - first) * rows * kGates * kUnits);
            configure_tiles(height);
            for (int64_t step = start; step < start + count; ++step) {
                for (int64_t block = first; block < last; ++block) {
                    const int64_t row = (block - first) * rows + (step - start) * batch;
                    multiply({hidden + step * batch * units, units, packed_hh + block * size, depth,
                              batch, height},
                             projected.get() + row * kGates * kUnits, sums.get());
                    take_step(step, block, sums.get());
                }
                thread.meet();
            }
        }
        release_tiles();
    }

    // The state after the last step becomes the state before the first; each thread copies its units.
    void go_on(const Thread& thread) const {
        const int64_t first = kUnits * thread.first(tiles(units, kUnits));
        const int64_t last = std::min(units, kUnits * thread.last(tiles(units, kUnits)));
        for (int64_t row = 0; row < batch && first < last; ++row) {
            const int64_t to = row * units + first, from = to + steps * batch * units;
            std::copy_n(hidden + from, last - first, hidden + to);
            std::copy_n(cell + from, last - first, cell + to);
        }
    }

   private:
    struct Factors {
        const uint16_t* rows;
        int64_t stride;
        const uint16_t* packed;
        int64_t depth, count, height;
    };

    // sums (count, gate, 16) = from + rows times one block's packed weights
    static void multiply(const Factors& factors, const float* from, float* sums) {
        constexpr int64_t stride = kGates * kUnits;
        for_row_tiles(factors.count, factors.height, [&](int64_t row, int64_t height) {
            for (int64_t gate = 0; gate < kGates; gate += 2) {
                const int64_t at = row * stride + gate * kUnits, below = factors.height * stride;
                const Block block{factors.rows + row * factors.stride,  factors.stride,
                                  factors.height * factors.stride,      factors.packed + gate * kTileSize,
                                  kGates * kTileSize, kTileSize, factors.depth};
                const Sums into{from ? from + at : nullptr, stride, below, kUnits, sums + at, stride, below, kUnits};
                if (height == 2)
                    multiply_into<2, 2>(block, into);
                else
                    multiply_into<1, 2>(block, into);
            }
        });
    }

    void take_step(int64_t step, int64_t block, const float* sums) const {
        for (int64_t first = block * kUnits; first < (block + 1) * kUnits; first += kLanes, sums += kLanes)
            take_units(step, first, sums);
    }

    // a vector of units; sums are those of a block
    void take_units(int64_t step, int64_t first, const float* sums) const {
        const Mask mask = lanes(units - first);
        Floats biases[kGates];
        for (int64_t gate = 0; gate < kGates; ++gate) biases[gate] = load(bias + gate * units + first, mask);
        for (int64_t row = 0; row < batch; ++row, sums += kGates * kUnits) {
            const int64_t before = (step * batch + row) * units + first, after = before + batch * units;
            const Floats input_gate = sigmoid(load(sums) + biases[0]);
            const Floats forget = sigmoid(load(sums + kUnits) + biases[1]);
            const Floats candidate = hyperbolic_tangent(load(sums + 2 * kUnits) + biases[2]);
            const Floats output_gate = sigmoid(load(sums + 3 * kUnits) + biases[3]);
            const Floats now = multiply_add(forget, load(cell + before, mask), input_gate * candidate);
            store(cell + after, now, mask);
            store(hidden + after, output_gate * hyperbolic_tangent(now), mask);
            if (!gates) continue;
            uint16_t* kept = gates + (step * batch + row) * kGates * units + first;
            store(kept, input_gate, mask);
            store(kept + units, forget, mask);
            store(kept + 2 * units, candidate, mask);
            store(kept + 3 * units, output_gate, mask);
        }
    }
};

}  // namespace recurlm
