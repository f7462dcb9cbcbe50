// Vectors of AVX-512 or AVX2, and what all parts of the kernel share: shapes, constants, buffers.
#pragma once

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

constexpr int SIDE = 5, TAPS = 25;              // of a filter
constexpr int MARGIN = 6;                       // three layers reach 6 pixels
constexpr int OUT = 4, TILE = 8, POINTS = 64;   // a Winograd tile reads 8x8 pixels and gives 4x4

// Sums stay in registers: 32 of 16 numbers, or 16 of 8.  ACCUMULATORS of them are summed up at once.
#ifdef __AVX512F__
constexpr int LANES = 16, ACCUMULATORS = 22;
#else
constexpr int LANES = 8, ACCUMULATORS = 12;
#endif
template <int B>
constexpr int PARTS = B / LANES;                // vectors of a pixel with B channels

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

struct Shape {
    int64_t fields, height, width, channels, pool, branch_channels;
};

struct Weights {
    const float *w1, *b1, *w2, *b2, *w3, *b3;
};

Vec splat(float value) { return Vec{} + value; }

Vec load(const float* from) {
    Vec vector;
    std::memcpy(&vector, from, sizeof vector);
    return vector;
}

void store(float* to, Vec vector) { std::memcpy(to, &vector, sizeof vector); }

#ifdef __AVX512F__
Vec relu(Vec value) { return (Vec)_mm512_max_ps(_mm512_setzero_ps(), (__m512)value); }  // max(0, NaN) is NaN in this order

Vec where_positive(Vec condition, Vec value) {
    return (Vec)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)condition, _mm512_setzero_ps(), _CMP_GT_OQ), (__m512)value);
}

unsigned nonzero(Vec value) { return _mm512_cmp_ps_mask((__m512)value, _mm512_setzero_ps(), _CMP_NEQ_UQ); }
#else
Vec relu(Vec value) { return (Vec)_mm256_max_ps(_mm256_setzero_ps(), (__m256)value); }

Vec where_positive(Vec condition, Vec value) {
    return (Vec)_mm256_and_ps(_mm256_cmp_ps((__m256)condition, _mm256_setzero_ps(), _CMP_GT_OQ), (__m256)value);
}

unsigned nonzero(Vec value) {
    return _mm256_movemask_ps(_mm256_cmp_ps((__m256)value, _mm256_setzero_ps(), _CMP_NEQ_UQ));
}
#endif

struct Buffer {  // zeroed, on a cache line, gone with its scope
    explicit Buffer(int64_t floats) : data(static_cast<float*>(::operator new(bytes(floats), std::align_val_t(64)))) {
        std::memset(data, 0, bytes(floats));
    }
    ~Buffer() { ::operator delete(data, std::align_val_t(64)); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    static size_t bytes(int64_t floats) { return (floats * sizeof(float) + 63) / 64 * 64; }
    Vec* vectors() const { return reinterpret_cast<Vec*>(data); }
    float* data;
};

}  // namespace
