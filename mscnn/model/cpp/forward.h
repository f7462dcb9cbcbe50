// Forward: three 5x5 convolutions with ReLU and the max-pool, in bands of 4 rows that stay in cache.
#pragma once

#include "winograd.h"

namespace {

constexpr int BLOCK = 256;  // columns of a block, a multiple of the pool; 8 rows of two layers of 16 channels: 280 KiB

template <int B>
struct Filters {  // as the forward pass reads them
    Filters(const Weights& weights, int64_t channels) : first(TAPS * channels * B), second(POINTS * B * B), third(POINTS * B * B) {
        for (int out = 0; out < B; out++)
            for (int64_t in = 0; in < channels; in++)
                for (int tap = 0; tap < TAPS; tap++)
                    first.data[(tap * channels + in) * B + out] = weights.w1[(out * channels + in) * TAPS + tap];
        transform_filters<B>(weights.w2, second.data);
        transform_filters<B>(weights.w3, third.data);
    }
    Buffer first, second, third;  // [tap][in][lane out], and transformed
};

template <int B>
struct Block {  // what a thread holds: the last 8 rows of the field and of two layers, some columns wide
    Block(int64_t channels, int64_t pool)
        : field_width((BLOCK + 2 * MARGIN + RUN) * channels),
          field(8 * field_width), layer1(8 * WIDTH * B), layer2(8 * WIDTH * B),
          inputs(POINTS * RUN * B), products(POINTS * RUN * B),
          best(BLOCK / pool * B), places(BLOCK / pool * B) {}
    static constexpr int64_t WIDTH = BLOCK + 8 + RUN;
    float* field_row(int64_t row) { return field.data + (row & 7) * field_width; }
    Vec* row1(int64_t row) { return layer1.vectors() + (row & 7) * WIDTH * PARTS<B>; }
    Vec* row2(int64_t row) { return layer2.vectors() + (row & 7) * WIDTH * PARTS<B>; }
    int64_t field_width;
    Buffer field, layer1, layer2, inputs, products, best, places;
};

// Zero the vectors of a row that lie outside the field: the row itself, or columns left and right of it.
template <int B>
void blank_outside(Vec* row, int64_t at, int64_t left, int64_t count, const Shape& shape) {
    const bool inside = at >= 0 && at < shape.height;
    const int64_t from = inside ? std::clamp<int64_t>(-left, 0, count) : count;
    const int64_t to = inside ? std::clamp<int64_t>(shape.width - left, 0, count) : count;
    std::fill(row, row + from * PARTS<B>, Vec{});
    std::fill(row + to * PARTS<B>, row + count * PARTS<B>, Vec{});
}

void copy_field_row(const float* field, int64_t at, int64_t left, int64_t count, const Shape& shape, float* to) {
    const int64_t channels = shape.channels;
    std::memset(to, 0, count * channels * sizeof(float));
    if (at < 0 || at >= shape.height) return;
    const int64_t from = std::max<int64_t>(0, -left), end = std::min(count, shape.width - left);
    std::memcpy(to + from * channels, field + (at * shape.width + left + from) * channels,
                (end - from) * channels * sizeof(float));
}

// One row of the first layer from 5 rows of the field.
template <int B>
void convolve_first(Block<B>& block, int64_t at, int64_t count, int64_t channels, const Vec* filters, const float* bias) {
    constexpr int PARTS = ::PARTS<B>, GROUP = ::GROUP<B>;
    Vec* to = block.row1(at);
    for (int64_t start = 0; start < count; start += GROUP) {
        Vec sums[GROUP][PARTS] = {};
        for (int down = 0; down < SIDE; down++) {
            const float* row = block.field_row(at + down - 2) + start * channels;
            for (int64_t along = 0; along < SIDE * channels; along++) {
                const Vec* filter = filters + (down * SIDE * channels + along) * PARTS;
#pragma GCC unroll 32
                for (int pixel = 0; pixel < GROUP; pixel++)
                    for (int part = 0; part < PARTS; part++) sums[pixel][part] += row[pixel * channels + along] * filter[part];
            }
        }
        for (int part = 0; part < PARTS; part++) {
            const Vec own = load(bias + part * LANES);
#pragma GCC unroll 32
            for (int pixel = 0; pixel < GROUP; pixel++) to[(start + pixel) * PARTS + part] = relu(sums[pixel][part] + own);
        }
    }
}

struct Results {  // of one field; active1 and active2, (height, width, B), are null unless they are kept
    float* maxima;
    int32_t* places;
    float *active1, *active2;
};

// Copies the columns left..right-1 of a row of a block, which begins `halo` columns before, to a field of activations.
template <int B>
void keep_row(float* field, const Vec* row, int64_t at, int64_t left, int64_t right, int64_t halo, int64_t width) {
    std::memcpy(field + (at * width + left) * B, row + halo * PARTS<B>, (right - left) * B * sizeof(float));
}

// Rows top..bottom-1 and columns left..right-1 of one field, both multiples of the pool.
template <int B>
void forward_block(const float* field, const Shape& shape, const Filters<B>& filters, const Weights& weights,
                   Block<B>& block, int64_t left, int64_t right, int64_t top, int64_t bottom, const Results& results) {
    constexpr int PARTS = ::PARTS<B>;
    const int64_t windows = (right - left) / shape.pool, count1 = right - left + 8, count2 = right - left + 4;
    Vec* best = block.best.vectors();
    Ints* place = reinterpret_cast<Ints*>(block.places.data);
    int64_t read = top - MARGIN;
    for (int64_t band = top / OUT - 1; band <= bottom / OUT; band++) {  // first layer at 4 band, second at 4 band - 2
        const int64_t row = band * OUT;
        for (; read < row + 6; read++)
            copy_field_row(field, read, left - MARGIN, right - left + 2 * MARGIN, shape, block.field_row(read));
        for (int64_t at = row; at < row + OUT; at++) {
            convolve_first(block, at, count1, shape.channels, filters.first.vectors(), weights.b1);
            blank_outside<B>(block.row1(at), at, left - 4, count1, shape);
            if (results.active1 && at >= top && at < bottom)
                keep_row<B>(results.active1, block.row1(at), at, left, right, 4, shape.width);
        }
        if (row < top) continue;
        const Vec* rows[TILE];
        for (int i = 0; i < TILE; i++) rows[i] = block.row1(row - OUT + i);
        convolve_band<B>(rows, count2 / OUT, filters.second.vectors(), block.inputs.vectors(), block.products.vectors(),
                      [&](int tile, int part, const Vec* pixels) {
            const Vec bias = load(weights.b2 + part * LANES);
            for (int i = 0; i < OUT; i++)
                for (int j = 0; j < OUT; j++)
                    block.row2(row - 2 + i)[(tile * OUT + j) * PARTS + part] = relu(pixels[i * OUT + j] + bias);
        });
        for (int64_t at = row - 2; at < row + 2; at++) {
            blank_outside<B>(block.row2(at), at, left - 2, count2, shape);
            if (results.active2 && at >= top && at < bottom)
                keep_row<B>(results.active2, block.row2(at), at, left, right, 2, shape.width);
        }
        if (row == top) continue;
        const int64_t first = row - OUT;  // third layer
        if (first % shape.pool == 0) {
            std::fill(best, best + windows * PARTS, splat(-__builtin_inff()));
            std::fill(place, place + windows * PARTS, Ints{});
        }
        for (int i = 0; i < TILE; i++) rows[i] = block.row2(first - 2 + i);
        convolve_band<B>(rows, (right - left) / OUT, filters.third.vectors(), block.inputs.vectors(), block.products.vectors(),
                      [&](int tile, int part, const Vec* pixels) {
            const int64_t window = tile * OUT / shape.pool * PARTS + part;
            Vec most = best[window];
            Ints at = place[window];
            for (int i = 0; i < OUT; i++)
                for (int j = 0; j < OUT; j++) {
                    const Vec value = pixels[i * OUT + j];
                    const Ints pixel = Ints{} + static_cast<int32_t>((first + i) * shape.width + left + tile * OUT + j);
                    const Ints better = (value > most) | (value != value);  // NaN stays, as in PyTorch's max-pool
                    most = better ? value : most;
                    at = better ? pixel : at;
                }
            best[window] = most, place[window] = at;
        });
        if (row % shape.pool == 0) {
            const int64_t to = (first / shape.pool * (shape.width / shape.pool) + left / shape.pool) * B;
            for (int64_t at = 0; at < windows * PARTS; at++) {
                store(results.maxima + to + at * LANES, relu(best[at] + load(weights.b3 + at % PARTS * LANES)));
                std::memcpy(results.places + to + at * LANES, place + at, sizeof(Ints));
            }
        }
    }
}

}  // namespace
