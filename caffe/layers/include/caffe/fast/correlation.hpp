#ifndef CAFFE_FAST_CORRELATION_HPP_
#define CAFFE_FAST_CORRELATION_HPP_

#include <cstddef>

namespace caffe {
namespace fast {

/// Images whose values stand side by side: those of one vector register of AVX-512.
const int kLanes = 16;
/// Of a tile: channels of the output, and neighbouring places of a row. Their sums fit the 32 registers.
const int kTileChannels = 10;
const int kTilePlaces = 2;
/// The same of the weights' gradients: channels of the output, and a row of the kernel.
const int kGradientChannels = 5;
const int kKernelWidth = 5;

/// A correlation of stride 1 of kLanes images: x (inputs, height, width, kLanes) gives y (outputs, out_height,
/// out_width, kLanes). The rows of x begin and end with `pad_w` zeros; `pad_h` rows above and below are not there.
struct Correlation {
  int inputs, height, width;
  int outputs, out_height, out_width;
  int kernel_h, pad_h, pad_w;
};

// One thread's work each.

/// Rows first..last-1 of y of `channels` output channels, at most a tile's: weight (inputs, kernel_h, kKernelWidth,
/// kTileChannels), the bias of kTileChannels. The rows have kTilePlaces places or more.
void Correlate(const Correlation& c, int channels, int first, int last, const float* x, const float* weight,
    const float* bias, float* y);

/// The weights' gradients of one input channel and `channels` output channels, at most kGradientChannels, images
/// apart: added to sums (kernel_h, kGradientChannels, kKernelWidth, kLanes). x and dy begin at their first channel.
void CorrelateGradient(const Correlation& c, int channels, const float* x, const float* dy, float* sums);

/// sums (kLanes) += the sum of n such vectors x
void AddUp(size_t n, const float* x, float* sums);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_CORRELATION_HPP_
