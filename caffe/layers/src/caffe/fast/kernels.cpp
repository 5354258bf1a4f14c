#include <algorithm>
#include <cfloat>
#include <cmath>

#include "caffe/fast/kernels.hpp"
#include "dispatch.hpp"

namespace caffe {
namespace fast {

// The division stays in this file: -ffast-math, with which exp is compiled, could make a division by infinity wrong.
FAST_INLINE void Sigmoid_body(size_t n, const float* x, float* y) {
  const size_t kRun = 1024;  // floats that stay in the first-level cache
  for (size_t start = 0; start < n; start += kRun) {
    const size_t end = std::min(n, start + kRun);
    ExponentialOfMinus(end - start, x + start, y + start);
    for (size_t i = start; i < end; ++i) { y[i] = 1.f / (1.f + y[i]); }
  }
}
FAST_DISPATCH(Sigmoid, (size_t n, const float* x, float* y), (n, x, y))

FAST_INLINE void SigmoidGradient_body(size_t n, const float* y, const float* dy, float* dx) {
  for (size_t i = 0; i < n; ++i) { dx[i] = dy[i] * y[i] * (1.f - y[i]); }
}
FAST_DISPATCH(SigmoidGradient, (size_t n, const float* y, const float* dy, float* dx), (n, y, dy, dx))

FAST_INLINE void ReLU_body(size_t n, float slope, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) {
    y[i] = std::max(x[i], 0.f) + slope * std::min(x[i], 0.f);
  }
}
FAST_DISPATCH(ReLU, (size_t n, float slope, const float* x, float* y), (n, slope, x, y))

FAST_INLINE void ReLUGradient_body(size_t n, float slope, const float* x, const float* dy, float* dx) {
  for (size_t i = 0; i < n; ++i) {
    dx[i] = dy[i] * (x[i] > 0 ? 1.f : x[i] <= 0 ? slope : 0.f);
  }
}
FAST_DISPATCH(ReLUGradient, (size_t n, float slope, const float* x, const float* dy, float* dx), (n, slope, x, dy, dx))

FAST_INLINE void MaskAndScale_body(size_t n, const float* x, const unsigned int* mask, float scale, float* y) {
  for (size_t i = 0; i < n; ++i) {
    y[i] = x[i] * static_cast<int>(mask[i]) * scale;
  }
}
FAST_DISPATCH(MaskAndScale, (size_t n, const float* x, const unsigned int* mask, float scale, float* y),
    (n, x, mask, scale, y))

FAST_INLINE void Add_body(size_t n, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) { y[i] += x[i]; }
}
FAST_DISPATCH(Add, (size_t n, const float* x, float* y), (n, x, y))

FAST_INLINE void Descend_body(size_t n, const Descent& step, float* __restrict__ data, float* __restrict__ diff,
    float* __restrict__ history) {
  const float scale = step.scale, decay = step.decay, rate = step.rate, momentum = step.momentum;
  for (size_t i = 0; i < n; ++i) {
    const float change = rate * (scale * diff[i] + decay * data[i]) + momentum * history[i];
    history[i] = change;
    diff[i] = change;
    data[i] -= change;
  }
}
FAST_DISPATCH(Descend, (size_t n, const Descent& step, float* data, float* diff, float* history),
    (n, step, data, diff, history))

/// Vector types for B neighbouring channels.
template <int B> struct Vector {
  typedef float Floats __attribute__((vector_size(4 * B), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(4 * B)));
  typedef uint8_t Bytes __attribute__((vector_size(B), aligned(1), may_alias));
};

/// The maxima of B channels so far and, for POSITIONS, where they were found.
template <int B, bool POSITIONS> struct Maxima {
  typename Vector<B>::Floats values;
  typename Vector<B>::Ints positions;

  __attribute__((always_inline)) void Update(const float* x, int position) {
    const typename Vector<B>::Floats value = *reinterpret_cast<const typename Vector<B>::Floats*>(x);
    const typename Vector<B>::Ints greater = value > values;
    values = greater ? value : values;
    if (POSITIONS) { positions = greater ? typename Vector<B>::Ints{} + position : positions; }
  }
};

