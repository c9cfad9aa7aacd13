// The softmax layer's loss and gradients in bfloat16 tiles; never holds all logits. Called through ctypes.
//
//     losses_n = log sum_v exp(l_nv) - l_nt       l = x W' + b       error_nv = exp(l_nv) / sum_u exp(l_nu) - [v = t]
//
// Everything is transposed: a row of a tile is a word, its columns are positions, so that sums over words are sums of
// vectors. The first pass over the vocabulary finds each position's log of the sum; the second computes a block of
// logits again, turns it into errors, and multiplies the errors into both gradients while they are in cache.
// The threads share the blocks of words.

#include "threads.h"
#include "tiles.h"

#ifdef RECURLM_HAS_BFLOAT16
#include <algorithm>
#include <cmath>
#include <vector>

namespace recurlm {
namespace {

constexpr int64_t kWords = 256;      // of a block
constexpr int64_t kPositions = 512;  // computed together
constexpr int64_t kTile = 256;       // numbers in a tile of float32

// For each position, the largest logit so far, and the sum of exponentials of the distances to it.
struct Running {
    Buffer<float> largest, sum;

    explicit Running(int64_t positions) : largest(allocate<float>(positions)), sum(allocate<float>(positions)) {
        std::fill_n(largest.get(), positions, -3.4e38f);  // not minus infinity, whose distance to itself is NaN
        std::fill_n(sum.get(), positions, 0.0f);
    }

    // `logits` are `rows` rows of 16 positions
    void add(const float* logits, int64_t stride, int64_t rows, int64_t position) {
        const __m512 before = _mm512_load_ps(largest.get() + position);
        __m512 most = before;
        for (int64_t row = 0; row < rows; ++row) most = _mm512_max_ps(most, _mm512_load_ps(logits + row * stride));
        __m512 total = _mm512_load_ps(sum.get() + position) * exponential(before - most);
        for (int64_t row = 0; row < rows; ++row) total += exponential(_mm512_load_ps(logits + row * stride) - most);
        _mm512_store_ps(largest.get() + position, most);
        _mm512_store_ps(sum.get() + position, total);
    }
};

struct Layer {
    const uint16_t* input;  // (positions, inputs)
    const float *weight, *bias;  // (words, inputs), (words) or null
    const int64_t* target;  // (positions)
    float* losses;          // (positions)
    float *grad_input, *grad_weight, *grad_bias;  // as input, weight, bias; each may be null
    int64_t positions, inputs, words;

    int64_t depth() const { return tiles(inputs, kTileDepth); }
    int64_t columns() const { return tiles(positions, 2 * kTileColumns) * 2; }  // tiles of 16 positions, in pairs
    int64_t heights() const { return tiles(inputs, 2 * kTileRows) * 2; }        // tiles of 16 inputs, in pairs
    bool learns() const { return grad_input || grad_weight || grad_bias; }
};

// What all threads read: the input as tiles of B, with inputs or positions as depth.
struct Packed {
    Buffer<uint16_t> by_input, by_position;

    explicit Packed(const Layer& layer)
        : by_input(allocate<uint16_t>(layer.columns() * layer.depth() * kTileSize)),
          by_position(allocate<uint16_t>(layer.grad_weight ? layer.columns() / 2 * layer.heights() * kTileSize : 0)) {}

    void fill(const Layer& layer, const Thread& thread) {
        for (int64_t column = thread.first(layer.columns()); column < thread.last(layer.columns()); ++column) {
            const int64_t first = column * kTileColumns, left = std::max<int64_t>(0, layer.positions - first);
            for (int64_t step = 0; step < layer.depth(); ++step)
                pack_columns(layer.input + (left ? first * layer.inputs : 0) + step * kTileDepth, layer.inputs, left,
                             layer.inputs - step * kTileDepth, of_column(layer, column) + step * kTileSize);
        }
        if (!layer.grad_weight) return;
        const int64_t pairs = layer.columns() / 2;
        for (int64_t pair = thread.first(pairs); pair < thread.last(pairs); ++pair) {
            const int64_t first = pair * kTileDepth;
            for (int64_t height = 0; height < layer.heights(); ++height)
                pack_rows(layer.input + first * layer.inputs + height * kTileColumns, layer.inputs,
                          layer.positions - first, layer.inputs - height * kTileColumns,
                          of_pair(layer, pair) + height * kTileSize);
        }
    }

    uint16_t* of_column(const Layer& layer, int64_t column) const {
        return by_input.get() + column * layer.depth() * kTileSize;
    }
    uint16_t* of_pair(const Layer& layer, int64_t pair) const {
        return by_position.get() + pair * layer.heights() * kTileSize;
    }
};

// A thread's work on its blocks of words.
class Worker {
   public:
    Worker(const Layer& layer, const Packed& packed)
        : layer(layer),
          packed(packed),
          running(layer.columns() * kTileColumns),
          width(layer.depth() * kTileDepth),
          rows(allocate<uint16_t>(kWords * width)) {}

