// The layers that compute each value from a single value (Sigmoid, ReLU, Dropout), and Softmax.
#include <algorithm>
#include <vector>

#include "caffe/fast/chain.hpp"
#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"
#include "caffe/util/math_functions.hpp"

namespace caffe {
namespace fast {

namespace {

const size_t kLeast = 4096;  // number of floats from which another thread is worth its call
const size_t kRun = 1024;    // number of floats, a multiple of any vector's

const float* Plain(const Blob<float>& blob, Part part) { return part == DATA ? blob.cpu_data() : blob.cpu_diff(); }

float* MutablePlain(Blob<float>* blob, Part part) {
  return part == DATA ? blob->mutable_cpu_data() : blob->mutable_cpu_diff();
}

/// Calls task(n, x, z, y) for runs of the values of tensors. A run begins at a multiple of kRun in its group, for any
/// number of threads: if its last values do not fill a vector, another exp computes them, whose last bit may differ.
template <typename Task>
void ForGroups(const TensorPtr& x, const TensorPtr& z, const TensorPtr& y, const Task& task) {
  const size_t size = y->group_size();
  const auto part = [=](int i, size_t first, size_t end) {
    task(end - first, x->group(i) + first, z->group(i) + first, y->group(i) + first);
  };
  if (DeferGroups(*y, [=](int i) { part(i, 0, size); })) { return; }
  const size_t kMostParts = 64, least = std::max(kLeast, y->size() / kMostParts);
  const size_t step = (least + kRun - 1) / kRun * kRun, parts = (size + step - 1) / step;
  Parallel(static_cast<int>(y->groups() * parts), [&](int i) {
    const size_t first = i % parts * step;
    part(static_cast<int>(i / parts), first, std::min(size, first + step));
  });
}

/// Calls task(n, x, z, y) for runs of the values of x, z and y = to: in the fast layers' layout if all three can have
/// the same, and otherwise in Caffe's.
template <typename Task>
void ForEach(const Blob<float>& x, Part x_part, const Blob<float>& z, Part z_part, Blob<float>* to, Part to_part,
    const Task& task) {
  if (HasTensor(x, x_part) && HasTensor(z, z_part) && MayHoldTensor(*to, to_part) &&
      BlockOf(x, x_part) == BlockOf(z, z_part)) {
    TensorPtr none;
    ForGroups(TensorOf(x, x_part), TensorOf(z, z_part), BeginWrite(to, to_part, BlockOf(x, x_part), &none), task);
    return;
  }
  const float *px = Plain(x, x_part), *pz = Plain(z, z_part);
  float* py = MutablePlain(to, to_part);
  ParallelRanges(to->count(), kLeast, [&](size_t i, size_t end) { task(end - i, px + i, pz + i, py + i); });
}

class SigmoidImplementation : public Implementation<float> {
 public:
  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    ForEach(*bottom[0], DATA, *bottom[0], DATA, top[0], DATA,
        [](size_t n, const float* x, const float*, float* y) { Sigmoid(n, x, y); });
    return true;
  }
  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    ForEach(*top[0], DATA, *top[0], DIFF, bottom[0], DIFF,
        [](size_t n, const float* y, const float* dy, float* dx) { SigmoidGradient(n, y, dy, dx); });
    return true;
  }
};

class ReLUImplementation : public Implementation<float> {
 public:
  explicit ReLUImplementation(float slope) : slope_(slope) {}
  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    ForEach(*bottom[0], DATA, *bottom[0], DATA, top[0], DATA,
        [this](size_t n, const float* x, const float*, float* y) { ReLU(n, slope_, x, y); });
    return true;
  }
  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    ForEach(*bottom[0], DATA, *top[0], DIFF, bottom[0], DIFF,
        [this](size_t n, const float* x, const float* dy, float* dx) { ReLUGradient(n, slope_, x, dy, dx); });
    return true;
  }

 private:
  float slope_;
};

class DropoutImplementation : public Implementation<float> {
 public:
  explicit DropoutImplementation(const LayerParameter& param)
      : train_(param.phase() == TRAIN), ratio_(param.dropout_param().dropout_ratio()), scale_(1. / (1. - ratio_)) {}
  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    if (!train_) {
      if (top[0] != bottom[0]) { caffe_copy(top[0]->count(), bottom[0]->cpu_data(), top[0]->mutable_cpu_data()); }
      return true;
    }
    mask_.resize(bottom[0]->count());
    // The same seed drops the same values: Caffe's generator is asked in the stock layer's order.
    caffe_rng_bernoulli(static_cast<int>(mask_.size()), 1. - ratio_, mask_.data());
    Apply(bottom[0]->cpu_data(), top[0]->mutable_cpu_data());
    return true;
  }
  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    if (!propagate_down[0]) { return true; }
    if (train_) {
      Apply(top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
    } else if (top[0] != bottom[0]) {
      caffe_copy(top[0]->count(), top[0]->cpu_diff(), bottom[0]->mutable_cpu_diff());
    }
    return true;
  }

 private:
  void Apply(const float* x, float* y) {
    ParallelRanges(mask_.size(), kLeast, [&](size_t i, size_t end) {
      MaskAndScale(end - i, x + i, mask_.data() + i, scale_, y + i);
    });
  }

  bool train_;
  float ratio_, scale_;
  std::vector<unsigned int> mask_;
};

class SoftmaxImplementation : public Implementation<float> {
 public:
  explicit SoftmaxImplementation(int axis) : axis_(axis) {}
  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    const float* x = bottom[0]->cpu_data();
    float* y = top[0]->mutable_cpu_data();
    ForColumns(*bottom[0], [=](size_t at, int channels, int inner, int first, int last) {
      Softmax(channels, inner, first, last, x + at, y + at);
    });
    return true;
  }
  virtual bool Backward(const Blobs& top, const std::vector<bool>&, const Blobs& bottom) {
    const float *y = top[0]->cpu_data(), *dy = top[0]->cpu_diff();
    float* dx = bottom[0]->mutable_cpu_diff();
    ForColumns(*top[0], [=](size_t at, int channels, int inner, int first, int last) {
      SoftmaxGradient(channels, inner, first, last, y + at, dy + at, dx + at);
    });
    return true;
  }

 private:
  template <typename Task>
  void ForColumns(const Blob<float>& blob, const Task& task) {
    const int axis = blob.CanonicalAxisIndex(axis_);
    const int channels = blob.shape(axis), inner = blob.count(axis + 1), outer = blob.count(0, axis);
    const size_t columns = static_cast<size_t>(outer) * inner;
    ParallelRanges(columns, kLeast / channels + 1, [&](size_t i, size_t end) {
      while (i < end) {
        const int first = static_cast<int>(i % inner);
        const int last = static_cast<int>(std::min<size_t>(inner, first + (end - i)));
        task(i / inner * channels * inner, channels, inner, first, last);
        i += last - first;
      }
    });
  }

  int axis_;
};

}  // namespace

ImplementationPtr NewSigmoid() { return ImplementationPtr(new SigmoidImplementation()); }

ImplementationPtr NewReLU(const LayerParameter& param) {
  return ImplementationPtr(new ReLUImplementation(param.relu_param().negative_slope()));
}

ImplementationPtr NewDropout(const LayerParameter& param) {
  return ImplementationPtr(new DropoutImplementation(param));
}

ImplementationPtr NewSoftmax(const LayerParameter& param) {
  return ImplementationPtr(new SoftmaxImplementation(param.softmax_param().axis()));
}

}  // namespace fast
}  // namespace caffe