/// Pools B channels. The channels of neighbouring positions lie `pitch` floats apart.
template <int B, int KH, int KW, bool POSITIONS>
FAST_INLINE void MaxPoolRows(const Pooling& p, int pitch, int first, int last, const float* x, float* y,
    uint8_t* mask) {
  typedef typename Vector<B>::Floats Floats;
  typedef typename Vector<B>::Bytes Bytes;
  const int kernel_h = KH ? KH : p.kernel_h, kernel_w = KW ? KW : p.kernel_w;
  for (int ph = first; ph < last; ++ph) {
    const int top = ph * p.stride_h - p.pad_h;
    const int h0 = std::max(-top, 0), h1 = std::min(kernel_h, p.height - top);
    for (int pw = 0; pw < p.pooled_width; ++pw) {
      const int left = pw * p.stride_w - p.pad_w;
      const int w0 = std::max(-left, 0), w1 = std::min(kernel_w, p.width - left);
      const float* window = x + (static_cast<ptrdiff_t>(top) * p.width + left) * pitch;
      const ptrdiff_t row = static_cast<ptrdiff_t>(p.width) * pitch;
      Maxima<B, POSITIONS> maxima = {typename Vector<B>::Floats{} - FLT_MAX, typename Vector<B>::Ints{} + 255};
      if (KH && h0 == 0 && w0 == 0 && h1 == KH && w1 == KW) {
#pragma GCC unroll 3
        for (int h = 0; h < KH; ++h) {
#pragma GCC unroll 3
          for (int w = 0; w < KW; ++w) { maxima.Update(window + h * row + w * pitch, h * KW + w); }
        }
      } else {
        for (int h = h0; h < h1; ++h) {
          for (int w = w0; w < w1; ++w) { maxima.Update(window + h * row + w * pitch, h * kernel_w + w); }
        }
      }
      const ptrdiff_t to = (static_cast<ptrdiff_t>(ph) * p.pooled_width + pw) * pitch;
      *reinterpret_cast<Floats*>(y + to) = maxima.values;
      if (POSITIONS) { *reinterpret_cast<Bytes*>(mask + to) = __builtin_convertvector(maxima.positions, Bytes); }
    }
  }
}

template <int B, bool POSITIONS>
FAST_INLINE void MaxPoolVector(const Pooling& p, int pitch, int first, int last, const float* x, float* y,
    uint8_t* mask) {
  if (p.kernel_h == 3 && p.kernel_w == 3) {
    MaxPoolRows<B, 3, 3, POSITIONS>(p, pitch, first, last, x, y, mask);
  } else if (p.kernel_h == 2 && p.kernel_w == 2) {
    MaxPoolRows<B, 2, 2, POSITIONS>(p, pitch, first, last, x, y, mask);
  } else {
    MaxPoolRows<B, 0, 0, POSITIONS>(p, pitch, first, last, x, y, mask);
  }
}

/// Pools all channels, B at a time. The last vector ends with the last channel: it may compute some a second time.
template <int B>
FAST_INLINE void MaxPoolVectors(const Pooling& p, int channels, int first, int last, const float* x, float* y,
    uint8_t* mask) {
  for (int c = 0; c < channels; c += B) {
    const int at = std::min(c, channels - B);
    if (mask) {
      MaxPoolVector<B, true>(p, channels, first, last, x + at, y + at, mask + at);
    } else {
      MaxPoolVector<B, false>(p, channels, first, last, x + at, y + at, NULL);
    }
  }
}

FAST_INLINE void MaxPool_body(const Pooling& p, int channels, int first, int last, const float* x, float* y,
    uint8_t* mask) {
  if (channels >= 16) {
    MaxPoolVectors<16>(p, channels, first, last, x, y, mask);
  } else if (channels >= 4) {
    MaxPoolVectors<4>(p, channels, first, last, x, y, mask);
  } else {
    MaxPoolVectors<1>(p, channels, first, last, x, y, mask);
  }
}
FAST_DISPATCH(MaxPool,
    (const Pooling& p, int channels, int first, int last, const float* x, float* y, uint8_t* mask),
    (p, channels, first, last, x, y, mask))

/// Returns the first window that holds a position of the input.
FAST_INLINE int FirstWindow(int position, int pad, int kernel, int stride) {
  return position + pad < kernel ? 0 : (position + pad - kernel) / stride + 1;
}
/// Returns the last of `windows` that holds a position of the input.
FAST_INLINE int LastWindow(int position, int pad, int stride, int windows) {
  return std::min((position + pad) / stride, windows - 1);
}

/// Adds to `sum` the gradients of B channels of one window whose maxima were found at `position` in the window.
template <int B>
FAST_INLINE void Gather(const float* dy, const uint8_t* mask, int position, typename Vector<B>::Floats* sum) {
  typedef typename Vector<B>::Ints Ints;
  const Ints is = __builtin_convertvector(*reinterpret_cast<const typename Vector<B>::Bytes*>(mask), Ints) == position;
  const typename Vector<B>::Floats value = *reinterpret_cast<const typename Vector<B>::Floats*>(dy);
  *sum = is ? *sum + value : *sum;
}

/// Computes the gradients of row h. Each position gathers from the windows that hold it, and so is written only once.
template <int B>
FAST_INLINE void MaxPoolGradientRow(const Pooling& p, int pitch, int h, int ph0, int ph1, const float* dy,
    const uint8_t* mask, float* dx) {
  for (int w = 0; w < p.width; ++w) {
    const int pw0 = FirstWindow(w, p.pad_w, p.kernel_w, p.stride_w);
    const int pw1 = LastWindow(w, p.pad_w, p.stride_w, p.pooled_width);
    typename Vector<B>::Floats sum = {};
    for (int ph = ph0; ph <= ph1; ++ph) {
      const int row = (h + p.pad_h - ph * p.stride_h) * p.kernel_w;
      for (int pw = pw0; pw <= pw1; ++pw) {
        const size_t at = (static_cast<size_t>(ph) * p.pooled_width + pw) * pitch;
        Gather<B>(dy + at, mask + at, row + w + p.pad_w - pw * p.stride_w, &sum);
      }
    }
    *reinterpret_cast<typename Vector<B>::Floats*>(dx + static_cast<size_t>(w) * pitch) = sum;
  }
}

