#include <vector>

#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

class PoolingImplementation : public Implementation<float> {
 public:
  PoolingImplementation(const PoolingParameter& param, bool with_places) : param_(param), with_places_(with_places) {}

  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    const Pooling pooling = Geometry(*bottom[0], *top[0]);
    const TensorPtr x = Read(*bottom[0], DATA, &bottom_), y = Write(top[0], DATA, &top_);
    if (with_places_) { places_.resize(y->size()); }
    const int blocks = x->blocks();
    Parallel(x->shape().n * blocks, [&](int task) {
      const size_t from = x->image_size() / blocks * task, to = y->image_size() / blocks * task;
      MaxPool(pooling, BlockSize(), x->image(0) + from, y->image(0) + to, with_places_ ? places_.data() + to : NULL);
    });
    Written(top[0], DATA, *y);
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    CHECK(with_places_) << "a backward pass in the test phase: NBCAD_CAFFE_LAYERS=stock can";
    const Pooling pooling = Geometry(*bottom[0], *top[0]);
    const TensorPtr dy = Read(*top[0], DIFF, &top_), dx = Write(bottom[0], DIFF, &bottom_);
    const int blocks = dx->blocks();
    Parallel(dx->shape().n * blocks, [&](int task) {
      const size_t from = dy->image_size() / blocks * task, to = dx->image_size() / blocks * task;
      MaxPoolGradient(pooling, BlockSize(), dy->image(0) + from, places_.data() + from, dx->image(0) + to);
    });
    Written(bottom[0], DIFF, *dx);
    return true;
  }

 private:
  Pooling Geometry(const Blob<float>& bottom, const Blob<float>& top) const {
    const PoolingParameter& p = param_;
    const int stride = p.stride(), pad = p.pad(), kernel = p.kernel_size();
    const bool all = p.global_pooling();
    const Pooling pooling = {
      bottom.height(), bottom.width(), top.height(), top.width(),
      all ? bottom.height() : p.has_kernel_size() ? kernel : static_cast<int>(p.kernel_h()),
      all ? bottom.width() : p.has_kernel_size() ? kernel : static_cast<int>(p.kernel_w()),
      p.has_stride_h() ? static_cast<int>(p.stride_h()) : stride,
      p.has_stride_h() ? static_cast<int>(p.stride_w()) : stride,
      p.has_pad_h() ? static_cast<int>(p.pad_h()) : pad,
      p.has_pad_h() ? static_cast<int>(p.pad_w()) : pad,
    };
    return pooling;
  }

  PoolingParameter param_;
  bool with_places_;
  std::vector<uint8_t> places_;
  TensorPtr bottom_, top_;
};

}  // namespace

ImplementationPtr NewPooling(const LayerParameter& param, const Blobs& bottom, const Blobs& top) {
  const PoolingParameter& p = param.pooling_param();
  const int kMostPlaces = 255;  // a byte says which
  const int places = p.global_pooling() ? kMostPlaces + 1
      : p.has_kernel_size() ? p.kernel_size() * p.kernel_size() : p.kernel_h() * p.kernel_w();
  if (p.pool() != PoolingParameter_PoolMethod_MAX || top.size() != 1 || bottom[0]->num_axes() != 4 ||
      places > kMostPlaces) {
    return ImplementationPtr();
  }
  return ImplementationPtr(new PoolingImplementation(p, true));
}

}  // namespace fast
}  // namespace caffe
