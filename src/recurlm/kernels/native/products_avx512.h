// Products of tiles in vectors of pairs, AVX-512 BF16.
#pragma once

#include <algorithm>
#include <cstring>

namespace recurlm {

// Rows of A and C in every tile, which AMX keeps in its own configuration.
inline thread_local int64_t tile_rows = kTileRows;

inline bool tiles_are_allowed() { return true; }
inline void configure_tiles(int64_t rows) { tile_rows = rows; }
inline void release_tiles() {}

constexpr int kRowsTogether = 8;  // with two columns of C they and a row of B fit the 32 registers

// C (Count, 16 Columns) from the first row on.
template <int Count, int Columns>
inline void multiply_rows(const Block& block, const Sums& sums) {
    __m512 c[Count][Columns];
    for (int row = 0; row < Count; ++row)
        for (int column = 0; column < Columns; ++column)
            c[row][column] = sums.from ? _mm512_loadu_ps(sums.from + row * sums.from_stride + column * sums.from_right)
                                       : _mm512_setzero_ps();
    const uint16_t *a = block.a, *b = block.b;
    for (int64_t step = 0; step < block.depth; ++step, a += kTileDepth, b += block.b_deeper)
        for (int64_t pair = 0; pair < kTileDepth; pair += 2) {
            __m512bh rows_of_b[Columns];
            for (int column = 0; column < Columns; ++column)
                rows_of_b[column] = __m512bh(_mm512_load_si512(b + column * block.b_right + pair * kTileColumns));
            for (int row = 0; row < Count; ++row) {
                int32_t two;
                std::memcpy(&two, a + row * block.a_stride + pair, 4);
                const __m512bh pair_of_a = __m512bh(_mm512_set1_epi32(two));
                for (int column = 0; column < Columns; ++column)
                    c[row][column] = _mm512_dpbf16_ps(c[row][column], pair_of_a, rows_of_b[column]);
            }
        }
    for (int row = 0; row < Count; ++row)
        for (int column = 0; column < Columns; ++column)
            _mm512_storeu_ps(sums.to + row * sums.to_stride + column * sums.to_right, c[row][column]);
}

template <int Columns, int Count = kRowsTogether>
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
    for (int tile = 0; tile < Rows; ++tile)
        for (int64_t row = 0; row < tile_rows; row += kRowsTogether) {
            Block part = block;
            Sums into = sums;
            part.a += tile * block.a_below + row * block.a_stride;
            if (into.from) into.from += tile * sums.from_below + row * sums.from_stride;
            into.to += tile * sums.to_below + row * sums.to_stride;
            multiply_some_rows<Columns>(std::min<int64_t>(kRowsTogether, tile_rows - row), part, into);
        }
}

}  // namespace recurlm