    // First pass: the running sums over the words of blocks [first, last).
    void sum(int64_t first, int64_t last) {
        for (int64_t block = first; block < last; ++block) {
            take_words(block);
            for (int64_t column = 0; column < layer.columns(); column += 2)
                for (int64_t word = 0; word < count; word += 2 * kTileRows) {
                    compute_logits(word, column);
                    const int64_t left = std::min(count - word, 2 * kTileRows);
                    for (int64_t part = 0; part < 2; ++part)
                        running.add(logits + part * kTileColumns, 2 * kTileColumns, left,
                                    (column + part) * kTileColumns);
                }
        }
    }

    // Second pass: errors and gradients of the same blocks; `log_sums` are the whole vocabulary's.
    void learn(int64_t first, int64_t last, const float* log_sums) {
        const int64_t heights = layer.heights(), columns = layer.columns();
        turned = allocate<uint16_t>(heights * kTileRows * kWords);
        errors = allocate<uint16_t>(kWords * kPositions);
        errors_packed = allocate<uint16_t>(kWords * kPositions);
        weight_sums = allocate<float>(tiles(kWords, kTileRows) * heights * kTile);
        input_sums = allocate<float>(heights * columns * kTile);
        std::fill_n(input_sums.get(), heights * columns * kTile, 0.0f);
        for (int64_t block = first; block < last; ++block) {
            take_words(block);
            turn_words();
            std::fill_n(bias_sums, kWords * kTileColumns, 0.0f);
            for (int64_t column = 0; column < columns; column += kPositions / kTileColumns) {
                const int64_t last_column = std::min(columns, column + kPositions / kTileColumns);
                compute_errors(column, last_column, log_sums);
                if (layer.grad_input) add_to_input(column, last_column);
                if (layer.grad_weight) add_to_weight(column, last_column);
            }
            write_weight();
        }
    }

    const Layer& layer;
    const Packed& packed;
    Running running;
    Buffer<float> input_sums;  // [tile of positions][tile of inputs], inputs are rows

   private:
    // The block's weights as rows of bfloat16; words past the last and inputs past the last are zero.
    void take_words(int64_t block) {
        start = block * kWords;
        count = std::min(kWords, layer.words - start);
        for (int64_t word = 0; word < tiles(count, 2 * kTileRows) * 2 * kTileRows; ++word)
            for (int64_t at = 0; at < width; at += 16) {
                const __mmask16 mask = word < count ? lanes(layer.inputs - at) : 0;
                const float* from = layer.weight + (mask ? (start + word) * layer.inputs + at : 0);
                store(rows.get() + word * width + at, load(from, mask), 0xffff);
            }
    }

    // The same transposed: a row for each input, a column for each word.
    void turn_words() {
        for (int64_t input = 0; input < layer.heights() * kTileRows; input += 16) {
            const __mmask16 mask = lanes(layer.inputs - input);
            for (int64_t word = 0; word < kWords; word += 16) {
                __m512 square[16];
                for (int64_t row = 0; row < 16; ++row) {
                    const __mmask16 inside = word + row < count ? mask : 0;
                    square[row] = load(layer.weight + (inside ? (start + word + row) * layer.inputs + input : 0), inside);
                }
                transpose(square);
                for (int64_t row = 0; row < 16; ++row)
                    store(turned.get() + (input + row) * kWords + word, square[row], 0xffff);
            }
        }
    }

    // logits: 32 words from `word` on, 32 positions from tile `column` on, bias added
    void compute_logits(int64_t word, int64_t column) {
        const Block block{rows.get() + word * width, width, kTileRows * width, packed.of_column(layer, column),
                          kTileSize, layer.depth() * kTileSize, layer.depth()};
        constexpr int64_t stride = 2 * kTileColumns;
        multiply_into<2, 2>(block, {nullptr, 0, 0, 0, logits, stride, kTileRows * stride, kTileColumns});
        if (!layer.bias) return;
        for (int64_t row = 0; row < std::min(count - word, 2 * kTileRows); ++row) {
            const __m512 bias = _mm512_set1_ps(layer.bias[start + word + row]);
            for (int64_t at = row * stride; at < (row + 1) * stride; at += 16)
                _mm512_store_ps(logits + at, _mm512_load_ps(logits + at) + bias);
        }
    }

