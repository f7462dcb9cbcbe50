// A branch that ends in a max-pool, forward and backward, for AVX-512 and AVX2: what sparse.py computes, as one pass each.
//
// Forward: three 5x5 convolutions with ReLU and the max-pool, in bands of 4 rows that stay in cache; the two 16 -> 16
// convolutions by Winograd's minimal filtering F(4x4, 5x5) (Winograd 1980; Lavin & Gray, CVPR 2016), which multiplies 64
// times where the direct way multiplies 400 times.  Backward: around each maximum a patch of 13x13 pixels, convolved
// directly (13 -> 9 -> 5 -> 1) and differentiated; channels whose maxima are at one place share its patch, and
// multiplications by activations that ReLU made zero are left out.
//
// The 16 channels of the branch are one vector of AVX-512 or two of AVX2.  Fields are (N, H, W, C), maxima and places
// (N, H/pool, W/pool, 16), all contiguous float32 and int32; weights and their gradients are PyTorch's (out, in, 5, 5).
// Threads are those of torch's own OpenMP runtime.  Exercised by `pytest tests/model/test_kernel.py`.

#include <immintrin.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace {

constexpr int B = 16, SIDE = 5, TAPS = 25;      // channels of the branch; of a filter
constexpr int OUT = 4, TILE = 8, POINTS = 64;   // a Winograd tile reads 8x8 pixels and gives 4x4
constexpr int BLOCK = 256;                      // columns of a block, a multiple of the pool; 8 rows of two layers: 280 KiB
constexpr int MARGIN = 6;                       // three layers reach 6 pixels
constexpr int PATCH = 13, SIDE1 = 9;            // a patch, and what is left of it after one layer; after two: SIDE

// Sums stay in registers: 32 of 16 numbers, or 16 of 8.  GROUP tiles or pixels are summed up at once, a patch ROWS1 x COLUMNS1
// pixels of its first layer and ROWS2 rows of its second, or of a filter; RUN tiles are transformed before they are multiplied.
#ifdef __AVX512F__
constexpr int LANES = 16, GROUP = 22, RUN = 22, ROWS1 = 3, COLUMNS1 = 9, ROWS2 = 5;
#else
constexpr int LANES = 8, GROUP = 6, RUN = 18, ROWS1 = 1, COLUMNS1 = 5, ROWS2 = 1;
#endif
constexpr int PARTS = B / LANES;                // vectors of a pixel

typedef float Vec __attribute__((vector_size(4 * LANES)));
typedef int32_t Ints __attribute__((vector_size(4 * LANES)));

