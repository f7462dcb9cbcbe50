// Backward by patches, for 16 channels: around each maximum a patch of 13x13 pixels, convolved directly (13 -> 9 -> 5 -> 1)
// and differentiated.  Channels whose maxima are at one place share its patch, and multiplications by activations that ReLU
// made zero are left out.
#pragma once

#include "vectors.h"

namespace {
namespace patches {

constexpr int B = 16, PARTS = ::PARTS<B>;
constexpr int PATCH = 13, SIDE1 = 9;            // a patch, and what is left of it after one layer; after two: SIDE

// A patch sums up ROWS1 x COLUMNS1 pixels of its first layer at once, and ROWS2 rows of its second, or of a filter.
#ifdef __AVX512F__
constexpr int ROWS1 = 3, COLUMNS1 = 9, ROWS2 = 5;
#else
constexpr int ROWS1 = 1, COLUMNS1 = 5, ROWS2 = 1;
#endif

struct Layers {  // as the backward pass reads them
    Layers(const Weights& weights, int64_t channels)
        : first(channels * TAPS * B), second(TAPS * B * B), second_turned(B * TAPS * B), third(B * TAPS * B) {
        for (int64_t in = 0; in < channels; in++)
            for (int tap = 0; tap < TAPS; tap++) offsets1.push_back((in * PATCH + tap / SIDE) * PATCH + tap % SIDE);
        for (int tap = 0; tap < TAPS; tap++)
            for (int in = 0; in < B; in++) offsets2.push_back((tap / SIDE * SIDE1 + tap % SIDE) * B + in);
        for (int out = 0; out < B; out++)
            for (int tap = 0; tap < TAPS; tap++) {
                for (int64_t in = 0; in < channels; in++)
                    first.data[(in * TAPS + tap) * B + out] = weights.w1[(out * channels + in) * TAPS + tap];
                for (int in = 0; in < B; in++) {
                    const float weight = weights.w2[(out * B + in) * TAPS + tap];
                    second.data[(tap * B + in) * B + out] = weight;
                    second_turned.data[(out * TAPS + tap) * B + in] = weight;
                    third.data[(out * TAPS + tap) * B + in] = weights.w3[(out * B + in) * TAPS + tap];
                }
            }
    }
    // [in][tap][lane out], [tap][in][lane out], [out][tap][lane in], [out][tap][lane in]
    Buffer first, second, second_turned, third;
    std::vector<int32_t> offsets1, offsets2;  // where the inputs of pixel 0 lie, in the order of first and of second
};

struct Sums {  // gradients that a thread adds up: [in][tap][lane out], [out][tap][lane in], [out][tap][lane in], biases
    explicit Sums(int64_t channels) : first(channels * TAPS * B), second(B * TAPS * B), third(B * TAPS * B), biases(3 * B) {}
    Buffer first, second, third, biases;
};

// The pixels around one of the field, [channel][13][13], zero outside the field.
void copy_patch(const float* field, int64_t row, int64_t column, const Shape& shape, float* patch) {
    const int64_t channels = shape.channels;
    for (int i = 0; i < PATCH; i++) {
        const int64_t at = row - MARGIN + i;
        for (int j = 0; j < PATCH; j++) {
            const int64_t along = column - MARGIN + j;
            const bool inside = at >= 0 && at < shape.height && along >= 0 && along < shape.width;
            const float* pixel = field + (at * shape.width + along) * channels;
            for (int64_t channel = 0; channel < channels; channel++)
                patch[(channel * PATCH + i) * PATCH + j] = inside ? pixel[channel] : 0.f;
        }
    }
}

// Activations beyond the field are zero, not what the filters would make of zeros.
template <int WIDTH>
void blank_patch(Vec* activations, int64_t row, int64_t column, const Shape& shape) {
    for (int q = 0; q < WIDTH * WIDTH; q++) {
        const int64_t at = row - WIDTH / 2 + q / WIDTH, along = column - WIDTH / 2 + q % WIDTH;
        if (at < 0 || at >= shape.height || along < 0 || along >= shape.width)
            std::fill(activations + q * PARTS, activations + (q + 1) * PARTS, Vec{});
    }
}

// ROWS x COLUMNS pixels of a layer WIDTH wide from one that is wider by 4, whose pixels are STRIDE numbers apart; those of
// the first pixel's inputs lie at the offsets, one for each filter vector of 16.
template <int ROWS, int COLUMNS, int WIDTH, int STRIDE>
void convolve_patch(const float* from, const std::vector<int32_t>& offsets, const Vec* filters, const float* bias, Vec* to) {
    Vec sums[ROWS * COLUMNS][PARTS] = {};
    for (const int32_t offset : offsets) {
#pragma GCC unroll 32
        for (int q = 0; q < ROWS * COLUMNS; q++)
            for (int part = 0; part < PARTS; part++)
                sums[q][part] += from[offset + (q / COLUMNS * (WIDTH + 4) + q % COLUMNS) * STRIDE] * filters[part];
        filters += PARTS;
    }
    for (int part = 0; part < PARTS; part++) {
        const Vec own = load(bias + part * LANES);
#pragma GCC unroll 32
        for (int q = 0; q < ROWS * COLUMNS; q++)
            to[(q / COLUMNS * WIDTH + q % COLUMNS) * PARTS + part] = relu(sums[q][part] + own);
    }
}

// Adds factor times ROWS2 rows of a 5x5 filter or of the pixels around one, for each number that is not zero; the sums, with
// `width` pixels a row, stay in registers meanwhile.  term(bit) gives {factor, row of vectors}, rows being from_width apart.
template <class Term>
void add_rows(Vec* sums, int width, unsigned alive, int from_width, Term term) {
    Vec values[ROWS2 * SIDE][PARTS];
#pragma GCC unroll 32
    for (int tap = 0; tap < ROWS2 * SIDE; tap++)
        for (int part = 0; part < PARTS; part++) values[tap][part] = sums[(tap / SIDE * width + tap % SIDE) * PARTS + part];
    for (; alive; alive &= alive - 1) {
        const auto [factor, from] = term(__builtin_ctz(alive));
#pragma GCC unroll 32
        for (int tap = 0; tap < ROWS2 * SIDE; tap++)
            for (int part = 0; part < PARTS; part++)
                values[tap][part] += factor * from[(tap / SIDE * from_width + tap % SIDE) * PARTS + part];
    }
#pragma GCC unroll 32
    for (int tap = 0; tap < ROWS2 * SIDE; tap++)
        for (int part = 0; part < PARTS; part++) sums[(tap / SIDE * width + tap % SIDE) * PARTS + part] = values[tap][part];
}

// Adds the gradients that derivatives `grads` of the values at (row, column) in the channels `outs` (bits) bring.
void backward_patch(const float* field, const Shape& shape, int64_t row, int64_t column, unsigned outs, const float* grads,
                    const Layers& layers, const Weights& weights, float* patch, Sums& sums) {
    const bool at_border = row < MARGIN || column < MARGIN || row + MARGIN >= shape.height || column + MARGIN >= shape.width;
    copy_patch(field, row, column, shape, patch);

    Vec active1[SIDE1 * SIDE1 * PARTS];  // 9x9
    for (int at = 0; at < SIDE1; at += ROWS1) {
        const float* from = patch + at * PATCH;
        Vec* to = active1 + at * SIDE1 * PARTS;
        convolve_patch<ROWS1, COLUMNS1, SIDE1, 1>(from, layers.offsets1, layers.first.vectors(), weights.b1, to);
        if constexpr (COLUMNS1 < SIDE1)
            convolve_patch<ROWS1, SIDE1 - COLUMNS1, SIDE1, 1>(from + COLUMNS1, layers.offsets1, layers.first.vectors(),
                                                              weights.b1, to + COLUMNS1 * PARTS);
    }
    if (at_border) blank_patch<SIDE1>(active1, row, column, shape);

    Vec active2[TAPS * PARTS];  // 5x5
    for (int at = 0; at < SIDE; at += ROWS2)
        convolve_patch<ROWS2, SIDE, SIDE, B>(reinterpret_cast<const float*>(active1 + at * SIDE1 * PARTS), layers.offsets2,
                                             layers.second.vectors(), weights.b2, active2 + at * SIDE * PARTS);
    if (at_border) blank_patch<SIDE>(active2, row, column, shape);

    Vec grad2[TAPS * PARTS] = {};
    for (; outs; outs &= outs - 1) {
        const int out = __builtin_ctz(outs);
        Vec* sum3 = sums.third.vectors() + out * TAPS * PARTS;
        const Vec* filter3 = layers.third.vectors() + out * TAPS * PARTS;
        for (int q = 0; q < TAPS * PARTS; q++) {
            sum3[q] += grads[out] * active2[q];
            grad2[q] += grads[out] * filter3[q];
        }
        sums.biases.data[2 * B + out] += grads[out];
    }
    unsigned alive[TAPS] = {}, alive_at[B] = {};  // by pixel, by channel: a bit for each derivative that is not zero
    for (int q = 0; q < TAPS; q++) {
        for (int part = 0; part < PARTS; part++) {
            Vec& grad = grad2[q * PARTS + part];
            grad = where_positive(active2[q * PARTS + part], grad);
            sums.biases.vectors()[PARTS + part] += grad;
            alive[q] |= nonzero(grad) << part * LANES;
        }
        for (int channel = 0; channel < B; channel++) alive_at[channel] |= (alive[q] >> channel & 1) << q;
    }
    const float* factors = reinterpret_cast<const float*>(grad2);

    Vec grad1[SIDE1 * SIDE1 * PARTS] = {};
    for (int q = 0; q < TAPS; q++)
        for (int at = 0; at < SIDE; at += ROWS2)
            add_rows(grad1 + ((q / SIDE + at) * SIDE1 + q % SIDE) * PARTS, SIDE1, alive[q], SIDE, [&](int channel) {
                return std::pair(factors[q * B + channel],
                                 layers.second_turned.vectors() + (channel * TAPS + at * SIDE) * PARTS);
            });
    for (int channel = 0; channel < B; channel++)
        for (int at = 0; at < SIDE; at += ROWS2)
            add_rows(sums.second.vectors() + (channel * TAPS + at * SIDE) * PARTS, SIDE, alive_at[channel], SIDE1, [&](int q) {
                return std::pair(factors[q * B + channel], active1 + ((q / SIDE + at) * SIDE1 + q % SIDE) * PARTS);
            });

    for (int q = 0; q < SIDE1 * SIDE1; q++)
        for (int part = 0; part < PARTS; part++) {
            Vec& grad = grad1[q * PARTS + part];
            grad = where_positive(active1[q * PARTS + part], grad);
            sums.biases.vectors()[part] += grad;
        }
    for (int64_t in = 0; in < shape.channels; in++)
        for (int at = 0; at < SIDE; at += ROWS2) {
            Vec *sum1 = sums.first.vectors() + (in * TAPS + at * SIDE) * PARTS, values[ROWS2 * SIDE][PARTS] = {};
            for (int q = 0; q < SIDE1 * SIDE1; q++) {
                const float* pixels = patch + (in * PATCH + q / SIDE1 + at) * PATCH + q % SIDE1;
#pragma GCC unroll 32
                for (int tap = 0; tap < ROWS2 * SIDE; tap++)
                    for (int part = 0; part < PARTS; part++)
                        values[tap][part] += pixels[tap / SIDE * PATCH + tap % SIDE] * grad1[q * PARTS + part];
            }
            for (int tap = 0; tap < ROWS2 * SIDE; tap++)
                for (int part = 0; part < PARTS; part++) sum1[tap * PARTS + part] += values[tap][part];
        }
}

}  // namespace patches
}  // namespace
