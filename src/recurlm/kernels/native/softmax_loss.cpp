// Softmax, its loss and its error over rows of logits, in place; plain C interface, called through ctypes.
//
// Vectors are those of GCC and Clang, sixteen floats whatever the processor: the compiler maps them to what it has.
// Built without -ffast-math: a logit that is not finite must give a loss that is not finite.

#include <cmath>
#include <cstdint>
#include <cstring>

#include "threads.h"

namespace {

constexpr int64_t kLanes = 16;
typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Integers __attribute__((vector_size(64)));
typedef uint32_t Words __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));

struct Bfloat16 {
    uint16_t bits;
};

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

template <class Element>
struct Pack;
template <>
struct Pack<float> {
    typedef Floats Type;
};
template <>
struct Pack<Bfloat16> {
    typedef Halves Type;
};

inline void narrow(const Floats& values, Floats& packed) { packed = values; }
inline void narrow(const Floats& values, Halves& packed) {
    const Words bits = bits_as<Words>(values);  // to the nearest, ties to even
    packed = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, Halves);
}

// `count` is a constant 16 but for the end of a row
template <class Element>
inline Floats load(const Element* from, int64_t count) {
    typename Pack<Element>::Type packed{};
    std::memcpy(&packed, from, count * sizeof(Element));
    return widen(packed);
}

template <class Element>
inline void store(Element* to, const Floats& values, int64_t count) {
    typename Pack<Element>::Type packed;
    narrow(values, packed);
    std::memcpy(to, &packed, count * sizeof(Element));
}

template <class Element>
inline Floats load_logits(const Element* row, const float* bias, int64_t at, int64_t count) {
    const Floats logits = load(row + at, count);
    return bias ? logits + load(bias + at, count) : logits;
}

inline float one_logit(float logit) { return logit; }
inline float one_logit(Bfloat16 logit) { return bits_as<float>(uint32_t(logit.bits) << 16); }

// what lies past the end of a row weighs nothing
inline Floats mask_end(const Floats& values, float filler, int64_t count) {
    if (count == kLanes) return values;
    const Integers lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane < int32_t(count) ? values : splat(filler);
}

template <class Visit>
inline void for_each_vector(int64_t size, Visit visit) {
    int64_t at = 0;
    for (; at + kLanes <= size; at += kLanes) visit(at, kLanes);
    if (at < size) visit(at, size - at);
}

// e^x for x <= 0, within 2 units in the last place, never below e^-87; what is not a number stays so.
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

template <class Element>
float largest_logit(const Element* row, const float* bias, int64_t size) {
    const float lowest = -3.4e38f;  // not minus infinity, whose distance to itself is not a number
    Floats largest = splat(lowest);
    for_each_vector(size, [&](int64_t at, int64_t count) {
        const Floats logits = mask_end(load_logits(row, bias, at, count), lowest, count);
        largest = logits > largest ? logits : largest;
    });
    float result = lowest;
    for (int64_t lane = 0; lane < kLanes; ++lane) result = largest[lane] > result ? largest[lane] : result;
    return result;
}

template <class Element>
float sum_of_exponentials(const Element* row, const float* bias, int64_t size, float largest) {
    Floats sums = splat(0.0f);
    for_each_vector(size, [&](int64_t at, int64_t count) {
        sums += mask_end(exponential(load_logits(row, bias, at, count) - largest), 0.0f, count);
    });
    float result = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) result += sums[lane];
    return result;
}

template <class Element>
void write_softmax(Element* row, const float* bias, int64_t size, float largest, float sum, float* grad_bias) {
    const float scale = 1.0f / sum;
    for_each_vector(size, [&](int64_t at, int64_t count) {
        const Floats softmax = exponential(load_logits(row, bias, at, count) - largest) * scale;
        store(row + at, softmax, count);
        if (grad_bias) store(grad_bias + at, load(grad_bias + at, count) + softmax, count);
    });
}

template <class Element>
void take_row(Element* row, const float* bias, int64_t size, int64_t target, float* loss, bool gradient,
              float* grad_bias) {
    const float largest = largest_logit(row, bias, size);
    const float sum = sum_of_exponentials(row, bias, size, largest);
    const float correct = one_logit(row[target]) + (bias ? bias[target] : 0.0f) - largest;
    *loss = std::log(sum) - correct;
    if (!gradient) return;
    write_softmax(row, bias, size, largest, sum, grad_bias);
    store(row + target, splat(std::exp(correct) / sum - 1.0f), 1);
    if (grad_bias) grad_bias[target] -= 1.0f;
}

template <class Element>
struct Task {
    Element* logits;
    const float* bias;
    const int64_t* targets;
    float* losses;
    float* grad_bias;
    int64_t rows, size, parts;
    bool gradient;

    void take_part(int64_t part) const {
        for (int64_t row = rows * part / parts; row < rows * (part + 1) / parts; ++row)
            take_row(logits + row * size, bias, size, targets[row], losses + row, gradient,
                     grad_bias ? grad_bias + part * size : nullptr);
    }

    void run() const {
        recurlm::in_threads(parts, [this](const recurlm::Thread& thread) {
            for (int64_t part = thread.first(parts); part < thread.last(parts); ++part) take_part(part);
        });
    }
};

}  // namespace

// For each of `rows` rows of `size` logits, plus `bias` where not null: the loss in nats of its target, which the
// caller has checked to be in range. With `gradient` the row becomes softmax - onehot, and where `grad_bias`
// (parts, size) is not null, the errors of a part's rows are added to its row. Rows are split into `parts`.
extern "C" void recurlm_softmax_loss_float32(float* logits, const float* bias, const int64_t* targets, float* losses,
                                             float* grad_bias, int64_t rows, int64_t size, int64_t parts,
                                             int32_t gradient) {
    Task<float>{logits, bias, targets, losses, grad_bias, rows, size, parts, gradient != 0}.run();
}

extern "C" void recurlm_softmax_loss_bfloat16(uint16_t* logits, const float* bias, const int64_t* targets,
                                              float* losses, float* grad_bias, int64_t rows, int64_t size,
                                              int64_t parts, int32_t gradient) {
    Task<Bfloat16>{reinterpret_cast<Bfloat16*>(logits), bias, targets, losses, grad_bias, rows, size, parts,
                   gradient != 0}
        .run();
}

extern "C" int32_t recurlm_shares_threads() { return recurlm::threads_are_shared(); }