/// Does the same for K x K windows with stride 2 and without padding. ROWS rows of windows, from ph on, hold row h.
template <int B, int K, int ROWS>
FAST_INLINE void MaxPoolGradientPairs(const Pooling& p, int pitch, int h, int ph, const float* dy, const uint8_t* mask,
    float* dx) {
  typedef typename Vector<B>::Floats Floats;
  const size_t row = static_cast<size_t>(p.pooled_width) * pitch;
  const float* from = dy + ph * row;
  const uint8_t* positions = mask + ph * row;
  const int left = (h - 2 * ph) * K;  // position of row h's first column in a window of row ph
  Floats before = {};                 // gradient from the third column of the window before
  int w = 0;
  for (int pw = 0; pw < p.pooled_width && w < p.width; ++pw, w += 2) {
    const size_t at = static_cast<size_t>(pw) * pitch;
    Floats even = before, odd = {};
    before = Floats{};
#pragma GCC unroll 2
    for (int r = 0; r < ROWS; ++r) {
      Gather<B>(from + r * row + at, positions + r * row + at, left - 2 * K * r, &even);
      Gather<B>(from + r * row + at, positions + r * row + at, left - 2 * K * r + 1, &odd);
      if (K == 3) { Gather<B>(from + r * row + at, positions + r * row + at, left - 2 * K * r + 2, &before); }
    }
    *reinterpret_cast<Floats*>(dx + static_cast<size_t>(w) * pitch) = even;
    if (w + 1 < p.width) { *reinterpret_cast<Floats*>(dx + static_cast<size_t>(w + 1) * pitch) = odd; }
  }
  for (; w < p.width; ++w, before = Floats{}) {
    *reinterpret_cast<Floats*>(dx + static_cast<size_t>(w) * pitch) = before;
  }
}

template <int B, int K>
FAST_INLINE void MaxPoolGradientRowOfPairs(const Pooling& p, int pitch, int h, int ph0, int ph1, const float* dy,
    const uint8_t* mask, float* dx) {
  if (ph1 > ph0) {
    MaxPoolGradientPairs<B, K, 2>(p, pitch, h, ph0, dy, mask, dx);
  } else if (ph1 == ph0) {
    MaxPoolGradientPairs<B, K, 1>(p, pitch, h, ph0, dy, mask, dx);
  } else {
    MaxPoolGradientPairs<B, K, 0>(p, pitch, h, 0, dy, mask, dx);
  }
}

template <int B>
FAST_INLINE void MaxPoolGradientVectors(const Pooling& p, int channels, int first, int last, const float* dy,
    const uint8_t* mask, float* dx) {
  const bool pairs = p.stride_h == 2 && p.stride_w == 2 && p.pad_h == 0 && p.pad_w == 0 && p.kernel_h == p.kernel_w;
  for (int h = first; h < last; ++h) {
    const int ph0 = FirstWindow(h, p.pad_h, p.kernel_h, p.stride_h);
    const int ph1 = LastWindow(h, p.pad_h, p.stride_h, p.pooled_height);
    for (int c = 0; c < channels; c += B) {
      const int at = std::min(c, channels - B);
      float* row = dx + static_cast<size_t>(h) * p.width * channels + at;
      if (pairs && p.kernel_h == 3) {
        MaxPoolGradientRowOfPairs<B, 3>(p, channels, h, ph0, ph1, dy + at, mask + at, row);
      } else if (pairs && p.kernel_h == 2) {
        MaxPoolGradientRowOfPairs<B, 2>(p, channels, h, ph0, ph1, dy + at, mask + at, row);
      } else {
        MaxPoolGradientRow<B>(p, channels, h, ph0, ph1, dy + at, mask + at, row);
      }
    }
  }
}

FAST_INLINE void MaxPoolGradient_body(const Pooling& p, int channels, int first, int last, const float* dy,
    const uint8_t* mask, float* dx) {
  if (channels >= 16) {
    MaxPoolGradientVectors<16>(p, channels, first, last, dy, mask, dx);
  } else if (channels >= 4) {
    MaxPoolGradientVectors<4>(p, channels, first, last, dy, mask, dx);
  } else {
    MaxPoolGradientVectors<1>(p, channels, first, last, dy, mask, dx);
  }
}
FAST_DISPATCH(MaxPoolGradient,
    (const Pooling& p, int channels, int first, int last, const float* dy, const uint8_t* mask, float* dx),
    (p, channels, first, last, dy, mask, dx))

}  // namespace fast
}  // namespace caffe