    // Errors (words, kPositions), also as tiles of B with words as depth: [tile of positions][32 words].
    void compute_errors(int64_t first, int64_t last, const float* log_sums) {
        for (int64_t column = first; column < last; column += 2) {
            for (int64_t word = 0; word < kWords; word += 2 * kTileRows) {
                if (word < count) compute_logits(word, column);
                for (int64_t part = 0; part < 2; ++part)
                    turn_to_errors(word, column + part, logits + part * kTileColumns, first, log_sums);
            }
        }
        const int64_t positions = std::min(last * kTileColumns, layer.positions);
        for (int64_t position = first * kTileColumns; position < positions; ++position) {
            const int64_t word = layer.target[position] - start;
            if (word >= 0 && word < count) subtract_one(word, position - first * kTileColumns);
        }
    }

    void turn_to_errors(int64_t word, int64_t column, const float* from, int64_t first, const float* log_sums) {
        const __m512 log_sum = _mm512_load_ps(log_sums + column * kTileColumns);
        uint16_t* to = errors.get() + word * kPositions + (column - first) * kTileColumns;
        uint16_t* tile = errors_packed.get() + ((column - first) * (kWords / kTileDepth) + word / kTileDepth) * kTileSize;
        const __mmask16 real = lanes(layer.positions - column * kTileColumns);
        for (int64_t pair = 0; pair < kTileDepth / 2; ++pair) {
            __m256i halves[2];
            for (int64_t half = 0; half < 2; ++half) {
                const int64_t row = 2 * pair + half;
                const __m512 logit = _mm512_load_ps(from + row * 2 * kTileColumns);
                const __mmask16 mask = word + row < count ? real : 0;
                const __m512 error = _mm512_maskz_mov_ps(mask, exponential(logit - log_sum));
                float* bias_sum = bias_sums + (word + row) * kTileColumns;
                _mm512_store_ps(bias_sum, _mm512_load_ps(bias_sum) + error);
                halves[half] = narrow(error);
                _mm256_store_si256(reinterpret_cast<__m256i*>(to + row * kPositions), halves[half]);
            }
            _mm512_store_si512(tile + pair * 32, interleave(halves[0], halves[1]));
        }
    }

    void subtract_one(int64_t word, int64_t position) {
        uint16_t* error = errors.get() + word * kPositions + position;
        const __m512 reduced = load(error, 1) - _mm512_set1_ps(1.0f);
        store(error, reduced, 1);
        const int64_t tile = position / kTileColumns * (kWords / kTileDepth) + word / kTileDepth;
        const int64_t place = word % kTileDepth / 2 * 32 + position % kTileColumns * 2 + word % 2;
        store(errors_packed.get() + tile * kTileSize + place, reduced, 1);
        bias_sums[word * kTileColumns] -= 1.0f;
    }

    // input_sums (inputs, positions) += W' (inputs, words) errors (words, positions)
    void add_to_input(int64_t first, int64_t last) {
        const int64_t depth = tiles(count, kTileDepth), heights = layer.heights();
        for (int64_t column = first; column < last; column += 2)
            for (int64_t height = 0; height < heights; height += 2) {
                const uint16_t* b = errors_packed.get() + (column - first) * (kWords / kTileDepth) * kTileSize;
                float* sums = input_sums.get() + (column * heights + height) * kTile;
                multiply_into<2, 2>({turned.get() + height * kTileRows * kWords, kWords, kTileRows * kWords, b,
                                     kTileSize, kWords / kTileDepth * kTileSize, depth},
                                    {sums, 16, kTile, heights * kTile, sums, 16, kTile, heights * kTile});
            }
    }

    // weight_sums (words, inputs) += errors (words, positions) x (positions, inputs)
    void add_to_weight(int64_t first, int64_t last) {
        const int64_t depth = (last - first) / 2, heights = layer.heights();
        for (int64_t word = 0; word < count; word += 2 * kTileRows)
            for (int64_t height = 0; height < heights; height += 2) {
                float* sums = weight_sums.get() + (word / kTileRows * heights + height) * kTile;
                multiply_into<2, 2>(
                    {errors.get() + word * kPositions, kPositions, kTileRows * kPositions,
                     packed.of_pair(layer, first / 2) + height * kTileSize, heights * kTileSize, kTileSize, depth},
                    {first ? sums : nullptr, 16, heights * kTile, kTile, sums, 16, heights * kTile, kTile});
            }
    }

    void write_weight() {
        const int64_t heights = layer.heights();
        for (int64_t word = 0; word < count; ++word) {
            if (layer.grad_bias)
                layer.grad_bias[start + word] = _mm512_reduce_add_ps(_mm512_load_ps(bias_sums + word * kTileColumns));
            if (!layer.grad_weight) continue;
            const float* row = weight_sums.get() + word / kTileRows * heights * kTile + word % kTileRows * 16;
            for (int64_t at = 0; at < layer.inputs; at += 16, row += kTile)
                store(layer.grad_weight + (start + word) * layer.inputs + at, _mm512_load_ps(row),
                      lanes(layer.inputs - at));
        }
    }

