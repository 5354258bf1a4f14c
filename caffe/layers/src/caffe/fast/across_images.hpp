#ifndef CAFFE_FAST_ACROSS_IMAGES_HPP_
#define CAFFE_FAST_ACROSS_IMAGES_HPP_

#include <vector>

#include "caffe/fast/correlation.hpp"
#include "caffe/fast/tensor.hpp"
#include "caffe/layer.hpp"
#include "geometry.hpp"

namespace caffe {
namespace fast {

/// A convolution whose vectors hold the same position of kLanes images, so that they are full for any number of
/// channels. oneDNN's vectors hold channels, and those of the LeNet-5 (1, 20 and 50) would leave them partly empty.
class AcrossImages {
 public:
  AcrossImages(Layer<float>* layer, const Geometry& geometry) : layer_(layer), geometry_(geometry) {}

  /// Returns whether this convolution can be used and is faster than oneDNN's: with AVX-512, for channels that do not
  /// fill vectors, a multiple of kLanes images and kernels kKernelWidth wide.
  bool Suits(const Shape& bottom, const Shape& top) const;
  void Forward(const Blob<float>& bottom, Blob<float>* top);
  void BackwardData(const Blob<float>& top, Blob<float>* bottom);
  void BackwardParameters(const Blob<float>& top, const Blob<float>& bottom);

 private:
  Correlation CorrelationOf(const Shape& bottom, const Shape& top) const;
  const float* Padded(const Tensor& images, int pad);
  void BackwardBias(const Tensor& dy);

  Layer<float>* layer_;
  Geometry geometry_;
  TensorPtr bottom_, bottom_diff_, top_;
  Buffer padded_, weight_;
};

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_ACROSS_IMAGES_HPP_
