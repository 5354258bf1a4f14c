#include "caffe/fast/correlation.hpp"

#include <algorithm>
#include <cstddef>

#include "dispatch.hpp"

namespace caffe {
namespace fast {

namespace {

typedef float Floats __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

FAST_INLINE const Floats& Load(const float* x, ptrdiff_t position) {
  return *reinterpret_cast<const Floats*>(x + position * kLanes);
}

FAST_INLINE void Store(const Floats& value, float* y, ptrdiff_t position) {
  *reinterpret_cast<Floats*>(y + position * kLanes) = value;
}

}  // namespace

/// Computes one tile of row h, from position w on.
FAST_INLINE void CorrelateTile(const Correlation& c, int h, int w, int channels, const float* x, const float* weight,
    const float* bias, float* y) {
  Floats sums[kTileChannels][kTilePositions];
#pragma GCC unroll 10
  for (int o = 0; o < kTileChannels; ++o) {
#pragma GCC unroll 2
    for (int p = 0; p < kTilePositions; ++p) { sums[o][p] = Floats{} + bias[o]; }
  }
  // The rows and columns of the kernel that meet values and not only padding.
  const int top = std::max(0, c.pad_h - h), bottom = std::min(c.kernel_h, c.height + c.pad_h - h);
  const int left = std::max(0, c.pad_w - w - (kTilePositions - 1));
  const int right = std::min(kKernelWidth, c.width - c.pad_w - w);
  for (int i = 0; i < c.inputs; ++i) {
    for (int kh = top; kh < bottom; ++kh) {
      const float* row = x + (static_cast<ptrdiff_t>(i * c.height + h + kh - c.pad_h) * c.width + w) * kLanes;
      const float* factors = weight + ((i * c.kernel_h + kh) * kKernelWidth + left) * kTileChannels;
      for (int kw = left; kw < right; ++kw, factors += kTileChannels) {
#pragma GCC unroll 10
        for (int o = 0; o < kTileChannels; ++o) {
#pragma GCC unroll 2
          for (int p = 0; p < kTilePositions; ++p) { sums[o][p] += factors[o] * Load(row, kw + p); }
        }
      }
    }
  }
#pragma GCC unroll 10
  for (int o = 0; o < kTileChannels; ++o) {
    if (o == channels) { return; }
    const ptrdiff_t to = static_cast<ptrdiff_t>(o * c.out_height + h) * c.out_width + w;
#pragma GCC unroll 2
    for (int p = 0; p < kTilePositions; ++p) { Store(sums[o][p], y, to + p); }
  }
}

FAST_INLINE void Correlate_body(const Correlation& c, int channels, int first, int last, const float* x,
    const float* weight, const float* bias, float* y) {
  for (int h = first; h < last; ++h) {
    for (int w = 0; w < c.out_width; w += kTilePositions) {
      // The last tile ends with the row: it computes some positions a second time.
      CorrelateTile(c, h, std::min(w, c.out_width - kTilePositions), channels, x, weight, bias, y);
    }
  }
}
FAST_DISPATCH(Correlate,
    (const Correlation& c, int channels, int first, int last, const float* x, const float* weight, const float* bias,
        float* y),
    (c, channels, first, last, x, weight, bias, y))

FAST_INLINE void CorrelateGradientRow(const Correlation& c, int kh, int channels, const float* x, const float* dy,
    float* row_sums) {
  Floats sums[kGradientChannels][kKernelWidth];
  const float* from[kGradientChannels];
#pragma GCC unroll 5
  for (int o = 0; o < kGradientChannels; ++o) {
    from[o] = dy + static_cast<ptrdiff_t>(std::min(o, channels - 1)) * c.out_height * c.out_width * kLanes;
#pragma GCC unroll 5
    for (int p = 0; p < kKernelWidth; ++p) { sums[o][p] = Load(row_sums, o * kKernelWidth + p); }
  }
  const int first = std::max(0, c.pad_h - kh), last = std::min(c.out_height, c.height + c.pad_h - kh);
  for (int h = first; h < last; ++h) {
    const float* row = x + static_cast<ptrdiff_t>(h + kh - c.pad_h) * c.width * kLanes;
    for (int w = 0; w < c.out_width; ++w) {
#pragma GCC unroll 5
      for (int o = 0; o < kGradientChannels; ++o) {
        const Floats gradient = Load(from[o], static_cast<ptrdiff_t>(h) * c.out_width + w);
#pragma GCC unroll 5
        for (int p = 0; p < kKernelWidth; ++p) { sums[o][p] += gradient * Load(row, w + p); }
      }
    }
  }
#pragma GCC unroll 5
  for (int o = 0; o < kGradientChannels; ++o) {
#pragma GCC unroll 5
    for (int p = 0; p < kKernelWidth; ++p) { Store(sums[o][p], row_sums, o * kKernelWidth + p); }
  }
}

FAST_INLINE void CorrelateGradient_body(const Correlation& c, int channels, const float* x, const float* dy,
    float* sums) {
  for (int kh = 0; kh < c.kernel_h; ++kh) {
    CorrelateGradientRow(c, kh, channels, x, dy, sums + kh * kGradientChannels * kKernelWidth * kLanes);
  }
}
FAST_DISPATCH(CorrelateGradient,
    (const Correlation& c, int channels, const float* x, const float* dy, float* sums),
    (c, channels, x, dy, sums))

FAST_INLINE void AddVectors_body(size_t n, const float* x, float* sums) {
  Floats sum = Load(sums, 0);
  for (size_t i = 0; i < n; ++i) { sum += Load(x, i); }
  Store(sum, sums, 0);
}
FAST_DISPATCH(AddVectors, (size_t n, const float* x, float* sums), (n, x, sums))

}  // namespace fast
}  // namespace caffe
