// One LSTM layer over all time steps, forward and backward, products in bfloat16 tiles; called through ctypes.
//
// Each thread owns some of the hidden units, 16 at a time, for all steps: its part of both weight matrices stays in
// its cache. The threads meet once a step, when the new hidden values (backward: the errors) are complete. A matrix that
// tiles of A are read from is read up to 15 rows and 31 columns past its end; the caller allocates that room.

#include "lstm_forward.h"

#include <algorithm>

namespace recurlm {
namespace {

struct Backward {
    const uint16_t* grad_hidden;  // (steps batch, units)
    const float* weight_hh;       // (4 units, units)
    const uint16_t* gates;        // as Forward left them
    const float* cell;
    float *grad_last, *grad_cell;  // (batch, units): of the last state; grad_cell becomes that of the first state
    uint16_t* errors;              // (steps batch, 4 units): gradients of the gates' sums
    int64_t steps, batch, units;

    void run(const Thread& thread) const {
        const int64_t blocks = tiles(units, kUnits), depth = tiles(kGates * units, kTileDepth);
        const int64_t first = thread.first(blocks), last = thread.last(blocks), size = depth * kTileSize;
        const int64_t height = tiles(batch, tiles(batch, kTileRows));
        auto packed = allocate<uint16_t>((last - first) * size);
        auto sums = allocate<float>((batch + 2 * kTileRows) * 2 * kUnits);
        for (int64_t block = first; block < last; ++block)
            for (int64_t step = 0; step < depth; ++step)
                pack_rows(weight_hh + step * kTileDepth * units + block * kUnits, units,
                          kGates * units - step * kTileDepth, units - block * kUnits,
                          packed.get() + (block - first) * size + step * kTileSize);
        configure_tiles(height);
        for (int64_t step = steps - 1; step >= 0; --step) {
            for (int64_t block = first; block < last; block += 2) {
                const int64_t together = std::min<int64_t>(2, last - block);
                if (step + 1 < steps)
                    multiply(errors + (step + 1) * batch * kGates * units, packed.get() + (block - first) * size, depth,
                             together, height, sums.get());
                for (int64_t part = 0; part < together; ++part)
                    take_step(step, block + part, sums.get() + part * kUnits);
            }
            thread.meet();
        }
        release_tiles();
    }

   private:
    // sums (batch, 2, 16) = the errors of a step times one or two blocks' packed weights
    void multiply(const uint16_t* rows, const uint16_t* packed, int64_t depth, int64_t together, int64_t height,
                  float* sums) const {
        constexpr int64_t stride = 2 * kUnits;
        const int64_t width = kGates * units;
        for_row_tiles(batch, height, [&](int64_t row, int64_t tall) {
            const Block block{rows + row * width, width, height * width, packed, kTileSize, depth * kTileSize, depth};
            const Sums into{nullptr, 0, 0, 0, sums + row * stride, stride, height * stride, kUnits};
            if (tall == 2 && together == 2)
                multiply_into<2, 2>(block, into);
            else if (tall == 2)
                multiply_into<2, 1>(block, into);
            else if (together == 2)
                multiply_into<1, 2>(block, into);
            else
                multiply_into<1, 1>(block, into);
        });
    }

    void take_step(int64_t step, int64_t block, const float* sums) const {
        for (int64_t first = block * kUnits; first < (block + 1) * kUnits; first += kLanes, sums += kLanes)
            take_units(step, first, sums);
    }

    // a vector of units; sums are those of a block
    void take_units(int64_t step, int64_t first, const float* sums) const {
        const Mask mask = lanes(units - first);
        const Floats one = splat(1.0f);
        for (int64_t row = 0; row < batch; ++row, sums += 2 * kUnits) {
            const int64_t place = row * units + first, before = step * batch * units + place;
            const Floats from_later = step + 1 < steps ? load(sums) : load(grad_last + place, mask);
            const uint16_t* kept = gates + (step * batch + row) * kGates * units + first;
            const Floats input_gate = load(kept, mask), forget = load(kept + units, mask);
            const Floats candidate = load(kept + 2 * units, mask), output_gate = load(kept + 3 * units, mask);
            const Floats squashed = hyperbolic_tangent(load(cell + before + batch * units, mask));
            const Floats grad = load(grad_hidden + before, mask) + from_later;
            const Floats grad_now =
                multiply_add(grad * output_gate, one - squashed * squashed, load(grad_cell + place, mask));
            store(grad_cell + place, grad_now * forget, mask);
            uint16_t* error = errors + (step * batch + row) * kGates * units + first;
            store(error, grad_now * candidate * input_gate * (one - input_gate), mask);
            store(error + units, grad_now * load(cell + before, mask) * forget * (one - forget), mask);
            store(error + 2 * units, grad_now * input_gate * (one - candidate * candidate), mask);
            store(error + 3 * units, grad * squashed * output_gate * (one - output_gate), mask);
        }
    }
};

}  // namespace
}  // namespace recurlm

// Whether the processor and the system support tile products.
extern "C" int32_t recurlm_has_tiles() {
    static const bool allowed = recurlm::tiles_are_allowed();
    return allowed;
}

// Whether those products multiply bfloat16 in hardware.
extern "C" int32_t recurlm_has_bfloat16_tiles() {
#ifdef RECURLM_HAS_BFLOAT16
    return recurlm_has_tiles();
#else
    return 0;
#endif
}

// The widest instructions that the compiler could use.
extern "C" const char* recurlm_instructions() {
#if defined(RECURLM_HAS_BFLOAT16) && defined(__AMX_BF16__)
    return "amx-bf16";
#elif defined(RECURLM_HAS_BFLOAT16)
    return "avx512-bf16";
#elif defined(__AVX512F__)
    return "avx512";
#elif defined(__AVX2__)
    return "avx2";
#elif defined(__AVX__)
    return "avx";
#elif defined(__SSE2__)
    return "sse2";
#else
    return "baseline";
#endif
}

// A weight matrix (4 units, depth) as tiles of B: [16 units][depth in tiles][gate].
extern "C" void recurlm_lstm_pack(const float* weight, uint16_t* packed, int64_t units, int64_t depth,
                                  int64_t threads) {
    using namespace recurlm;
    const int64_t blocks = tiles(units, kUnits), size = tiles(depth, kTileDepth) * kGates * kTileSize;
    in_threads(threads, [&](const Thread& thread) {
        for (int64_t block = thread.first(blocks); block < thread.last(blocks); ++block)
            pack_gates(weight, units, depth, block, packed + block * size);
    });
}

extern "C" void recurlm_lstm_forward(const uint16_t* input, const uint16_t* packed_ih, const uint16_t* packed_hh,
                                     const float* bias, uint16_t* hidden, float* cell, uint16_t* gates, int64_t steps,
                                     int64_t batch, int64_t inputs, int64_t units, int64_t threads) {
    const recurlm::Forward layer{input, packed_ih, packed_hh, bias, hidden, cell, gates, steps, batch, inputs, units};
    recurlm::in_threads(threads, [&](const recurlm::Thread& thread) { layer.run(thread); });
}

extern "C" void recurlm_lstm_backward(const uint16_t* grad_hidden, const float* weight_hh, const uint16_t* gates,
                                      const float* cell, float* grad_last, float* grad_cell, uint16_t* errors,
                                      int64_t steps, int64_t batch, int64_t units, int64_t threads) {
    const recurlm::Backward layer{grad_hidden, weight_hh, gates, cell, grad_last, grad_cell, errors,
                                  steps,       batch,     units};
    recurlm::in_threads(threads, [&](const recurlm::Thread& thread) { layer.run(thread); });
}
