// Products of bfloat16 matrices in tiles with sums in float32, and the packing of the tiles.
//
// C += A B multiplies a tile of A, up to 16 rows of 32 bfloat16, by a tile of B, (32, 16), in which pairs of rows are
// interleaved. B is therefore packed in advance, as a list of tiles of 1 KiB. Intel's AMX has registers for whole tiles;
// with AVX-512 BF16 the same tiles are multiplied row by row in vectors of pairs; elsewhere they are first widened to
// float32.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
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

// Visits the rows in pairs of tiles, and the rest in one tile: visit(first row, tiles of rows)
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
#define RECURLM_HAS_BFLOAT16 1
#include "vectors_avx512.h"
#ifdef __AMX_BF16__
#include "products_amx.h"
#else
#include "products_rows.h"
#endif
#else
#include "vectors_plain.h"
namespace recurlm {
using namespace plain;
}
#include "products_rows.h"
#endif

namespace recurlm {

// A tile of B from 32 rows of 16 columns of a matrix; elements outside the matrix are zero.
template <class Element>
inline void pack_rows(const Element* from, int64_t stride, int64_t rows, int64_t columns, uint16_t* tile) {
    for (int64_t pair = 0; pair < kTileDepth / 2; ++pair)
        for (int64_t column = 0; column < kTileColumns; column += kLanes, tile += 2 * kLanes) {
            const auto packed = [&](int64_t row) {
                const int64_t inside = row < rows ? columns - column : 0;
                return narrow(load(from + (inside > 0 ? row * stride + column : 0), lanes(inside)));
            };
            store_pairs(tile, packed(2 * pair), packed(2 * pair + 1));
        }
}

// The same of the transpose: from 16 rows of 32 columns.
template <class Element>
inline void pack_columns(const Element* from, int64_t stride, int64_t rows, int64_t columns, uint16_t* tile) {
    alignas(64) uint16_t numbers[kTileColumns][kTileDepth];  // (row, column) of the matrix
    for (int64_t row = 0; row < kTileColumns; ++row)
        for (int64_t column = 0; column < kTileDepth; column += kLanes) {
            const int64_t inside = row < rows ? columns - column : 0;
            store(numbers[row] + column, narrow(load(from + (inside > 0 ? row * stride + column : 0), lanes(inside))));
        }
    for (int64_t pair = 0; pair < kTileDepth / 2; ++pair)
        for (int64_t row = 0; row < kTileColumns; ++row, tile += 2) std::memcpy(tile, numbers[row] + 2 * pair, 4);
}

}  // namespace recurlm
