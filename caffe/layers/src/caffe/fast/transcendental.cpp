// Makefile.config compiles this file with -ffast-math, which makes exp libmvec's: it computes a vector at a time. NaN
// stays NaN.
#include <algorithm>
#include <cmath>

#include "caffe/fast/kernels.hpp"
#include "dispatch.hpp"

namespace caffe {
namespace fast {

FAST_INLINE void ExponentialOfMinus_body(size_t n, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) { y[i] = expf(-x[i]); }
}
FAST_DISPATCH(ExponentialOfMinus, (size_t n, const float* x, float* y), (n, x, y))

FAST_INLINE void Softmax_body(int channels, int inner, int first, int last, const float* x, float* y) {
  const int kColumns = 64;
  float most[kColumns], sum[kColumns];
  for (int start = first; start < last; start += kColumns) {
    const int n = std::min(kColumns, last - start);
    for (int i = 0; i < n; ++i) { most[i] = x[start + i]; sum[i] = 0; }
    for (int c = 1; c < channels; ++c) {
      const float* row = x + static_cast<size_t>(c) * inner + start;
      for (int i = 0; i < n; ++i) { most[i] = std::max(most[i], row[i]); }
    }
    for (int c = 0; c < channels; ++c) {
      const size_t at = static_cast<size_t>(c) * inner + start;
      for (int i = 0; i < n; ++i) {
        const float e = expf(x[at + i] - most[i]);
        y[at + i] = e;
        sum[i] += e;
      }
    }
    for (int c = 0; c < channels; ++c) {
      float* row = y + static_cast<size_t>(c) * inner + start;
      for (int i = 0; i < n; ++i) { row[i] /= sum[i]; }
    }
  }
}
FAST_DISPATCH(Softmax, (int channels, int inner, int first, int last, const float* x, float* y),
    (channels, inner, first, last, x, y))

FAST_INLINE void SoftmaxGradient_body(int channels, int inner, int first, int last, const float* y, const float* dy,
    float* dx) {
  for (int k = first; k < last; ++k) {
    float dot = 0;
    for (int c = 0; c < channels; ++c) {
      dot += y[static_cast<size_t>(c) * inner + k] * dy[static_cast<size_t>(c) * inner + k];
    }
    for (int c = 0; c < channels; ++c) {
      const size_t at = static_cast<size_t>(c) * inner + k;
      dx[at] = (dy[at] - dot) * y[at];
    }
  }
}
FAST_DISPATCH(SoftmaxGradient,
    (int channels, int inner, int first, int last, const float* y, const float* dy, float* dx),
    (channels, inner, first, last, y, dy, dx))

}  // namespace fast
}  // namespace caffe
