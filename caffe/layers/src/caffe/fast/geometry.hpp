#ifndef CAFFE_FAST_GEOMETRY_HPP_
#define CAFFE_FAST_GEOMETRY_HPP_

namespace caffe {
namespace fast {

/// The sizes of a convolution layer.
struct Geometry {
  int outputs, inputs, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  bool bias;
};

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_GEOMETRY_HPP_
