// Products of tiles in Intel's AMX registers.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

namespace recurlm {

// Asks the system for the tile registers, which it grants per process.
inline bool tiles_are_allowed() {
    constexpr long kRequestPermission = 0x1023, kTileData = 18;
    return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

// Registers 0 to 3 hold C, 4 and 5 A, all with `rows` rows; 6 and 7 hold B.
inline void configure_tiles(int64_t rows) {
    struct alignas(64) {
        uint8_t palette = 1, start_row = 0, reserved[14] = {};
        uint16_t row_bytes[16] = {};
        uint8_t rows[16] = {};
    } layout;
    for (int tile = 0; tile < 8; ++tile) {
        layout.row_bytes[tile] = 64;
        layout.rows[tile] = uint8_t(tile < 6 ? rows : kTileRows);
    }
    // GCC assumes that only the first 8 bytes are read and would leave the rest unwritten
    asm volatile("" : : "r"(&layout) : "memory");
    _tile_loadconfig(&layout);
}

inline void release_tiles() { _tile_release(); }

// C[i][j] of the block is register 2 i + j.
template <int Rows, int Columns>
inline void multiply_tiles(const Block& block) {
    const int64_t row_bytes = block.a_stride * 2;
    const uint16_t *a = block.a, *b = block.b;
    for (int64_t step = 0; step < block.depth; ++step, a += kTileDepth, b += block.b_deeper) {
        _tile_loadd(4, a, row_bytes);
        _tile_loadd(6, b, 64);
        _tile_dpbf16ps(0, 4, 6);
        if constexpr (Rows == 2) {
            _tile_loadd(5, a + block.a_below, row_bytes);
            _tile_dpbf16ps(2, 5, 6);
        }
        if constexpr (Columns == 2) {
            _tile_loadd(7, b + block.b_right, 64);
            _tile_dpbf16ps(1, 4, 7);
            if constexpr (Rows == 2) _tile_dpbf16ps(3, 5, 7);
        }
    }
}

template <int Rows, int Columns>
inline void multiply_into(const Block& block, const Sums& sums) {
    if (sums.from) {
        const int64_t bytes = sums.from_stride * 4;
        _tile_loadd(0, sums.from, bytes);
        if constexpr (Columns == 2) _tile_loadd(1, sums.from + sums.from_right, bytes);
        if constexpr (Rows == 2) _tile_loadd(2, sums.from + sums.from_below, bytes);
        if constexpr (Rows == 2 && Columns == 2) _tile_loadd(3, sums.from + sums.from_below + sums.from_right, bytes);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    multiply_tiles<Rows, Columns>(block);
    const int64_t bytes = sums.to_stride * 4;
    _tile_stored(0, sums.to, bytes);
    if constexpr (Columns == 2) _tile_stored(1, sums.to + sums.to_right, bytes);
    if constexpr (Rows == 2) _tile_stored(2, sums.to + sums.to_below, bytes);
    if constexpr (Rows == 2 && Columns == 2) _tile_stored(3, sums.to + sums.to_below + sums.to_right, bytes);
}

}  // namespace recurlm
