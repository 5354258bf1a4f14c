#ifndef CAFFE_FAST_KERNELS_HPP_
#define CAFFE_FAST_KERNELS_HPP_

#include <cstddef>
#include <cstdint>

namespace caffe {
namespace fast {

// Each of the following functions does the work of one thread on contiguous floats, with the processor's widest vector
// unit.

/// y = exp(-x)
void ExponentialOfMinus(size_t n, const float* x, float* y);
void Sigmoid(size_t n, const float* x, float* y);
void SigmoidGradient(size_t n, const float* y, const float* dy, float* dx);
void ReLU(size_t n, float slope, const float* x, float* y);
void ReLUGradient(size_t n, float slope, const float* x, const float* dy, float* dx);
/// Caffe's dropout: y = x * mask * scale
void MaskAndScale(size_t n, const float* x, const unsigned int* mask, float scale, float* y);
/// y += x
void Add(size_t n, const float* x, float* y);
/// The factors of Descend.
struct Descent { float scale, decay, rate, momentum; };
/// A step of gradient descent with momentum and L2 decay: g = scale * diff + decay * data;
/// history = rate * g + momentum * history; diff = history; data -= history.
void Descend(size_t n, const Descent& step, float* data, float* diff, float* history);
/// Softmax over the rows of a (channels, inner) matrix, for columns first..last-1.
void Softmax(int channels, int inner, int first, int last, const float* x, float* y);
void SoftmaxGradient(int channels, int inner, int first, int last, const float* y, const float* dy, float* dx);

/// The sizes of a pooling layer.
struct Pooling {
  int height, width, pooled_height, pooled_width;
  int kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
};
/// Computes rows first_row..last_row-1 of the maxima y of interleaved channels x (h, w, channels). Unless `mask` is
/// null, it takes the position of each maximum in its window, counted row by row, or 255 if nothing in the window is
/// greater than -FLT_MAX (only NaN and -infinity, for example).
void MaxPool(const Pooling& p, int channels, int first_row, int last_row, const float* x, float* y, uint8_t* mask);
/// Computes rows first_row..last_row-1 of the input's gradients dx from those of the maxima and their positions.
void MaxPoolGradient(const Pooling& p, int channels, int first_row, int last_row, const float* dy, const uint8_t* mask,
    float* dx);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_KERNELS_HPP_
