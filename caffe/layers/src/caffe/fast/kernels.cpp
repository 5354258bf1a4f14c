#include <algorithm>
#include <cfloat>
#include <cmath>

#include "caffe/fast/kernels.hpp"
#include "dispatch.hpp"

namespace caffe {
namespace fast {

// The division is compiled here, without -ffast-math, where that of infinity is right.
FAST_INLINE void Sigmoid_body(size_t n, const float* x, float* y) {
  const size_t kRun = 1024;  // stays in the first cache
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

/// Floats, or as many integers, of some neighbouring channels.
template <int B> struct Vector {
  typedef float Floats __attribute__((vector_size(4 * B), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(4 * B)));
  typedef uint8_t Bytes __attribute__((vector_size(B), aligned(1), may_alias));
};

/// The greatest of B channels so far, and where it was found.
template <int B, bool PLACES> struct Greatest {
  typename Vector<B>::Floats most;
  typename Vector<B>::Ints place;

  __attribute__((always_inline)) void Look(const float* x, int here) {
    const typename Vector<B>::Floats value = *reinterpret_cast<const typename Vector<B>::Floats*>(x);
    const typename Vector<B>::Ints more = value > most;
    most = more ? value : most;
    if (PLACES) { place = more ? typename Vector<B>::Ints{} + here : place; }
  }
};

// Channels of one place stand `pitch` floats before those of the next.
template <int B, int KH, int KW, bool PLACES>
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
      Greatest<B, PLACES> greatest = {typename Vector<B>::Floats{} - FLT_MAX, typename Vector<B>::Ints{} + 255};
      if (KH && h0 == 0 && w0 == 0 && h1 == KH && w1 == KW) {
#pragma GCC unroll 3
        for (int h = 0; h < KH; ++h) {
#pragma GCC unroll 3
          for (int w = 0; w < KW; ++w) { greatest.Look(window + h * row + w * pitch, h * KW + w); }
        }
      } else {
        for (int h = h0; h < h1; ++h) {
          for (int w = w0; w < w1; ++w) { greatest.Look(window + h * row + w * pitch, h * kernel_w + w); }
        }
      }
      const ptrdiff_t to = (static_cast<ptrdiff_t>(ph) * p.pooled_width + pw) * pitch;
      *reinterpret_cast<Floats*>(y + to) = greatest.most;
      if (PLACES) { *reinterpret_cast<Bytes*>(mask + to) = __builtin_convertvector(greatest.place, Bytes); }
    }
  }
}

template <int B, bool PLACES>
FAST_INLINE void MaxPoolVector(const Pooling& p, int pitch, int first, int last, const float* x, float* y,
    uint8_t* mask) {
  if (p.kernel_h == 3 && p.kernel_w == 3) {
    MaxPoolRows<B, 3, 3, PLACES>(p, pitch, first, last, x, y, mask);
  } else if (p.kernel_h == 2 && p.kernel_w == 2) {
    MaxPoolRows<B, 2, 2, PLACES>(p, pitch, first, last, x, y, mask);
  } else {
    MaxPoolRows<B, 0, 0, PLACES>(p, pitch, first, last, x, y, mask);
  }
}

// What is left after whole vectors is computed with the last channels before it, once more.
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

/// First and last window, of `windows`, that hold a place of the input.
FAST_INLINE int FirstWindow(int place, int pad, int kernel, int stride) {
  return place + pad < kernel ? 0 : (place + pad - kernel) / stride + 1;
}
FAST_INLINE int LastWindow(int place, int pad, int stride, int windows) {
  return std::min((place + pad) / stride, windows - 1);
}

/// The gradient that windows (of one place of the pooled image) hand to their place `here`.
template <int B>
FAST_INLINE void Gather(const float* dy, const uint8_t* mask, int here, typename Vector<B>::Floats* sum) {
  typedef typename Vector<B>::Ints Ints;
  const Ints is = __builtin_convertvector(*reinterpret_cast<const typename Vector<B>::Bytes*>(mask), Ints) == here;
  const typename Vector<B>::Floats value = *reinterpret_cast<const typename Vector<B>::Floats*>(dy);
  *sum = is ? *sum + value : *sum;
}

// Each place gathers from the windows that hold it: it is written once.
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

// The same for windows of K x K every two places, without padding; `ROWS` rows of windows, from `ph`, hold the row.
template <int B, int K, int ROWS>
FAST_INLINE void MaxPoolGradientPairs(const Pooling& p, int pitch, int h, int ph, const float* dy, const uint8_t* mask,
    float* dx) {
  typedef typename Vector<B>::Floats Floats;
  const size_t row = static_cast<size_t>(p.pooled_width) * pitch;
  const float* from = dy + ph * row;
  const uint8_t* places = mask + ph * row;
  const int here = (h - 2 * ph) * K;  // of the first column, in the first row of windows; in the next, two rows less
  Floats before = {};                 // what the window before hands to the next pair's first place
  int w = 0;
  for (int pw = 0; pw < p.pooled_width && w < p.width; ++pw, w += 2) {
    const size_t at = static_cast<size_t>(pw) * pitch;
    Floats even = before, odd = {};
    before = Floats{};
#pragma GCC unroll 2
    for (int r = 0; r < ROWS; ++r) {
      Gather<B>(from + r * row + at, places + r * row + at, here - 2 * K * r, &even);
      Gather<B>(from + r * row + at, places + r * row + at, here - 2 * K * r + 1, &odd);
      if (K == 3) { Gather<B>(from + r * row + at, places + r * row + at, here - 2 * K * r + 2, &before); }
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
