// Products of bfloat16 matrices in tiles, sums in float32, and what packs the tiles.
//
// C += A B multiplies a tile of A, up to 16 rows of 32 bfloat16, with one of B, (32, 16), whose pairs of rows lie
// interleaved. So B is packed beforehand, as a list of such tiles of 1 KiB. Intel's AMX has registers for whole tiles; where
// a processor has only vectors of pairs (AVX-512 BF16), the same tiles are multiplied row by row.
#pragma once

#include <immintrin.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace recurlm {

constexpr int64_t kTileRows = 16;     // largest number of rows of A and C
constexpr int64_t kTileColumns = 16;  // columns of B and C
constexpr int64_t kTileDepth = 32;    // columns of A, rows of B
constexpr int64_t kTileSize = kTileDepth * kTileColumns;

inline int64_t tiles(int64_t size, int64_t tile) { return (size + tile - 1) / tile; }

struct FreeAligned {
    void operator()(void* memory) const { free(memory); }
};
template <class Element>
using Buffer = std::unique_ptr<Element[], FreeAligned>;

template <class Element>
Buffer<Element> allocate(int64_t count) {
    return Buffer<Element>(static_cast<Element*>(aligned_alloc(64, (count * sizeof(Element) + 63) / 64 * 64)));
}

// Visits the rows in pairs of tiles, and what is left in one: visit(first row, tiles of rows)
template <class Visit>
void for_row_tiles(int64_t rows, int64_t height, Visit visit) {
    int64_t row = 0;
    for (; row + height < rows; row += 2 * height) visit(row, 2);
    if (row < rows) visit(row, 1);
}

// Rows of A by columns of B that are multiplied at once: one or two tiles of each.
struct Block {
    const uint16_t* a;  // first row; rows are `a_stride` elements apart
    int64_t a_stride;
    int64_t a_below;    // elements from the first tile of rows to the second
    const uint16_t* b;  // first tile; the next 32 of depth are `b_deeper` elements away
    int64_t b_deeper;
    int64_t b_right;  // elements from the first tile of columns to the second
    int64_t depth;    // in tiles
};

// Where C lies: `from` is added to (null: begin with zero), `to` is written.
struct Sums {
    const float* from;
    int64_t from_stride, from_below, from_right;
    float* to;
    int64_t to_stride, to_below, to_right;
};

}  // namespace recurlm

#if defined(__AVX512BF16__) && defined(__linux__)
#define RECURLM_HAS_TILES 1
#ifdef __AMX_BF16__
#include "products_amx.h"
#else
#include "products_avx512.h"
#endif

namespace recurlm {

inline __mmask16 lanes(int64_t count) { return __mmask16(count >= 16 ? 0xffff : (1u << (count < 0 ? 0 : count)) - 1); }

inline __m512 load(const float* from, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, from); }
inline void store(float* to, __m512 values, __mmask16 mask) { _mm512_mask_storeu_ps(to, mask, values); }

inline __m512 widen(__m256i halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline __m512 load(const uint16_t* from, __mmask16 mask) { return widen(_mm256_maskz_loadu_epi16(mask, from)); }

inline __m256i narrow(__m512 values) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)); }
inline void store(uint16_t* to, __m512 values, __mmask16 mask) { _mm256_mask_storeu_epi16(to, mask, narrow(values)); }

