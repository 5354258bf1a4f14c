#include <vector>

#include "caffe/fast/chain.hpp"
#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

class PoolingImplementation : public Implementation<float> {
 public:
  PoolingImplementation(const PoolingParameter& param, bool train) : param_(param), train_(train), block_(0) {}

  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    block_ = BlockOf(*bottom[0], DATA);
    const TensorPtr y = Write(top[0], DATA, block_, &top_);
    Pool(*bottom[0], *top[0], train_, y);
    Written(top[0], DATA, *y);
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    if (!train_) {  // there nobody asks for gradients, as a rule, and where the maxima are is found again
      block_ = BlockOf(*bottom[0], DATA);
      Pool(*bottom[0], *top[0], true, TensorPtr(new Tensor(ShapeOf(*top[0]), block_)));
    }
    const Pooling pooling = Geometry(*bottom[0], *top[0]);
    const TensorPtr dy = Read(*top[0], DIFF, block_, &top_), dx = Write(bottom[0], DIFF, block_, &bottom_);
    CHECK_EQ(places_.size(), dy->size()) << "backward without the forward pass that it belongs to";
    ForBands(*dx, pooling.height, [=](int i, int first, int last) {
      MaxPoolGradient(pooling, dx->lanes(), first, last, dy->group(i), places_.data() + i * dy->group_size(),
          dx->group(i));
    });
    Written(bottom[0], DIFF, *dx);
    return true;
  }

 private:
  void Pool(const Blob<float>& bottom, const Blob<float>& top, bool with_places, const TensorPtr& y) {
    const Pooling pooling = Geometry(bottom, top);
    const TensorPtr x = Read(bottom, DATA, block_, &bottom_);
    if (with_places) { places_.resize(y->size()); }
    ForBands(*x, pooling.pooled_height, [=](int i, int first, int last) {
      uint8_t* places = with_places ? places_.data() + i * y->group_size() : NULL;
      MaxPool(pooling, x->lanes(), first, last, x->group(i), y->group(i), places);
    });
  }

  /// task(group of planes, first row, end of the rows)
  template <typename Task>
  void ForBands(const Tensor& tensor, int rows, const Task& task) {
    if (LeaveGroups(tensor, [=](int i) { task(i, 0, rows); })) { return; }
    const int kFew = 8, kBands = 4;
    const int groups = tensor.groups(), bands = groups < kFew ? kBands : 1;
    Parallel(groups * bands, [&](int i) {
      const int band = i % bands;
      task(i / bands, rows * band / bands, rows * (band + 1) / bands);
    });
  }

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
  bool train_;
  int block_;
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
  return ImplementationPtr(new PoolingImplementation(p, param.phase() == TRAIN));
}

}  // namespace fast
}  // namespace caffe
