// Softmax, its loss and its error over rows of logits, in place; plain C interface, called through ctypes.
//
// Built without -ffast-math: a logit that is not finite must give a loss that is not finite.

#include <cmath>
#include <cstdint>

#include "threads.h"
#include "vectors_plain.h"

namespace {

using namespace recurlm::plain;

struct Bfloat16 {
    uint16_t bits;
};

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
inline void narrow(const Floats& values, Halves& packed) { packed = recurlm::plain::narrow(values); }

// `count` is the constant kLanes except at the end of a row
template <class Element>
inline Floats load(const Element* from, int64_t count) {
    return widen(load_lanes<typename Pack<Element>::Type>(from, lanes(count)));
}

template <class Element>
inline void store(Element* to, const Floats& values, int64_t count) {
    typename Pack<Element>::Type packed;
    narrow(values, packed);
    store_lanes(to, packed, lanes(count));
}

template <class Element>
inline Floats load_logits(const Element* row, const float* bias, int64_t at, int64_t count) {
    const Floats logits = load(row + at, count);
    return bias ? logits + load(bias + at, count) : logits;
}

inline float one_logit(float logit) { return logit; }
inline float one_logit(Bfloat16 logit) { return bits_as<float>(uint32_t(logit.bits) << 16); }

// elements past the end of a row have no weight
inline Floats mask_end(const Floats& values, float filler, int64_t count) {
    return count == kLanes ? values : within(values, filler, lanes(count));
}

template <class Visit>
inline void for_each_vector(int64_t size, Visit visit) {
    int64_t at = 0;
    for (; at + kLanes <= size; at += kLanes) visit(at, kLanes);
    if (at < size) visit(at, size - at);
}

template <class Element>
float largest_logit(const Element* row, const float* bias, int64_t size) {
    const float lowest = -3.4e38f;  // not minus infinity, whose distance to itself is NaN
    Floats largest = splat(lowest);
    for_each_vector(size, [&](int64_t at, int64_t count) {
        const Floats logits = mask_end(load_logits(row, bias, at, count), lowest, count);
        largest = logits > largest ? logits : largest;
    });
    return recurlm::plain::largest(largest);
}

template <class Element>
float sum_of_exponentials(const Element* row, const float* bias, int64_t size, float largest) {
    Floats sums = splat(0.0f);
    for_each_vector(size, [&](int64_t at, int64_t count) {
        sums += mask_end(exponential(load_logits(row, bias, at, count) - largest), 0.0f, count);
    });
    return recurlm::plain::sum(sums);
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

// For each of `rows` rows of `size` logits, plus `bias` if it is not null: the loss in nats of the row's target, which the
// caller has checked to be in range. With `gradient` the row becomes softmax - onehot. If `grad_bias`
// (parts, size) is not null, the errors of the rows of a part are added to its row. Rows are split into `parts`.
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
