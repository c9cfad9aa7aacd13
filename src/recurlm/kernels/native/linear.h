// One linear layer with packed weights for few rows at a time, and draws from its logits.
#pragma once

#include "threads.h"
#include "tiles.h"

#include <algorithm>
#include <cmath>

namespace recurlm {

constexpr int64_t kSum = 256;  // numbers in a tile of float32

// output (rows, outputs) = input (rows, inputs) W' + bias, for 32 outputs from `first` on
struct Linear {
    const uint16_t *input, *packed;
    const float* bias;
    float* output;
    int64_t rows, inputs, outputs;

    void run(const Thread& thread) const {
        const int64_t pairs = tiles(outputs, 2 * kTileColumns), height = tiles(rows, tiles(rows, kTileRows));
        configure_tiles(height);
        for (int64_t pair = thread.first(pairs); pair < thread.last(pairs); ++pair)
            for_row_tiles(rows, height, [&](int64_t row, int64_t tall) { take(pair, row, height, tall); });
        release_tiles();
    }

   private:
    void take(int64_t pair, int64_t row, int64_t height, int64_t tall) const {
        alignas(64) float sums[4 * kSum];  // (tiles of rows, height, 2 tiles of columns)
        const int64_t depth = tiles(inputs, kTileDepth), stride = 2 * kTileColumns;
        const Block block{input + row * inputs, inputs, height * inputs, packed + pair * 2 * depth * kTileSize,
                          kTileSize, depth * kTileSize, depth};
        const Sums into{nullptr, 0, 0, 0, sums, stride, height * stride, kTileColumns};
        if (tall == 2)
            multiply_into<2, 2>(block, into);
        else
            multiply_into<1, 2>(block, into);
        for (int64_t at = pair * stride; at < std::min(outputs, (pair + 1) * stride); at += kLanes) {
            const Mask mask = lanes(outputs - at);
            const Floats offset = bias ? load(bias + at, mask) : splat(0.0f);
            const int64_t last = std::min(rows - row, tall * height);
            for (int64_t down = 0; down < last; ++down)
                store(output + (row + down) * outputs + at,
                      load(sums + down * stride + at - pair * stride) + offset, mask);
        }
    }
};

// The logarithm of the sum of e^logit.
inline double log_total(const float* logits, int64_t size) {
    Floats most = splat(-3.4e38f);
    for (int64_t at = 0; at < size; at += kLanes) {
        const Mask mask = lanes(size - at);
        most = larger(most, load(logits + at, mask), mask);
    }
    const Floats highest = splat(largest(most));
    double total = 0;
    for (int64_t at = 0; at < size; at += kLanes) {
        const Mask mask = lanes(size - at);
        const Floats distance = load(logits + at, mask) - highest;
        total += sum(where_above(distance, -87.0f, mask, exponential(distance)));
    }
    return double{largest(most)} + std::log(total);
}

// The first column at which the running sum of e^(logit / temperature) exceeds `share` of the total.
inline int64_t draw(float* logits, int64_t size, float sharpness, double share) {
    Floats most = splat(-3.4e38f);
    for (int64_t at = 0; at < size; at += kLanes) {
        const Mask mask = lanes(size - at);
        most = larger(most, load(logits + at, mask), mask);
    }
    const Floats highest = splat(largest(most)), scale = splat(sharpness);
    double total = 0;
    for (int64_t at = 0; at < size; at += kLanes) {
        const Mask mask = lanes(size - at);
        const Floats distance = (load(logits + at, mask) - highest) * scale;
        // distances beyond the range of a float have probability zero
        const Floats weight = where_above(distance, -87.0f, mask, exponential(distance));
        store(logits + at, weight, mask);
        total += sum(weight);
    }
    double left = share * total;
    int64_t last = 0;
    for (int64_t at = 0; at < size; at += kLanes) {
        const double block = sum(load(logits + at, lanes(size - at)));
        if (left >= block && at + kLanes < size) {
            left -= block;
            continue;
        }
        for (int64_t column = at; column < std::min(size, at + kLanes); ++column) {
            if (logits[column] > 0) last = column;
            left -= logits[column];
            if (left < 0) return column;
        }
    }
    return last;  // rounding: the share is the total
}

}  // namespace recurlm
