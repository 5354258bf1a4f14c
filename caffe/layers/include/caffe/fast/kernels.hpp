#ifndef CAFFE_FAST_KERNELS_HPP_
#define CAFFE_FAST_KERNELS_HPP_

#include <cstddef>
#include <cstdint>

namespace caffe {
namespace fast {

// One thread's work on contiguous floats, by the widest vector unit that the processor has.

/// y = exp(-x)
void ExponentialOfMinus(size_t n, const float* x, float* y);
void Sigmoid(size_t n, const float* x, float* y);
void SigmoidGradient(size_t n, const float* y, const float* dy, float* dx);
void ReLU(size_t n, float slope, const float* x, float* y);
void ReLUGradient(size_t n, float slope, const float* x, const float* dy, float* dx);
/// y = x * mask * scale, as Caffe's dropout
void MaskAndScale(size_t n, const float* x, const unsigned int* mask, float scale, float* y);
/// y += x
void Add(size_t n, const float* x, float* y);
/// One step of gradient descent with momentum and L2 decay: g = scale * diff + decay * data;
/// history = rate * g + momentum * history; diff = history; data -= history.
struct Descent { float scale, decay, rate, momentum; };
void Descend(size_t n, const Descent& step, float* data, float* diff, float* history);
/// Over `channels` rows of a (channels, inner) matrix, for columns first..last-1.
void Softmax(int channels, int inner, int first, int last, const float* x, float* y);
void SoftmaxGradient(int channels, int inner, int first, int last, const float* y, const float* dy, float* dx);

/// Geometry of pooling one block of channels.
struct Pooling {
  int height, width, pooled_height, pooled_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};
/// Maxima of a block of interleaved channels (h, w, channels), for some of the pooled rows, and, unless `mask` is null,
/// where in its window each was found (row by row; 255: nowhere, all was NaN or less than any float).
void MaxPool(const Pooling& p, int channels, int first_row, int last_row, const float* x, float* y, uint8_t* mask);
/// Their gradients, for some rows of the input.
void MaxPoolGradient(const Pooling& p, int channels, int first_row, int last_row, const float* dy, const uint8_t* mask,
    float* dx);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_KERNELS_HPP_
