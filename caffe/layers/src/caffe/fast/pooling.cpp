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
    const TensorPtr y = BeginWrite(top[0], DATA, block_, &top_);
    Pool(*bottom[0], *top[0], train_, y);
    EndWrite(top[0], DATA, *y);
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    if (!train_) {  // the test phase rarely needs gradients, so Forward did not keep the maxima's positions
      block_ = BlockOf(*bottom[0], DATA);
      Pool(*bottom[0], *top[0], true, TensorPtr(new Tensor(ShapeOf(*top[0]), block_)));
    }
    const Pooling pooling = Geometry(*bottom[0], *top[0]);
    const TensorPtr dy = Read(*top[0], DIFF, block_, &top_), dx = BeginWrite(bottom[0], DIFF, block_, &bottom_);
    CHECK_EQ(mask_.size(), dy->size()) << "Backward was called without a Forward of the same shape";
    ForBands(*dx, pooling.height, [=](int i, int first, int last) {
      MaxPoolGradient(pooling, dx->lanes(), first, last, dy->group(i), mask_.data() + i * dy->group_size(),
          dx->group(i));
    });
    EndWrite(bottom[0], DIFF, *dx);
    return true;
  }

 private:
  void Pool(const Blob<float>& bottom, const Blob<float>& top, bool with_mask, const TensorPtr& y) {
    const Pooling pooling = Geometry(bottom, top);
    const TensorPtr x = Read(bottom, DATA, block_, &bottom_);
    if (with_mask) { mask_.resize(y->size()); }
    ForBands(*x, pooling.pooled_height, [=](int i, int first, int last) {
      uint8_t* mask = with_mask ? mask_.data() + i * y->group_size() : NULL;
      MaxPool(pooling, x->lanes(), first, last, x->group(i), y->group(i), mask);
    });
  }

  /// Calls task(group, first, end) for bands of rows of every group of planes.
  template <typename Task>
  void ForBands(const Tensor& tensor, int rows, const Task& task) {
    if (DeferGroups(tensor, [=](int i) { task(i, 0, rows); })) { return; }
    const int kFewGroups = 8, kBands = 4;
    const int groups = tensor.groups(), bands = groups < kFewGroups ? kBands : 1;
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
  std::vector<uint8_t> mask_;  // positions of the maxima in their windows
  TensorPtr bottom_, top_;
};

}  // namespace

ImplementationPtr NewPooling(const LayerParameter& param, const Blobs& bottom, const Blobs& top) {
  const PoolingParameter& p = param.pooling_param();
  const int kMostPositions = 255;  // in a window: one byte holds a position or "none"
  const int positions = p.global_pooling() ? kMostPositions + 1
      : p.has_kernel_size() ? p.kernel_size() * p.kernel_size() : p.kernel_h() * p.kernel_w();
  if (p.pool() != PoolingParameter_PoolMethod_MAX || top.size() != 1 || bottom[0]->num_axes() != 4 ||
      positions > kMostPositions) {
    return ImplementationPtr();
  }
  return ImplementationPtr(new PoolingImplementation(p, param.phase() == TRAIN));
}

}  // namespace fast
}  // namespace caffe
