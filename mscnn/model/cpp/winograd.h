// Winograd's minimal filtering F(4x4, 5x5) at the points 0, 1, -1, 2, -2, 1/2, -1/2 and infinity (Winograd 1980; Lavin &
// Gray, CVPR 2016): 64 multiplications for a tile of 4x4 pixels and a pair of channels, where the direct way has 400.
#pragma once

#include "vectors.h"

namespace {

#ifdef __AVX512F__
constexpr int RUN = 22;    // tiles that are transformed before they are multiplied
#else
constexpr int RUN = 18;
#endif
template <int B>
constexpr int GROUP = ACCUMULATORS / PARTS<B>;  // tiles or pixels that are summed up at once

constexpr double FILTER[TILE][SIDE] = {
    {-1, 0, 0, 0, 0},
    {-2 / 9., -2 / 9., -2 / 9., -2 / 9., -2 / 9.},
    {-2 / 9., 2 / 9., -2 / 9., 2 / 9., -2 / 9.},
    {1 / 90., 2 / 90., 4 / 90., 8 / 90., 16 / 90.},
    {1 / 90., -2 / 90., 4 / 90., -8 / 90., 16 / 90.},
    {32 / 45., 16 / 45., 8 / 45., 4 / 45., 2 / 45.},
    {32 / 45., -16 / 45., 8 / 45., -4 / 45., 2 / 45.},
    {0, 0, 0, 0, 1},
};

[[gnu::always_inline]] inline void transform_input(const Vec d[TILE], Vec y[TILE]) {
    const Vec even1 = d[2] + d[6] - 4.25f * d[4], odd1 = d[1] + d[5] - 4.25f * d[3];
    const Vec even2 = d[6] + 0.25f * d[2] - 1.25f * d[4], odd2 = 0.5f * d[1] - 2.5f * d[3] + 2.f * d[5];
    const Vec even3 = d[6] + 4.f * d[2] - 5.f * d[4], odd3 = 2.f * d[1] - 2.5f * d[3] + 0.5f * d[5];
    y[0] = d[6] - d[0] + 5.25f * (d[2] - d[4]);
    y[1] = even1 + odd1, y[2] = even1 - odd1;
    y[3] = even2 + odd2, y[4] = even2 - odd2;
    y[5] = even3 + odd3, y[6] = even3 - odd3;
    y[7] = d[7] - d[1] + 5.25f * (d[3] - d[5]);
}

void transform_output(const Vec m[TILE], Vec y[OUT]) {
    const Vec sum1 = m[1] + m[2], sum2 = m[3] + m[4], sum3 = m[5] + m[6];
    const Vec difference1 = m[1] - m[2], difference2 = m[3] - m[4], difference3 = m[5] - m[6];
    y[0] = m[0] + sum1 + sum2 + sum3;
    y[1] = difference1 + 2.f * difference2 + 0.5f * difference3;
    y[2] = sum1 + 4.f * sum2 + 0.25f * sum3;
    y[3] = difference1 + 8.f * difference2 + 0.125f * difference3 + m[7];
}

// The adjoint of transform_output: derivatives of 4 values to those of the 8 products they are sums of.
[[gnu::always_inline]] inline void spread_output(const Vec g[OUT], Vec v[TILE]) {
    const Vec even1 = g[0] + g[2], odd1 = g[1] + g[3];
    const Vec even2 = g[0] + 4.f * g[2], odd2 = 2.f * g[1] + 8.f * g[3];
    const Vec even3 = g[0] + 0.25f * g[2], odd3 = 0.5f * g[1] + 0.125f * g[3];
    v[0] = g[0];
    v[1] = even1 + odd1, v[2] = even1 - odd1;
    v[3] = even2 + odd2, v[4] = even2 - odd2;
    v[5] = even3 + odd3, v[6] = even3 - odd3;
    v[7] = g[3];
}

// (out, in, 5, 5) -> [point][in][lane out]; turned: of the convolution that takes derivatives of outputs to those of inputs.
template <int B>
void transform_filters(const float* weight, float* transformed, bool turned = false) {
    for (int out = 0; out < B; out++)
        for (int in = 0; in < B; in++)
            for (int i = 0; i < TILE; i++) {
                const float* taps = weight + (turned ? in * B + out : out * B + in) * TAPS;
                double rows[SIDE] = {};
                for (int a = 0; a < SIDE; a++)
                    for (int b = 0; b < SIDE; b++)
                        rows[b] += FILTER[i][a] * taps[turned ? TAPS - 1 - (a * SIDE + b) : a * SIDE + b];
                for (int j = 0; j < TILE; j++) {
                    double sum = 0;
                    for (int b = 0; b < SIDE; b++) sum += rows[b] * FILTER[j][b];
                    transformed[((i * TILE + j) * B + in) * B + out] = static_cast<float>(sum);
                }
            }
}

template <int B, int NUM>
void multiply(const Vec* filter, const Vec* inputs, Vec* products) {  // (NUM, B) by (B, B), all for one point
    constexpr int PARTS = ::PARTS<B>;
    const float* values = reinterpret_cast<const float*>(inputs);
    Vec sums[NUM][PARTS] = {};
    for (int in = 0; in < B; in++, filter += PARTS)
#pragma GCC unroll 32
        for (int tile = 0; tile < NUM; tile++)
            for (int part = 0; part < PARTS; part++) sums[tile][part] += values[tile * B + in] * filter[part];
#pragma GCC unroll 32
    for (int tile = 0; tile < NUM; tile++)
        for (int part = 0; part < PARTS; part++) products[tile * PARTS + part] = sums[tile][part];
}

template <int B>
using Columns = Vec[PARTS<B>][TILE][TILE];  // of a tile, [part][row of the transform][column]

// Transforms tiles first .. first + count - 1 of 8 rows of vectors: [point][tile][part].  Neighbours share 4 columns: those of
// the tile before stay in all_columns.
template <int B>
void transform_tiles(const Vec* const rows[TILE], int first, int count, Columns<B>& all_columns, Vec* inputs) {
    constexpr int PARTS = ::PARTS<B>;
    for (int part = 0; part < PARTS; part++) {
        Vec(&columns)[TILE][TILE] = all_columns[part];
        for (int tile = 0; tile < count; tile++) {
            const int known = first + tile ? TILE - OUT : 0;
            for (int column = 0; column < known; column++)
                for (int i = 0; i < TILE; i++) columns[i][column] = columns[i][column + OUT];
            for (int column = known; column < TILE; column++) {
                Vec pixels[TILE], transformed[TILE];
                for (int i = 0; i < TILE; i++) pixels[i] = rows[i][((first + tile) * OUT + column) * PARTS + part];
                transform_input(pixels, transformed);
                for (int i = 0; i < TILE; i++) columns[i][column] = transformed[i];
            }
            for (int i = 0; i < TILE; i++) {
                Vec transformed[TILE];
                transform_input(columns[i], transformed);
                for (int j = 0; j < TILE; j++) inputs[((i * TILE + j) * RUN + tile) * PARTS + part] = transformed[j];
            }
        }
    }
}

// Convolves 8 rows of vectors into 4, tile by tile; emit(tile, part, its 4x4 vectors row by row).
template <int B, class Emit>
void convolve_band(const Vec* const rows[TILE], int tiles, const Vec* filters, Vec* inputs, Vec* products, Emit emit) {
    constexpr int PARTS = ::PARTS<B>, GROUP = ::GROUP<B>;
    Columns<B> columns;
    for (int first = 0; first < tiles; first += RUN) {
        const int count = std::min(RUN, tiles - first);
        transform_tiles<B>(rows, first, count, columns, inputs);
        for (int point = 0; point < POINTS; point++) {
            const Vec *filter = filters + point * B * PARTS, *from = inputs + point * RUN * PARTS;
            Vec* to = products + point * RUN * PARTS;
            int tile = 0;
            for (; count - tile > GROUP / 2; tile += GROUP) multiply<B, GROUP>(filter, from + tile * PARTS, to + tile * PARTS);
            if (tile < count) multiply<B, GROUP / 2>(filter, from + tile * PARTS, to + tile * PARTS);
        }
        for (int part = 0; part < PARTS; part++)
            for (int tile = 0; tile < count; tile++) {
                Vec half[TILE][OUT], pixels[OUT * OUT];
                for (int i = 0; i < TILE; i++) {
                    Vec row[TILE];
                    for (int j = 0; j < TILE; j++) row[j] = products[((i * TILE + j) * RUN + tile) * PARTS + part];
                    transform_output(row, half[i]);
                }
                for (int j = 0; j < OUT; j++) {
                    Vec column[TILE], transformed[OUT];
                    for (int i = 0; i < TILE; i++) column[i] = half[i][j];
                    transform_output(column, transformed);
                    for (int i = 0; i < OUT; i++) pixels[i * OUT + j] = transformed[i];
                }
                emit(first + tile, part, pixels);
            }
    }
}

}  // namespace
