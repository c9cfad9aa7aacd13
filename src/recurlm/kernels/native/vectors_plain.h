// Vectors of floats and of bfloat16 for any processor: the vector types of GCC and Clang, as wide as its registers.
#pragma once

#include <cstdint>
#include <cstring>

namespace recurlm::plain {

#if defined(__AVX512F__)
constexpr int64_t kLanes = 16;
#elif defined(__AVX__)
constexpr int64_t kLanes = 8;
#else
constexpr int64_t kLanes = 4;
#endif
typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef uint32_t Words __attribute__((vector_size(4 * kLanes)));
typedef uint16_t Halves __attribute__((vector_size(2 * kLanes)));

template <class To, class From>
inline To bits_as(const From& from) {
    static_assert(sizeof(To) == sizeof(From));
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

inline Floats splat(float value) { return Floats{} + value; }

inline Floats widen(const Floats& values) { return values; }
inline Floats widen(const Halves& values) { return bits_as<Floats>(__builtin_convertvector(values, Words) << 16); }

inline Halves narrow(const Floats& values) {  // to the nearest, ties to even
    const Words bits = bits_as<Words>(values);
    return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
}

// e^x for x <= 0, within 2 units in the last place, never below e^-87; NaN stays NaN.
// Range reduction to |r| <= log(2) / 2 and the Taylor polynomial of degree 7.
inline Floats exponential(Floats x) {
    x = x < -87.0f ? splat(-87.0f) : x;
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
    const Floats shifted = x * 1.44269504f + shift;
    const Floats n = shifted - shift;
    const Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    Floats sum = r * (1.0f / 5040) + (1.0f / 720);
    sum = sum * r + (1.0f / 120);
    sum = sum * r + (1.0f / 24);
    sum = sum * r + (1.0f / 6);
    sum = sum * r + 0.5f;
    sum = sum * r + 1.0f;
    sum = sum * r + 1.0f;
    return sum * bits_as<Floats>((bits_as<Integers>(shifted) << 23) + (127 << 23));
}

inline Floats sigmoid(const Floats& x) {
    const Floats small = exponential(x < 0.0f ? x : -x);  // e^-|x|
    const Floats above = 1.0f / (1.0f + small);
    return x < 0.0f ? above * small : above;
}

inline Floats hyperbolic_tangent(const Floats& x) {
    const Floats small = exponential(x < 0.0f ? x + x : -(x + x));  // e^-2|x|
    const Floats magnitude = (1.0f - small) / (1.0f + small);
    return x < 0.0f ? -magnitude : magnitude;
}

inline Floats multiply_add(const Floats& a, const Floats& b, const Floats& c) { return a * b + c; }

// The first lanes of a vector.
struct Mask {
    int64_t count;
};

inline Mask lanes(int64_t count) { return {count < 0 ? 0 : count < kLanes ? count : kLanes}; }

inline Floats within(const Floats& values, float filler, Mask mask) {
    Integers lane;
    for (int64_t at = 0; at < kLanes; ++at) lane[at] = int32_t(at);
    return lane < int32_t(mask.count) ? values : splat(filler);
}

template <class Vector, class Element>
inline Vector load_lanes(const Element* from, Mask mask) {
    Vector values{};
    if (mask.count == kLanes)
        std::memcpy(&values, from, sizeof values);
    else
        std::memcpy(&values, from, mask.count * sizeof(Element));
    return values;
}

template <class Vector, class Element>
inline void store_lanes(Element* to, const Vector& values, Mask mask) {
    if (mask.count == kLanes)
        std::memcpy(to, &values, sizeof values);
    else
        std::memcpy(to, &values, mask.count * sizeof(Element));
}

inline Floats load(const float* from) { return load_lanes<Floats>(from, {kLanes}); }
inline Floats load(const float* from, Mask mask) { return load_lanes<Floats>(from, mask); }
inline Floats load(const uint16_t* from, Mask mask) { return widen(load_lanes<Halves>(from, mask)); }
inline void store(float* to, const Floats& values, Mask mask) { store_lanes(to, values, mask); }
inline void store(uint16_t* to, const Floats& values, Mask mask) { store_lanes(to, narrow(values), mask); }
inline void store(float* to, const Floats& values) { std::memcpy(to, &values, sizeof values); }
inline void store(uint16_t* to, const Halves& values) { std::memcpy(to, &values, sizeof values); }

// bfloat16 of one row and of the next, interleaved: part of a row of a tile of B.
inline void store_pairs(uint16_t* tile, const Halves& even, const Halves& odd) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
        tile[2 * lane] = even[lane];
        tile[2 * lane + 1] = odd[lane];
    }
}

inline Floats larger(const Floats& a, const Floats& b, Mask mask) {
    const Floats inside = within(b, -3.4e38f, mask);
    return inside > a ? inside : a;
}

inline Floats where_above(const Floats& values, float limit, Mask mask, const Floats& then) {  // elsewhere zero
    return within(values > limit ? then : splat(0.0f), 0.0f, mask);
}

inline float largest(const Floats& values) {
    float result = values[0];
    for (int64_t lane = 1; lane < kLanes; ++lane) result = values[lane] > result ? values[lane] : result;
    return result;
}

inline float sum(const Floats& values) {
    float result = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) result += values[lane];
    return result;
}

}  // namespace recurlm::plain
