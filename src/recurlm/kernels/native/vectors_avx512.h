// Sixteen floats, or as many bfloat16, in registers of AVX-512. The portable twin is vectors_plain.h.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace recurlm {

constexpr int64_t kLanes = 16;
using Floats = __m512;
using Halves = __m256i;  // bfloat16
using Mask = __mmask16;

inline Mask lanes(int64_t count) { return Mask(count >= 16 ? 0xffff : (1u << (count < 0 ? 0 : count)) - 1); }

inline Floats splat(float value) { return _mm512_set1_ps(value); }

inline Floats load(const float* from) { return _mm512_loadu_ps(from); }
inline Floats load(const float* from, Mask mask) { return _mm512_maskz_loadu_ps(mask, from); }
inline void store(float* to, Floats values, Mask mask) { _mm512_mask_storeu_ps(to, mask, values); }

inline Floats widen(Halves halves) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}
inline Floats load(const uint16_t* from, Mask mask) { return widen(_mm256_maskz_loadu_epi16(mask, from)); }

inline Halves narrow(Floats values) { return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)); }
inline void store(uint16_t* to, Floats values, Mask mask) { _mm256_mask_storeu_epi16(to, mask, narrow(values)); }

inline void store(float* to, Floats values) { _mm512_storeu_ps(to, values); }
inline void store(uint16_t* to, Halves values) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), values); }

// 16 bfloat16 of one row and 16 of the next, interleaved: a row of a tile of B.
inline __m512i interleave(Halves even, Halves odd) {
    return _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16));
}

inline void store_pairs(uint16_t* tile, Halves even, Halves odd) { _mm512_storeu_si512(tile, interleave(even, odd)); }

// Transposes.
inline void transpose(Floats (&rows)[16]) {
    Floats pairs[16], quads[16];
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
        const Floats a = _mm512_shuffle_f32x4(quads[i], quads[4 + i], 0x88);
        const Floats b = _mm512_shuffle_f32x4(quads[8 + i], quads[12 + i], 0x88);
        const Floats c = _mm512_shuffle_f32x4(quads[i], quads[4 + i], 0xdd);
        const Floats d = _mm512_shuffle_f32x4(quads[8 + i], quads[12 + i], 0xdd);
        rows[i] = _mm512_shuffle_f32x4(a, b, 0x88);
        rows[8 + i] = _mm512_shuffle_f32x4(a, b, 0xdd);
        rows[4 + i] = _mm512_shuffle_f32x4(c, d, 0x88);
        rows[12 + i] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}

// e^x for x <= 0, as in vectors_plain.h with one term fewer
inline Floats exponential(Floats x) {
    x = _mm512_max_ps(_mm512_set1_ps(-87.0f), x);  // returns the second operand if it is NaN
    const Floats shift = _mm512_set1_ps(12582912.0f);
    const Floats shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), shift);
    const Floats n = _mm512_sub_ps(shifted, shift);
    Floats r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    Floats sum = _mm512_fmadd_ps(r, _mm512_set1_ps(1.0f / 720), _mm512_set1_ps(1.0f / 120));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 24));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f / 6));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.5f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(sum, n);
}

inline Floats reciprocal(Floats x) {
    const Floats guess = _mm512_rcp14_ps(x);  // refined by one Newton step
    return _mm512_mul_ps(guess, _mm512_fnmadd_ps(x, guess, _mm512_set1_ps(2.0f)));
}

inline Floats sigmoid(Floats x) {
    const Floats one = _mm512_set1_ps(1.0f);
    const Floats small = exponential(_mm512_or_ps(x, _mm512_set1_ps(-0.0f)));  // e^-|x|
    const Floats above = reciprocal(_mm512_add_ps(one, small));
    return _mm512_mask_mul_ps(above, _mm512_movepi32_mask(_mm512_castps_si512(x)), above, small);
}

inline Floats hyperbolic_tangent(Floats x) {
    const Floats one = _mm512_set1_ps(1.0f), sign = _mm512_set1_ps(-0.0f);
    const Floats twice = _mm512_add_ps(x, x);
    const Floats small = exponential(_mm512_or_ps(twice, sign));  // e^-2|x|
    const Floats magnitude = _mm512_mul_ps(_mm512_sub_ps(one, small), reciprocal(_mm512_add_ps(one, small)));
    return _mm512_or_ps(magnitude, _mm512_and_ps(x, sign));
}

inline Floats multiply_add(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
inline Floats larger(Floats a, Floats b, Mask mask) { return _mm512_mask_max_ps(a, mask, a, b); }
inline Floats where_above(Floats values, float limit, Mask mask, Floats then) {  // elsewhere zero
    return _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(mask, values, splat(limit), _CMP_GT_OQ), then);
}
inline float largest(Floats values) { return _mm512_reduce_max_ps(values); }
inline float sum(Floats values) { return _mm512_reduce_add_ps(values); }

}  // namespace recurlm
