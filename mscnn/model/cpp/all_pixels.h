// Backward over all pixels, from the activations that the forward pass kept: the last layer from its maxima alone, the second
// by Winograd's filtering, for derivatives of activations and of weights, the first directly.  Bands of 4 rows.
#pragma once

#include "forward.h"

namespace {
namespace all_pixels {

#ifdef __AVX512F__
constexpr int TAP_ROWS = 5;     // rows of a filter that are summed up at once
constexpr int PRODUCTS = 16;    // sums of derivatives of transformed weights that stay in registers
#else
constexpr int TAP_ROWS = 1;
constexpr int PRODUCTS = 8;
#endif
constexpr int TERMS = 64;       // tiles whose products are summed up before they are added to the sum of all

struct Maximum {  // one that passes a gradient
    int32_t column, out;
    float grad;
};

template <int B>
struct Layers {  // filters as the backward pass reads them: [point][out][lane in] of the second, [out][tap][lane in] of the third
    explicit Layers(const Weights& weights) : second(POINTS * B * B), third(B * TAPS * B) {
        transform_filters<B>(weights.w2, second.data, true);
        for (int out = 0; out < B; out++)
            for (int tap = 0; tap < TAPS; tap++)
                for (int in = 0; in < B; in++) third.data[(out * TAPS + tap) * B + in] = weights.w3[(out * B + in) * TAPS + tap];
    }
    Buffer second, third;
};

template <int B>
struct Sums {  // what a thread adds up: [in][tap][lane out], [point][in][lane out], [out][tap][lane in], biases
    explicit Sums(int64_t channels)
        : first(channels * TAPS * B), second(POINTS * B * B), recent(POINTS * B * B), third(B * TAPS * B), biases(3 * B) {}
    // One long sum in float32 would round off too much: its terms are much larger than the gradient that they leave.
    void take_recent() {
        terms = 0;
        for (int64_t at = 0; at < POINTS * B * PARTS<B>; at++) {
            second.vectors()[at] += recent.vectors()[at];
            recent.vectors()[at] = Vec{};
        }
    }
    Buffer first, second, recent, third, biases;
    int64_t terms = 0;  // of recent
};

template <int B>
struct Band {  // what a thread holds: 8 rows of the field, of activations and of derivatives, with 2 columns around them
    Band(int64_t channels, int64_t width)
        : width(width), field_width((width + 4) * channels), field(8 * field_width), active1(8 * (width + 4) * B),
          grad2(8 * (width + 4) * B), grad1(OUT * width * B), inputs(POINTS * RUN * B), products(POINTS * RUN * B) {}
    float* field_row(int64_t row) { return field.data + (row & 7) * field_width; }
    Vec* active1_row(int64_t row) { return active1.vectors() + (row & 7) * (width + 4) * PARTS<B>; }
    Vec* grad2_row(int64_t row) { return grad2.vectors() + (row & 7) * (width + 4) * PARTS<B>; }
    int64_t width, field_width;
    Buffer field, active1, grad2, grad1, inputs, products;
};

// The maxima of one field that pass a gradient, by row, for rows top - 4 .. bottom + 3.
template <int B>
std::vector<std::vector<Maximum>> by_row(const Shape& shape, int64_t top, int64_t bottom, const float* maxima,
                                         const int32_t* places, const float* grads) {
    std::vector<std::vector<Maximum>> found(bottom - top + 8);
    const int64_t columns = shape.width / shape.pool;
    const int64_t from = std::max<int64_t>(top - 4, 0) / shape.pool;
    const int64_t to = (std::min(bottom + 4, shape.height) + shape.pool - 1) / shape.pool;
    for (int64_t at = from * columns * B; at < to * columns * B; at++) {
        if (maxima[at] <= 0 || grads[at] == 0) continue;  // NaN passes
        const int64_t row = places[at] / shape.width - (top - 4);
        if (row >= 0 && row < static_cast<int64_t>(found.size()))
            found[row].push_back({static_cast<int32_t>(places[at] % shape.width), static_cast<int32_t>(at % B), grads[at]});
    }
    return found;
}

// Derivatives of one row of the second layer's activations, from the maxima 2 rows up and down.
template <int B>
void second_row(Band<B>& band, int64_t row, const Shape& shape, const std::vector<Maximum>* const near[SIDE],
                const Layers<B>& layers, const float* active2) {
    constexpr int PARTS = ::PARTS<B>;
    Vec* grad = band.grad2_row(row);
    std::fill(grad, grad + (shape.width + 4) * PARTS, Vec{});
    if (row < 0 || row >= shape.height) return;
    for (int down = 0; down < SIDE; down++)  // a maximum `down` - 2 rows below sees this row by its tap row 4 - down
        for (const Maximum& maximum : *near[down]) {
            const Vec* filter = layers.third.vectors() + (maximum.out * TAPS + (SIDE - 1 - down) * SIDE) * PARTS;
            Vec* to = grad + maximum.column * PARTS;  // 2 columns left of it
            for (int at = 0; at < SIDE * PARTS; at++) to[at] += maximum.grad * filter[at];
        }
    std::fill(grad, grad + 2 * PARTS, Vec{});
    std::fill(grad + (shape.width + 2) * PARTS, grad + (shape.width + 4) * PARTS, Vec{});
    const float* active = active2 + row * shape.width * B;
    for (int64_t at = 0; at < shape.width * PARTS; at++)
        grad[2 * PARTS + at] = where_positive(load(active + at * LANES), grad[2 * PARTS + at]);
}

// Adds the derivatives of the third layer's weights and biases that the maxima of a row bring.
template <int B>
void add_third(const std::vector<Maximum>& maxima, int64_t row, const Shape& shape, const float* active2, Sums<B>& sums) {
    constexpr int PARTS = ::PARTS<B>;
    const int64_t top = std::max<int64_t>(0, 2 - row), bottom = std::min<int64_t>(SIDE, shape.height + 2 - row);
    for (const Maximum& maximum : maxima) {
        const int64_t left = std::max<int64_t>(0, 2 - maximum.column);
        const int64_t right = std::min<int64_t>(SIDE, shape.width + 2 - maximum.column);
        for (int64_t down = top; down < bottom; down++) {
            const float* active = active2 + ((row + down - 2) * shape.width + maximum.column - 2) * B;
            Vec* sum = sums.third.vectors() + (maximum.out * TAPS + down * SIDE) * PARTS;
            for (int64_t at = left * PARTS; at < right * PARTS; at++) sum[at] += maximum.grad * load(active + at * LANES);
        }
        sums.biases.data[2 * B + maximum.out] += maximum.grad;
    }
}

template <int B>
void copy_active1_row(Band<B>& band, int64_t row, const Shape& shape, const float* active1) {
    Vec* to = band.active1_row(row);
    std::fill(to, to + (shape.width + 4) * PARTS<B>, Vec{});
    if (row >= 0 && row < shape.height)
        std::memcpy(to + 2 * PARTS<B>, active1 + row * shape.width * B, shape.width * B * sizeof(float));
}

// Adds the derivatives of the second layer's transformed weights for 4 rows: inputs of a tile times its outputs' derivatives.
template <int B>
void add_second(Band<B>& band, int64_t row, Sums<B>& sums) {
    constexpr int PARTS = ::PARTS<B>, INS = PRODUCTS / PARTS;
    const Vec *actives[TILE], *grads[OUT];
    for (int i = 0; i < TILE; i++) actives[i] = band.active1_row(row - 2 + i);
    for (int i = 0; i < OUT; i++) grads[i] = band.grad2_row(row + i) + 2 * PARTS;
    Vec *inputs = band.inputs.vectors(), *spread = band.products.vectors();
    Columns<B> columns;
    const int tiles = static_cast<int>(band.width / OUT);
    for (int first = 0; first < tiles; first += RUN) {
        const int count = std::min(RUN, tiles - first);
        transform_tiles<B>(actives, first, count, columns, inputs);
        for (int part = 0; part < PARTS; part++)
            for (int tile = 0; tile < count; tile++) {
                Vec half[OUT][TILE], all[TILE];
                for (int i = 0; i < OUT; i++) {
                    Vec pixels[OUT];
                    for (int j = 0; j < OUT; j++) pixels[j] = grads[i][((first + tile) * OUT + j) * PARTS + part];
                    spread_output(pixels, half[i]);
                }
                for (int j = 0; j < TILE; j++) {
                    const Vec column[OUT] = {half[0][j], half[1][j], half[2][j], half[3][j]};
                    spread_output(column, all);
                    for (int i = 0; i < TILE; i++) spread[((i * TILE + j) * RUN + tile) * PARTS + part] = all[i];
                }
            }
        for (int point = 0; point < POINTS; point++) {
            const float* values = reinterpret_cast<const float*>(inputs + point * RUN * PARTS);
            const Vec* others = spread + point * RUN * PARTS;
            for (int in = 0; in < B; in += INS) {
                Vec* to = sums.recent.vectors() + (point * B + in) * PARTS;
                Vec own[INS][PARTS];
#pragma GCC unroll 16
                for (int k = 0; k < INS; k++)
                    for (int part = 0; part < PARTS; part++) own[k][part] = to[k * PARTS + part];
                for (int tile = 0; tile < count; tile++)
#pragma GCC unroll 16
                    for (int k = 0; k < INS; k++)
                        for (int part = 0; part < PARTS; part++)
                            own[k][part] += values[tile * B + in + k] * others[tile * PARTS + part];
#pragma GCC unroll 16
                for (int k = 0; k < INS; k++)
                    for (int part = 0; part < PARTS; part++) to[k * PARTS + part] = own[k][part];
            }
        }
    }
}

// Derivatives of the first layer's activations for 4 rows, and of its biases.
template <int B>
void first_rows(Band<B>& band, int64_t row, const Layers<B>& layers, Sums<B>& sums) {
    constexpr int PARTS = ::PARTS<B>;
    const Vec* rows[TILE];
    for (int i = 0; i < TILE; i++) rows[i] = band.grad2_row(row - 2 + i);
    Vec *grad1 = band.grad1.vectors(), bias[PARTS] = {};
    convolve_band<B>(rows, static_cast<int>(band.width / OUT), layers.second.vectors(), band.inputs.vectors(),
                     band.products.vectors(), [&](int tile, int part, const Vec* pixels) {
        for (int i = 0; i < OUT; i++) {
            const Vec* active = band.active1_row(row + i) + 2 * PARTS;
            for (int j = 0; j < OUT; j++) {
                const int64_t at = (tile * OUT + j) * PARTS + part;
                const Vec grad = where_positive(active[at], pixels[i * OUT + j]);
                grad1[i * band.width * PARTS + at] = grad;
                bias[part] += grad;
            }
        }
    });
    for (int part = 0; part < PARTS; part++) sums.biases.vectors()[part] += bias[part];
}

// Adds the derivatives of the first layer's weights for 4 rows.
template <int B>
void add_first(Band<B>& band, int64_t row, int64_t channels, Sums<B>& sums) {
    constexpr int PARTS = ::PARTS<B>;
    for (int i = 0; i < OUT; i++)
        for (int part = 0; part < PARTS; part++)
            for (int64_t in = 0; in < channels; in++)
                for (int down = 0; down < SIDE; down += TAP_ROWS) {
                    Vec* sum = sums.first.vectors() + (in * TAPS + down * SIDE) * PARTS + part;
                    const Vec* grad = band.grad1.vectors() + i * band.width * PARTS + part;
                    const float* rows[TAP_ROWS];
                    for (int k = 0; k < TAP_ROWS; k++) rows[k] = band.field_row(row + i + down + k - 2) + in;
                    Vec own[TAP_ROWS * SIDE] = {};
                    for (int64_t column = 0; column < band.width; column++)
#pragma GCC unroll 32
                        for (int tap = 0; tap < TAP_ROWS * SIDE; tap++)
                            own[tap] += rows[tap / SIDE][(column + tap % SIDE) * channels] * grad[column * PARTS];
#pragma GCC unroll 32
                    for (int tap = 0; tap < TAP_ROWS * SIDE; tap++) sum[tap * PARTS] += own[tap];
                }
}

// Rows top..bottom-1 of one field, multiples of 4.
template <int B>
void backward_rows(const float* field, const Shape& shape, int64_t top, int64_t bottom, const float* maxima,
                   const int32_t* places, const float* grads, const float* active1, const float* active2,
                   const Layers<B>& layers, Band<B>& band, Sums<B>& sums) {
    constexpr int PARTS = ::PARTS<B>;
    const auto found = by_row<B>(shape, top, bottom, maxima, places, grads);
    int64_t read = top - 2;
    for (int64_t row = top; row < bottom; row += OUT) {
        for (; read < row + 6; read++) {
            const std::vector<Maximum>* near[SIDE];
            for (int down = 0; down < SIDE; down++) near[down] = &found[read + down - 2 - (top - 4)];
            second_row<B>(band, read, shape, near, layers, active2);
            copy_active1_row<B>(band, read, shape, active1);
            copy_field_row(field, read, -2, shape.width + 4, shape, band.field_row(read));
        }
        for (int64_t at = row; at < row + OUT; at++) {
            add_third<B>(found[at - (top - 4)], at, shape, active2, sums);
            const Vec* grad = band.grad2_row(at) + 2 * PARTS;
            Vec bias[PARTS] = {};
            for (int64_t column = 0; column < shape.width; column++)
                for (int part = 0; part < PARTS; part++) bias[part] += grad[column * PARTS + part];
            for (int part = 0; part < PARTS; part++) sums.biases.vectors()[PARTS + part] += bias[part];
        }
        add_second<B>(band, row, sums);
        if ((sums.terms += shape.width / OUT) >= TERMS) sums.take_recent();
        first_rows<B>(band, row, layers, sums);
        add_first<B>(band, row, shape.channels, sums);
    }
    sums.take_recent();
}

// Adds the derivatives of weights (out, in, 5, 5) from those of transformed weights [point][in][lane out]: FILTER' sums FILTER.
template <int B>
void add_filters(const float* sums, float* gradient) {
    for (int in = 0; in < B; in++) {
        double half[TILE][SIDE][B] = {};
        for (int i = 0; i < TILE; i++)
            for (int j = 0; j < TILE; j++)
                for (int b = 0; b < SIDE; b++)
                    for (int out = 0; out < B; out++)
                        half[i][b][out] += FILTER[j][b] * sums[((i * TILE + j) * B + in) * B + out];
        for (int a = 0; a < SIDE; a++)
            for (int b = 0; b < SIDE; b++) {
                double whole[B] = {};
                for (int i = 0; i < TILE; i++)
                    for (int out = 0; out < B; out++) whole[out] += FILTER[i][a] * half[i][b][out];
                for (int out = 0; out < B; out++)
                    gradient[((out * B + in) * SIDE + a) * SIDE + b] += static_cast<float>(whole[out]);
            }
    }
}

}  // namespace all_pixels
}  // namespace