struct Shape {
    int64_t fields, height, width, channels, pool;
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

// ---------------------------------------------------------------- Winograd F(4x4, 5x5) at 0, 1, -1, 2, -2, 1/2, -1/2, infinity

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

// (out, in, 5, 5) -> [point][in][lane out]
void transform_filters(const float* weight, float* transformed) {
    for (int out = 0; out < B; out++)
        for (int in = 0; in < B; in++)
            for (int i = 0; i < TILE; i++) {
                double rows[SIDE] = {};
                for (int a = 0; a < SIDE; a++)
                    for (int b = 0; b < SIDE; b++)
                        rows[b] += FILTER[i][a] * weight[((out * B + in) * SIDE + a) * SIDE + b];
                for (int j = 0; j < TILE; j++) {
                    double sum = 0;
                    for (int b = 0; b < SIDE; b++) sum += rows[b] * FILTER[j][b];
                    transformed[((i * TILE + j) * B + in) * B + out] = static_cast<float>(sum);
                }
            }
}

template <int NUM>
void multiply(const Vec* filter, const Vec* inputs, Vec* products) {  // (NUM, 16) by (16, 16), all for one point
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

// Convolves 8 rows of vectors into 4, tile by tile; emit(tile, part, its 4x4 vectors row by row).
template <class Emit>
void convolve_band(const Vec* const rows[TILE], int tiles, const Vec* filters, Vec* inputs, Vec* products, Emit emit) {
    Vec all_columns[PARTS][TILE][TILE];  // [row of the transform][column of the tile]
    for (int first = 0; first < tiles; first += RUN) {
        const int count = std::min(RUN, tiles - first);
        for (int part = 0; part < PARTS; part++) {
            Vec(&columns)[TILE][TILE] = all_columns[part];
            for (int tile = 0; tile < count; tile++) {
                const int known = first + tile ? TILE - OUT : 0;  // columns shared with the tile before
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
        for (int point = 0; point < POINTS; point++) {
            const Vec *filter = filters + point * B * PARTS, *from = inputs + point * RUN * PARTS;
            Vec* to = products + point * RUN * PARTS;
            int tile = 0;
            for (; count - tile > GROUP / 2; tile += GROUP) multiply<GROUP>(filter, from + tile * PARTS, to + tile * PARTS);
            if (tile < count) multiply<GROUP / 2>(filter, from + tile * PARTS, to + tile * PARTS);
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

// ---------------------------------------------------------------- forward

struct Filters {  // as the forward pass reads them
    Filters(const Weights& weights, int64_t channels) : first(TAPS * channels * B), second(POINTS * B * B), third(POINTS * B * B) {
        for (int out = 0; out < B; out++)
            for (int64_t in = 0; in < channels; in++)
                for (int tap = 0; tap < TAPS; tap++)
                    first.data[(tap * channels + in) * B + out] = weights.w1[(out * channels + in) * TAPS + tap];
        transform_filters(weights.w2, second.data);
        transform_filters(weights.w3, third.data);
    }
    Buffer first, second, third;  // [tap][in][lane out], and transformed
};

struct Block {  // what a thread holds: the last 8 rows of the field and of two layers, some columns wide
    Block(int64_t channels, int64_t pool)
        : field_width((BLOCK + 2 * MARGIN + RUN) * channels),
          field(8 * field_width), layer1(8 * WIDTH * B), layer2(8 * WIDTH * B),
          inputs(POINTS * RUN * B), products(POINTS * RUN * B),
          best(BLOCK / pool * B), places(BLOCK / pool * B) {}
    static constexpr int64_t WIDTH = BLOCK + 8 + RUN;
    float* field_row(int64_t row) { return field.data + (row & 7) * field_width; }
    Vec* row1(int64_t row) { return layer1.vectors() + (row & 7) * WIDTH * PARTS; }
    Vec* row2(int64_t row) { return layer2.vectors() + (row & 7) * WIDTH * PARTS; }
    int64_t field_width;
    Buffer field, layer1, layer2, inputs, products, best, places;
};

// Zero the vectors of a row that lie outside the field: the row itself, or columns left and right of it.
void blank_outside(Vec* row, int64_t at, int64_t left, int64_t count, const Shape& shape) {
    const bool inside = at >= 0 && at < shape.height;
    const int64_t from = inside ? std::clamp<int64_t>(-left, 0, count) : count;
    const int64_t to = inside ? std::clamp<int64_t>(shape.width - left, 0, count) : count;
    std::fill(row, row + from * PARTS, Vec{});
    std::fill(row + to * PARTS, row + count * PARTS, Vec{});
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
void convolve_first(Block& block, int64_t at, int64_t count, int64_t channels, const Vec* filters, const float* bias) {
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

// Rows top..bottom-1 and columns left..right-1 of one field, both multiples of the pool.
void forward_block(const float* field, const Shape& shape, const Filters& filters, const Weights& weights, Block& block,
                   int64_t left, int64_t right, int64_t top, int64_t bottom, float* maxima, int32_t* places) {
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
            blank_outside(block.row1(at), at, left - 4, count1, shape);
        }
        if (row < top) continue;
        const Vec* rows[TILE];
        for (int i = 0; i < TILE; i++) rows[i] = block.row1(row - OUT + i);
        convolve_band(rows, count2 / OUT, filters.second.vectors(), block.inputs.vectors(), block.products.vectors(),
                      [&](int tile, int part, const Vec* pixels) {
            const Vec bias = load(weights.b2 + part * LANES);
            for (int i = 0; i < OUT; i++)
                for (int j = 0; j < OUT; j++)
                    block.row2(row - 2 + i)[(tile * OUT + j) * PARTS + part] = relu(pixels[i * OUT + j] + bias);
        });
        for (int64_t at = row - 2; at < row + 2; at++) blank_outside(block.row2(at), at, left - 2, count2, shape);
        if (row == top) continue;
        const int64_t first = row - OUT;  // third layer
        if (first % shape.pool == 0) {
            std::fill(best, best + windows * PARTS, splat(-__builtin_inff()));
            std::fill(place, place + windows * PARTS, Ints{});
        }
        for (int i = 0; i < TILE; i++) rows[i] = block.row2(first - 2 + i);
        convolve_band(rows, (right - left) / OUT, filters.third.vectors(), block.inputs.vectors(), block.products.vectors(),
                      [&](int tile, int part, const Vec* pixels) {
            const int64_t window = tile * OUT / shape.pool * PARTS + part;
            Vec most = best[window];
            Ints at = place[window];
            for (int i = 0; i < OUT; i++)
                for (int j = 0; j < OUT; j++) {
                    const Vec value = pixels[i * OUT + j];
                    const Ints pixel = Ints{} + static_cast<int32_t>((first + i) * shape.width + left + tile * OUT + j);
                    const Ints better = value > most | value != value;  // NaN stays, as in PyTorch's max-pool
                    most = better ? value : most;
                    at = better ? pixel : at;
                }
            best[window] = most, place[window] = at;
        });
        if (row % shape.pool == 0) {
            const int64_t to = (first / shape.pool * (shape.width / shape.pool) + left / shape.pool) * B;
            for (int64_t at = 0; at < windows * PARTS; at++) {
                store(maxima + to + at * LANES, relu(best[at] + load(weights.b3 + at % PARTS * LANES)));
                std::memcpy(places + to + at * LANES, place + at, sizeof(Ints));
            }
        }
    }
}

// ---------------------------------------------------------------- backward

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

}  // namespace

extern "C" {

// Maxima after ReLU and their places in the flattened field (row * width + column).
void sparse_forward(const Shape* shape, const float* fields, const Weights* weights, float* maxima, int32_t* places) {
    const Shape s = *shape;
    if (!s.fields) return;
    const Filters filters(*weights, s.channels);
    const int64_t blocks = (s.width + BLOCK - 1) / BLOCK, window_rows = s.height / s.pool;
    const int64_t wanted = 4 * omp_get_max_threads() / (s.fields * blocks) + 1;  // pieces of a column of blocks, for balance
    const int64_t rows = (window_rows + wanted - 1) / wanted, pieces = (window_rows + rows - 1) / rows;
    const int64_t per_field = s.height / s.pool * (s.width / s.pool) * B;
#pragma omp parallel
    {
        Block block(s.channels, s.pool);
#pragma omp for collapse(3) schedule(dynamic)
        for (int64_t field = 0; field < s.fields; field++)
            for (int64_t column = 0; column < blocks; column++)
                for (int64_t piece = 0; piece < pieces; piece++)
                    forward_block(fields + field * s.height * s.width * s.channels, s, filters, *weights, block,
                                  column * BLOCK, std::min((column + 1) * BLOCK, s.width), piece * rows * s.pool,
                                  std::min((piece + 1) * rows, window_rows) * s.pool, maxima + field * per_field,
                                  places + field * per_field);
    }
}

// Gradients of weights and biases, from the derivatives of the maxima; a maximum of 0 passes nothing.
void sparse_backward(const Shape* shape, const float* fields, const Weights* weights, const float* maxima,
                     const int32_t* places, const float* grads, float* const* gradients) {
    const Shape s = *shape;
    const Layers layers(*weights, s.channels);
    const int64_t per_field = s.height / s.pool * (s.width / s.pool);
    const int most = omp_get_max_threads();
    std::unique_ptr<std::unique_ptr<Sums>[]> sums(new std::unique_ptr<Sums>[most]);
#pragma omp parallel
    {
        Sums& own = *(sums[omp_get_thread_num()] = std::make_unique<Sums>(s.channels));
        Buffer patch(s.channels * PATCH * PATCH);
#pragma omp for schedule(static)
        for (int64_t window = 0; window < s.fields * per_field; window++) {
            const int32_t* place = places + window * B;
            unsigned left = 0;  // channels that pass a gradient
            for (int out = 0; out < B; out++)
                left |= (!(maxima[window * B + out] <= 0) && grads[window * B + out] != 0) << out;
            while (left) {
                const int32_t at = place[__builtin_ctz(left)];
                unsigned outs = 0;  // those with their maximum there
                for (int out = 0; out < B; out++) outs |= (place[out] == at) << out;
                backward_patch(fields + window / per_field * s.height * s.width * s.channels, s, at / s.width, at % s.width,
                               outs & left, grads + window * B, layers, *weights, patch.data, own);
                left &= ~outs;
            }
        }
    }
    for (int thread = 0; thread < most; thread++) {  // in the order of threads: the same sums at each run
        if (!sums[thread]) continue;
        const Sums& own = *sums[thread];
        for (int out = 0; out < B; out++)
            for (int tap = 0; tap < TAPS; tap++) {
                for (int64_t in = 0; in < s.channels; in++)
                    gradients[0][(out * s.channels + in) * TAPS + tap] += own.first.data[(in * TAPS + tap) * B + out];
                for (int in = 0; in < B; in++) {
                    gradients[2][(out * B + in) * TAPS + tap] += own.second.data[(out * TAPS + tap) * B + in];
                    gradients[4][(out * B + in) * TAPS + tap] += own.third.data[(out * TAPS + tap) * B + in];
                }
            }
        for (int layer = 0; layer < 3; layer++)
            for (int out = 0; out < B; out++) gradients[2 * layer + 1][out] += own.biases.data[layer * B + out];
    }
}

}  // extern "C"
