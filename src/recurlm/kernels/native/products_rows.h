// Products of tiles row by row, in vectors: of pairs of bfloat16 with AVX-512 BF16, elsewhere widened to float32.
#pragma once

#include <algorithm>
#include <cstring>

namespace recurlm {

// Rows of A and C in every tile, which AMX keeps in its own configuration.
inline thread_local int64_t tile_rows = kTileRows;

inline bool tiles_are_allowed() { return true; }
inline void configure_tiles(int64_t rows) { tile_rows = rows; }
inline void release_tiles() {}

// Pairs from two rows of B, as many as a vector of C has lanes, and what a pair of A adds to it with them.
#ifdef RECURLM_HAS_BFLOAT16

constexpr int kMostRows = 12;  // with two columns of C, a row of B and a pair of A they fit 32 registers

struct PairsOfB {
    __m512bh pairs;

    explicit PairsOfB(const uint16_t* tile) : pairs(__m512bh(_mm512_loadu_si512(tile))) {}
    Floats add_to(Floats c, uint32_t pair) const { return _mm512_dpbf16_ps(c, __m512bh(_mm512_set1_epi32(pair)), pairs); }
};

#else

constexpr int kMostRows = 2;  // with AVX two columns of C are four vectors a row, and there are 16 registers

struct PairsOfB {
    Floats even, odd;

    explicit PairsOfB(const uint16_t* tile) {
        Words pairs;
        std::memcpy(&pairs, tile, sizeof pairs);
        even = bits_as<Floats>(pairs << 16);
        odd = bits_as<Floats>(pairs & 0xffff0000);
    }
    Floats add_to(const Floats& c, uint32_t pair) const {
        return c + bits_as<float>(pair << 16) * even + bits_as<float>(pair & 0xffff0000) * odd;
    }
};

#endif

constexpr int kVectors = kTileColumns / kLanes;

// C (Count, 16 Columns) from the first row on.
template <int Count, int Columns>
inline void multiply_rows(const Block& block, const Sums& sums) {
    constexpr int kAll = Columns * kVectors;
    const auto place = [](int vector, int64_t right, int64_t width) {
        return vector / kVectors * right + vector % kVectors * width;
    };
    Floats c[Count][kAll];
    for (int row = 0; row < Count; ++row)
        for (int vector = 0; vector < kAll; ++vector)
            c[row][vector] = sums.from ? load(sums.from + row * sums.from_stride +
                                                   place(vector, sums.from_right, kLanes))
                                      : splat(0.0f);
    const uint16_t *a = block.a, *b = block.b;
    for (int64_t step = 0; step < block.depth; ++step, a += kTileDepth, b += block.b_deeper)
        for (int64_t at = 0; at < kTileDepth; at += 2) {
            uint32_t pairs[Count];
            for (int row = 0; row < Count; ++row) std::memcpy(pairs + row, a + row * block.a_stride + at, 4);
            for (int vector = 0; vector < kAll; ++vector) {
                const PairsOfB of_b(b + place(vector, block.b_right, 2 * kLanes) + at * kTileColumns);
                for (int row = 0; row < Count; ++row) c[row][vector] = of_b.add_to(c[row][vector], pairs[row]);
            }
        }
    for (int row = 0; row < Count; ++row)
        for (int vector = 0; vector < kAll; ++vector)
            store(sums.to + row * sums.to_stride + place(vector, sums.to_right, kLanes), c[row][vector]);
}

template <int Columns, int Count = kMostRows>
inline void multiply_some_rows(int64_t count, const Block& block, const Sums& sums) {
    if constexpr (Count > 0) {
        if (count == Count)
            multiply_rows<Count, Columns>(block, sums);
        else
            multiply_some_rows<Columns, Count - 1>(count, block, sums);
    }
}

template <int Rows, int Columns>
inline void multiply_into(const Block& block, const Sums& sums) {
    const int64_t together = tiles(tile_rows, tiles(tile_rows, kMostRows));  // as many in each part
    for (int tile = 0; tile < Rows; ++tile)
        for (int64_t row = 0; row < tile_rows; row += together) {
            Block part = block;
            Sums into = sums;
            part.a += tile * block.a_below + row * block.a_stride;
            if (into.from) into.from += tile * sums.from_below + row * sums.from_stride;
            into.to += tile * sums.to_below + row * sums.to_stride;
            multiply_some_rows<Columns>(std::min(together, tile_rows - row), part, into);
        }
}

}  // namespace recurlm