// 16 bfloat16 of one row and 16 of the next, interleaved: a row of a tile of B.
inline __m512i interleave(__m256i even, __m256i odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

// A tile of B from 32 rows of 16 columns of a matrix; what lies outside it becomes zero.
template <class Element>
inline void pack_rows(const Element* from, int64_t stride, int64_t rows, int64_t columns, uint16_t* tile) {
    const __mmask16 mask = lanes(columns);
    for (int64_t pair = 0; pair < kTileDepth / 2; ++pair, tile += 32) {
        const bool even = 2 * pair < rows, odd = 2 * pair + 1 < rows;
        const __m512 zero = _mm512_setzero_ps();
        const __m256i first = narrow(even ? load(from + 2 * pair * stride, mask) : zero);
        const __m256i second = narrow(odd ? load(from + (2 * pair + 1) * stride, mask) : zero);
        _mm512_storeu_si512(tile, interleave(first, second));
    }
}

// The same of the transpose: from 16 rows of 32 columns.
template <class Element>
inline void pack_columns(const Element* from, int64_t stride, int64_t rows, int64_t columns, uint16_t* tile) {
    alignas(64) uint32_t pairs[16][16];  // row of the matrix, pair of columns
    for (int64_t row = 0; row < 16; ++row) {
        const __mmask16 left = row < rows ? lanes(columns) : 0, right = row < rows ? lanes(columns - 16) : 0;
        const Element* at = from + (row < rows ? row * stride : 0);
        _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[row]), narrow(load(at, left)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(pairs[row] + 8), narrow(load(at + (right ? 16 : 0), right)));
    }
    uint32_t* to = reinterpret_cast<uint32_t*>(tile);
    for (int64_t pair = 0; pair < 16; ++pair)
        for (int64_t row = 0; row < 16; ++row) to[pair * 16 + row] = pairs[row][pair];
}

// Rows become columns.
inline void transpose(__m512 (&rows)[16]) {
    __m512 pairs[16], quads[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; ++j) {
            const __m512d low = _mm512_castps_pd(pairs[i + j]), high = _mm512_castps_pd(pairs[i + j + 2]);
            quads[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            quads[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    for (int i = 0; i < 4; ++i) {  // quads[4 k + i] holds columns i, 4 + i, 8 + i, 12 + i of rows 4 k to 4 k + 3
        const __m512 a = _mm512_shuffle_f32x4(quads[i], quads[4 + i], 0x88);
        const __m512 b = _mm512_shuffle_f32x4(quads[8 + i], quads[12 + i], 0x88);
        const __m512 c = _mm512_shuffle_f32x4(quads[i], quads[4 + i], 0xdd);
        const __m512 d = _mm512_shuffle_f32x4(quads[8 + i], quads[12 + i], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        rows[8 + i] = _mm512_shuffle_f32x4(a, b, 0xdd);
        rows[4 + i] = _mm512_shuffle_f32x4(c, d, 0x88);
        rows[12 + i] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

// e^x for x <= 0, as in softmax_loss.cpp
inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);  // the second operand wins where it is not a number
    const __m512 shift = _mm512_set1_ps(12582912.0f);
    const __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), shift);
    const __m512 n = _mm512_sub_ps(shifted, shift);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 sum = _mm512_fmadd_ps(r, _mm512_set1_ps(1.0f / 720), _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, n);
}

inline __m512 reciprocal(__m512 x) {
    const __m512 guess = _mm512_rcp14_ps(x);  // and one step of Newton's
    return _mm512_mul_ps(guess, _mm512_fnmadd_ps(x, guess, _mm512_set1_ps(2.0f)));
}

inline __m512 sigmoid(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f);
    const __m512 small = exponential(_mm512_or_ps(x, _mm512_set1_ps(-0.0f)));  // e^-|x|
    const __m512 above = reciprocal(_mm512_add_ps(one, small));
    return _mm512_mask_mul_ps(above, _mm512_movepi32_mask(_mm512_castps_si512(x)), above, small);
}

inline __m512 hyperbolic_tangent(__m512 x) {
    const __m512 one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    const __m512 twice = _mm512_add_ps(x, x);
    const __m512 small = exponential(_mm512_or_ps(twice, sign));  // e^-2|x|
    const __m512 magnitude = _mm512_mul_ps(_mm512_sub_ps(one, small), reciprocal(_mm512_add_ps(one, small)));
    return _mm512_or_ps(magnitude, _mm512_and_ps(x, sign));
}

}  // namespace recurlm

#endif
