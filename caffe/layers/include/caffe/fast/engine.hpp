#ifndef CAFFE_FAST_ENGINE_HPP_
#define CAFFE_FAST_ENGINE_HPP_

#include <vector>

#include <boost/shared_ptr.hpp>

namespace caffe {

template <typename Dtype> class Blob;
template <typename Dtype> class Layer;

namespace fast {

/// A layer's fast implementation, which uses all cores and vector units in place of Forward_cpu and Backward_cpu.
template <typename Dtype>
class Implementation {
 public:
  typedef std::vector<Blob<Dtype>*> Blobs;

  virtual ~Implementation() {}
  /// Returns false, having done nothing, if the stock layer must compute.
  virtual bool Forward(const Blobs& bottom, const Blobs& top) = 0;
  /// Like Forward. Called only after a Forward of the same layer.
  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) = 0;
};

/// Returns whether the environment asks for the fast layers, which it does unless NBCAD_CAFFE_LAYERS=stock. A value
/// other than fast and stock ends the process.
bool FastLayersChosen();

/// Returns the fast implementation of a layer that has just been set up, or null if the layer is to use the stock one:
/// under NBCAD_CAFFE_LAYERS=stock, for double, and for layers and parameters without a fast implementation.
template <typename Dtype>
boost::shared_ptr<Implementation<Dtype> > Create(Layer<Dtype>* layer, const std::vector<Blob<Dtype>*>& bottom,
    const std::vector<Blob<Dtype>*>& top);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_ENGINE_HPP_
