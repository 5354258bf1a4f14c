#include <algorithm>
#include <cfloat>
#include <cmath>

#include "caffe/fast/kernels.hpp"
#include "dispatch.hpp"

namespace caffe {
namespace fast {

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

/// Floats, or as many 32-bit integers, of one block of channels.
template <int B> struct Vector {
  typedef float Floats __attribute__((vector_size(4 * B), aligned(4), may_alias));
  typedef int32_t Ints __attribute__((vector_size(4 * B)));
  typedef uint8_t Bytes __attribute__((vector_size(B), aligned(1), may_alias));
};

template <int B, int KH, int KW>
FAST_INLINE void MaxPoolWindows(const Pooling& p, const float* x, float* y, uint8_t* mask) {
  typedef typename Vector<B>::Floats Floats;
  typedef typename Vector<B>::Ints Ints;
  typedef typename Vector<B>::Bytes Bytes;
  const int kernel_h = KH ? KH : p.kernel_h, kernel_w = KW ? KW : p.kernel_w;
  for (int ph = 0; ph < p.pooled_height; ++ph) {
    const int top = ph * p.stride_h - p.pad_h;
    const int h0 = std::max(-top, 0), h1 = std::min(kernel_h, p.height - top);
    for (int pw = 0; pw < p.pooled_width; ++pw, y += B) {
      const int left = pw * p.stride_w - p.pad_w;
      const int w0 = std::max(-left, 0), w1 = std::min(kernel_w, p.width - left);
      const bool whole = KH && h0 == 0 && w0 == 0 && h1 == KH && w1 == KW;
      const float* window = x + (static_cast<long>(top) * p.width + left) * B;
      Floats most = {};
      most += -FLT_MAX;
      if (mask) {
        Ints found = {};
        found += 255;
        const auto look = [&](int h, int w) __attribute__((always_inline)) {
          const Floats value = *reinterpret_cast<const Floats*>(window + (static_cast<long>(h) * p.width + w) * B);
          const Ints more = value > most;
          most = more ? value : most;
          found = more ? Ints{} + (h * kernel_w + w) : found;
        };
        if (whole) {
#pragma GCC unroll 3
          for (int h = 0; h < KH; ++h) {
#pragma GCC unroll 3
            for (int w = 0; w < KW; ++w) { look(h, w); }
          }
        } else {
          for (int h = h0; h < h1; ++h) {
            for (int w = w0; w < w1; ++w) { look(h, w); }
          }
        }
        *reinterpret_cast<Bytes*>(mask) = __builtin_convertvector(found, Bytes);
        mask += B;
      } else {
        const auto look = [&](int h, int w) __attribute__((always_inline)) {
          const Floats value = *reinterpret_cast<const Floats*>(window + (static_cast<long>(h) * p.width + w) * B);
          most = value > most ? value : most;
        };
        if (whole) {
#pragma GCC unroll 3
          for (int h = 0; h < KH; ++h) {
#pragma GCC unroll 3
            for (int w = 0; w < KW; ++w) { look(h, w); }
          }
        } else {
          for (int h = h0; h < h1; ++h) {
            for (int w = w0; w < w1; ++w) { look(h, w); }
          }
        }
      }
      *reinterpret_cast<Floats*>(y) = most;
    }
  }
}

template <int B>
FAST_INLINE void MaxPoolBlock(const Pooling& p, const float* x, float* y, uint8_t* mask) {
  if (p.kernel_h == 3 && p.kernel_w == 3) {
    MaxPoolWindows<B, 3, 3>(p, x, y, mask);
  } else if (p.kernel_h == 2 && p.kernel_w == 2) {
    MaxPoolWindows<B, 2, 2>(p, x, y, mask);
  } else {
    MaxPoolWindows<B, 0, 0>(p, x, y, mask);
  }
}

FAST_INLINE void MaxPool_body(const Pooling& p, int block, const float* x, float* y, uint8_t* mask) {
  block == 16 ? MaxPoolBlock<16>(p, x, y, mask) : MaxPoolBlock<8>(p, x, y, mask);
}
FAST_DISPATCH(MaxPool, (const Pooling& p, int block, const float* x, float* y, uint8_t* mask), (p, block, x, y, mask))

/// First and last window, of `windows`, that hold a place of the input.
FAST_INLINE int FirstWindow(int place, int pad, int kernel, int stride) {
  return place + pad < kernel ? 0 : (place + pad - kernel) / stride + 1;
}
FAST_INLINE int LastWindow(int place, int pad, int stride, int windows) {
  return std::min((place + pad) / stride, windows - 1);
}

// Each place gathers from the windows that hold it: it is written once, and summed in Caffe's order.
template <int B, int SH, int SW>
FAST_INLINE void MaxPoolGradientPlaces(const Pooling& p, const float* dy, const uint8_t* mask, float* dx) {
  typedef typename Vector<B>::Floats Floats;
  typedef typename Vector<B>::Ints Ints;
  typedef typename Vector<B>::Bytes Bytes;
  const int stride_h = SH ? SH : p.stride_h, stride_w = SW ? SW : p.stride_w;
  for (int h = 0; h < p.height; ++h) {
    const int ph0 = FirstWindow(h, p.pad_h, p.kernel_h, stride_h);
    const int ph1 = LastWindow(h, p.pad_h, stride_h, p.pooled_height);
    for (int w = 0; w < p.width; ++w, dx += B) {
      const int pw0 = FirstWindow(w, p.pad_w, p.kernel_w, stride_w);
      const int pw1 = LastWindow(w, p.pad_w, stride_w, p.pooled_width);
      Floats sum = {};
      for (int ph = ph0; ph <= ph1; ++ph) {
        const int row = (h + p.pad_h - ph * stride_h) * p.kernel_w;
        for (int pw = pw0; pw <= pw1; ++pw) {
          const size_t at = (static_cast<size_t>(ph) * p.pooled_width + pw) * B;
          const int place = row + w + p.pad_w - pw * stride_w;
          const Ints here = __builtin_convertvector(*reinterpret_cast<const Bytes*>(mask + at), Ints) == place;
          const Floats value = *reinterpret_cast<const Floats*>(dy + at);
          sum = here ? sum + value : sum;
        }
      }
      *reinterpret_cast<Floats*>(dx) = sum;
    }
  }
}

template <int B>
FAST_INLINE void MaxPoolGradientBlock(const Pooling& p, const float* dy, const uint8_t* mask, float* dx) {
  if (p.stride_h == 2 && p.stride_w == 2) {
    MaxPoolGradientPlaces<B, 2, 2>(p, dy, mask, dx);
  } else {
    MaxPoolGradientPlaces<B, 0, 0>(p, dy, mask, dx);
  }
}

FAST_INLINE void MaxPoolGradient_body(const Pooling& p, int block, const float* dy, const uint8_t* mask, float* dx) {
  block == 16 ? MaxPoolGradientBlock<16>(p, dy, mask, dx) : MaxPoolGradientBlock<8>(p, dy, mask, dx);
}
FAST_DISPATCH(MaxPoolGradient, (const Pooling& p, int block, const float* dy, const uint8_t* mask, float* dx),
    (p, block, dy, mask, dx))

}  // namespace fast
}  // namespace caffe
