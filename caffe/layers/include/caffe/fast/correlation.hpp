#ifndef CAFFE_FAST_CORRELATION_HPP_
#define CAFFE_FAST_CORRELATION_HPP_

#include <cstddef>

namespace caffe {
namespace fast {

/// Number of interleaved images: as many as fill one AVX-512 register.
const int kLanes = 16;
/// Size of an output tile: channels, and neighbouring positions in a row. Its sums fit the 32 registers.
const int kTileChannels = 10;
const int kTilePositions = 2;
/// Size of a tile of the weights' gradients: output channels, and positions in a row of the kernel.
const int kGradientChannels = 5;
const int kKernelWidth = 5;

/// The sizes of a correlation with stride 1 of kLanes images: x (inputs, height, width, kLanes) gives y (outputs,
/// out_height, out_width, kLanes). Each row of x begins and ends with `pad_w` zeros, which `width` includes. The
/// `pad_h` rows of zeros above and below are not stored.
struct Correlation {
  int inputs, height, width;
  int outputs, out_height, out_width;
  int kernel_h, pad_h, pad_w;
};

// Each of the following functions does the work of one thread.

/// Computes rows first..last-1 of y for `channels` output channels, at most kTileChannels. `weight` is (inputs,
/// kernel_h, kKernelWidth, kTileChannels), `bias` is (kTileChannels). A row of y has at least kTilePositions positions.
void Correlate(const Correlation& c, int channels, int first, int last, const float* x, const float* weight,
    const float* bias, float* y);

/// Adds the weights' gradients of one input channel and `channels` output channels, at most kGradientChannels, to sums
/// (kernel_h, kGradientChannels, kKernelWidth, kLanes), which keep the images apart. x and dy point to the first of
/// these channels.
void CorrelateGradient(const Correlation& c, int channels, const float* x, const float* dy, float* sums);

/// Adds n vectors x (n, kLanes) to sums (kLanes).
void AddVectors(size_t n, const float* x, float* sums);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_CORRELATION_HPP_
