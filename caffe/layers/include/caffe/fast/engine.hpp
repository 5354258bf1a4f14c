#ifndef CAFFE_FAST_ENGINE_HPP_
#define CAFFE_FAST_ENGINE_HPP_

#include <vector>

#include <boost/shared_ptr.hpp>

namespace caffe {

template <typename Dtype> class Blob;
template <typename Dtype> class Layer;

namespace fast {

/// What a layer computes, a second time: on all cores and vector units, in place of Forward_cpu and Backward_cpu.
template <typename Dtype>
class Implementation {
 public:
  typedef std::vector<Blob<Dtype>*> Blobs;

  virtual ~Implementation() {}
  /// False: nothing was done, and the stock layer has to.
  virtual bool Forward(const Blobs& bottom, const Blobs& top) = 0;
  /// As Forward; it is called only after a Forward of the same layer.
  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) = 0;
};

/// False for NBCAD_CAFFE_LAYERS=stock in the environment.
bool Chosen();

/// The fast implementation for a layer that has just been set up; null where the stock one is to be used: for double,
/// for a layer or parameters that have none, and where it was chosen (read when a layer is set up).
template <typename Dtype>
boost::shared_ptr<Implementation<Dtype> > Create(Layer<Dtype>* layer, const std::vector<Blob<Dtype>*>& bottom,
    const std::vector<Blob<Dtype>*>& top);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_ENGINE_HPP_
