// A branch that ends in a max-pool, forward and backward, for AVX-512 and AVX2: what sparse.py computes, as one pass each.
//
// The channels of the branch are one or two vectors of AVX-512, or two or four of AVX2.  Fields are (N, H, W, C), maxima and
// places (N, H/pool, W/pool, B), all contiguous float32 and int32; weights and their gradients are PyTorch's (out, in, 5, 5).
// Threads are those of torch's own OpenMP runtime.  Exercised by `pytest tests/model/test_kernel.py`.

#include "all_pixels.h"
#include "patches.h"

namespace {

// Adds what a thread has summed up, [..][tap][lane ..], to gradients (out, in, 5, 5).
void add_transposed(const float* sums, float* gradient, int64_t outs, int64_t ins, bool lane_is_out) {
    for (int64_t out = 0; out < outs; out++)
        for (int64_t in = 0; in < ins; in++)
            for (int tap = 0; tap < TAPS; tap++)
                gradient[(out * ins + in) * TAPS + tap] +=
                    lane_is_out ? sums[(in * TAPS + tap) * outs + out] : sums[(out * TAPS + tap) * ins + in];
}

void add_biases(const float* biases, int channels, float* const* gradients) {
    for (int layer = 0; layer < 3; layer++)
        for (int out = 0; out < channels; out++) gradients[2 * layer + 1][out] += biases[layer * channels + out];
}

template <int B>
void forward(const Shape& s, const float* fields, const Weights& weights, float* maxima, int32_t* places, float* active1,
             float* active2) {
    if (!s.fields) return;
    const Filters<B> filters(weights, s.channels);
    const int64_t blocks = (s.width + BLOCK - 1) / BLOCK, window_rows = s.height / s.pool;
    const int64_t wanted = 4 * omp_get_max_threads() / (s.fields * blocks) + 1;  // pieces of a column of blocks, for balance
    const int64_t rows = (window_rows + wanted - 1) / wanted, pieces = (window_rows + rows - 1) / rows;
    const int64_t per_field = s.height / s.pool * (s.width / s.pool) * B, pixels = s.height * s.width;
#pragma omp parallel
    {
        Block<B> block(s.channels, s.pool);
#pragma omp for collapse(3) schedule(dynamic)
        for (int64_t field = 0; field < s.fields; field++)
            for (int64_t column = 0; column < blocks; column++)
                for (int64_t piece = 0; piece < pieces; piece++) {
                    const Results results{maxima + field * per_field, places + field * per_field,
                                          active1 ? active1 + field * pixels * B : nullptr,
                                          active2 ? active2 + field * pixels * B : nullptr};
                    forward_block<B>(fields + field * pixels * s.channels, s, filters, weights, block, column * BLOCK,
                                     std::min((column + 1) * BLOCK, s.width), piece * rows * s.pool,
                                     std::min((piece + 1) * rows, window_rows) * s.pool, results);
                }
    }
}

template <int B>
void backward_all_pixels(const Shape& s, const float* fields, const Weights& weights, const float* maxima,
                         const int32_t* places, const float* grads, const float* active1, const float* active2,
                         float* const* gradients) {
    if (!s.fields) return;
    const all_pixels::Layers<B> layers(weights);
    const int most = omp_get_max_threads();
    const int64_t per_field = s.height / s.pool * (s.width / s.pool) * B, pixels = s.height * s.width;
    const int64_t bands = s.height / OUT, wanted = s.fields % most ? most : 1;  // pieces of a field, for balance
    const int64_t rows = (bands + wanted - 1) / wanted, pieces = (bands + rows - 1) / rows;
    std::vector<std::unique_ptr<all_pixels::Sums<B>>> sums(most);
#pragma omp parallel
    {
        auto& own = *(sums[omp_get_thread_num()] = std::make_unique<all_pixels::Sums<B>>(s.channels));
        all_pixels::Band<B> band(s.channels, s.width);
#pragma omp for collapse(2) schedule(static)
        for (int64_t field = 0; field < s.fields; field++)
            for (int64_t piece = 0; piece < pieces; piece++)
                all_pixels::backward_rows<B>(fields + field * pixels * s.channels, s, piece * rows * OUT,
                                             std::min((piece + 1) * rows, bands) * OUT, maxima + field * per_field,
                                             places + field * per_field, grads + field * per_field,
                                             active1 + field * pixels * B, active2 + field * pixels * B, layers, band, own);
    }
    for (const auto& own : sums) {  // in the order of threads: the same sums at each run
        if (!own) continue;
        add_transposed(own->first.data, gradients[0], B, s.channels, true);
        add_transposed(own->third.data, gradients[4], B, B, false);
        add_biases(own->biases.data, B, gradients);
        all_pixels::add_filters<B>(own->second.data, gradients[2]);
    }
}

}  // namespace

extern "C" {

// Maxima after ReLU and their places in the flattened field (row * width + column); also the activations of two layers,
// (N, H, W, B), unless these are null.
void branch_forward(const Shape* shape, const float* fields, const Weights* weights, float* maxima, int32_t* places,
                    float* active1, float* active2) {
    (shape->branch_channels == 16 ? forward<16> : forward<32>)(*shape, fields, *weights, maxima, places, active1, active2);
}

// Gradients of weights and biases, from the derivatives of the maxima; a maximum of 0 passes nothing.
void branch_backward(const Shape* shape, const float* fields, const Weights* weights, const float* maxima,
                     const int32_t* places, const float* grads, const float* active1, const float* active2,
                     float* const* gradients) {
    (shape->branch_channels == 16 ? backward_all_pixels<16> : backward_all_pixels<32>)(
        *shape, fields, *weights, maxima, places, grads, active1, active2, gradients);
}

// The same for 16 channels, from patches around the maxima; needs no activations.
void branch_backward_patches(const Shape* shape, const float* fields, const Weights* weights, const float* maxima,
                             const int32_t* places, const float* grads, float* const* gradients) {
    using namespace patches;
    const Shape s = *shape;
    const patches::Layers layers(*weights, s.channels);
    const int64_t per_field = s.height / s.pool * (s.width / s.pool);
    std::vector<std::unique_ptr<patches::Sums>> sums(omp_get_max_threads());
#pragma omp parallel
    {
        patches::Sums& own = *(sums[omp_get_thread_num()] = std::make_unique<patches::Sums>(s.channels));
        Buffer patch(s.channels * PATCH * PATCH);
#pragma omp for schedule(static)
        for (int64_t window = 0; window < s.fields * per_field; window++) {
            const int32_t* place = places + window * patches::B;
            unsigned left = 0;  // channels that pass a gradient
            for (int out = 0; out < patches::B; out++)
                left |= (!(maxima[window * patches::B + out] <= 0) && grads[window * patches::B + out] != 0) << out;
            while (left) {
                const int32_t at = place[__builtin_ctz(left)];
                unsigned outs = 0;  // those with their maximum there
                for (int out = 0; out < patches::B; out++) outs |= (place[out] == at) << out;
                backward_patch(fields + window / per_field * s.height * s.width * s.channels, s, at / s.width, at % s.width,
                               outs & left, grads + window * patches::B, layers, *weights, patch.data, own);
                left &= ~outs;
            }
        }
    }
    for (const auto& own : sums) {  // in the order of threads: the same sums at each run
        if (!own) continue;
        add_transposed(own->first.data, gradients[0], patches::B, s.channels, true);
        add_transposed(own->second.data, gradients[2], patches::B, patches::B, false);
        add_transposed(own->third.data, gradients[4], patches::B, patches::B, false);
        add_biases(own->biases.data, patches::B, gradients);
    }
}

}  // extern "C"