    const int64_t width;
    int64_t start = 0, count = 0;   // words of the block
    Buffer<uint16_t> rows, turned;  // its weights
    Buffer<uint16_t> errors, errors_packed;
    Buffer<float> weight_sums;
    alignas(64) float logits[2 * kTileRows * 2 * kTileColumns];
    alignas(64) float bias_sums[kWords * kTileColumns];
};

// log of the sum over the whole vocabulary for positions [first, last), from the threads' parts of it
void join(const std::vector<std::unique_ptr<Worker>>& workers, int64_t first, int64_t last, float* log_sums) {
    for (int64_t position = first; position < last; ++position) {
        float largest = -3.4e38f, sum = 0;
        for (const auto& worker : workers)
            if (worker) largest = std::max(largest, worker->running.largest[position]);
        for (const auto& worker : workers)
            if (worker) sum += worker->running.sum[position] * std::exp(worker->running.largest[position] - largest);
        log_sums[position] = largest + std::log(sum);
    }
}

float target_logit(const Layer& layer, int64_t position) {
    const int64_t target = layer.target[position];
    __m512 sum = _mm512_setzero_ps();
    for (int64_t at = 0; at < layer.inputs; at += 16) {
        const __mmask16 mask = lanes(layer.inputs - at);
        const __m512 weight = widen(narrow(load(layer.weight + target * layer.inputs + at, mask)));
        sum = _mm512_fmadd_ps(weight, load(layer.input + position * layer.inputs + at, mask), sum);
    }
    return _mm512_reduce_add_ps(sum) + (layer.bias ? layer.bias[target] : 0.0f);
}

// The gradient of the input of 16 positions: the sum of the threads' parts, transposed.
void write_input(const Layer& layer, const std::vector<std::unique_ptr<Worker>>& workers, int64_t column) {
    const int64_t first = column * kTileColumns, heights = layer.heights();
    for (int64_t input = 0; input < layer.inputs; input += 16) {
        const int64_t at = (column * heights + input / kTileRows) * kTile;
        __m512 square[16];
        for (int64_t row = 0; row < 16; ++row) {
            square[row] = _mm512_setzero_ps();
            for (const auto& worker : workers)
                if (worker) square[row] += _mm512_load_ps(worker->input_sums.get() + at + row * 16);
        }
        transpose(square);
        for (int64_t row = 0; row < std::min<int64_t>(16, layer.positions - first); ++row)
            store(layer.grad_input + (first + row) * layer.inputs + input, square[row], lanes(layer.inputs - input));
    }
}

void compute(const Layer& layer, int64_t threads) {
    Packed packed(layer);
    const int64_t padded = layer.columns() * kTileColumns, columns = tiles(layer.positions, kTileColumns), blocks = tiles(layer.words, kWords);
    auto log_sums = allocate<float>(padded);
    std::vector<std::unique_ptr<Worker>> workers(threads);
    in_threads(threads, [&](const Thread& thread) {
        packed.fill(layer, thread);
        workers[thread.number].reset(new Worker(layer, packed));
        Worker& worker = *workers[thread.number];
        const int64_t first = thread.first(blocks), last = thread.last(blocks);
        thread.meet();
        configure_tiles(kTileRows);
        worker.sum(first, last);
        thread.meet();
        join(workers, thread.first(padded), thread.last(padded), log_sums.get());
        thread.meet();
        const int64_t begin = thread.first(layer.positions), end = thread.last(layer.positions);
        for (int64_t position = begin; position < end; ++position)
            layer.losses[position] = log_sums[position] - target_logit(layer, position);
        if (layer.learns()) {
            worker.learn(first, last, log_sums.get());
            thread.meet();
            if (layer.grad_input)
                for (int64_t column = thread.first(columns); column < thread.last(columns); ++column)
                    write_input(layer, workers, column);
        }
        release_tiles();
    });
}

}  // namespace
}  // namespace recurlm

// Losses in nats, and gradients of their sum for every pointer that is not null. The caller has checked the targets.
extern "C" void recurlm_linear_cross_entropy(const uint16_t* input, const float* weight, const float* bias,
                                             const int64_t* target, float* losses, float* grad_input,
                                             float* grad_weight, float* grad_bias, int64_t positions, int64_t inputs,
                                             int64_t words, int64_t threads) {
    recurlm::compute({input, weight, bias, target, losses, grad_input, grad_weight, grad_bias, positions, inputs, words},
                     threads);
}

#endif
