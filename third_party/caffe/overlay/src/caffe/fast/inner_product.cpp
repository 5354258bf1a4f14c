#include <algorithm>
#include <vector>

#include <dnnl.h>

#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"

namespace caffe {
namespace fast {

namespace {

/// c (m, n) = a' b' + beta c, row by row; a' is a (m, k), or for 'T' that of a (k, m). On the calling thread.
void Multiply(char transpose_a, char transpose_b, int m, int n, int k, const float* a, int lda, const float* b, int ldb,
    float beta, float* c, int ldc) {
  CHECK_EQ(dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc), dnnl_success);
}

class InnerProductImplementation : public Implementation<float> {
 public:
  InnerProductImplementation(Layer<float>* layer, const InnerProductParameter& param)
      : layer_(layer), outputs_(param.num_output()), bias_(param.bias_term()) {}

  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    const int inputs = Inputs(), rows = bottom[0]->count() / inputs;
    const float* x = bottom[0]->cpu_data();
    const float* weight = layer_->blobs()[0]->cpu_data();
    const float* bias = bias_ ? layer_->blobs()[1]->cpu_data() : NULL;
    float* y = top[0]->mutable_cpu_data();
    ForParts(outputs_, [&](int first, int size) {
      Multiply('N', 'T', rows, size, inputs, x, inputs, weight + static_cast<size_t>(first) * inputs, inputs, 0,
          y + first, outputs_);
      for (int row = 0; bias && row < rows; ++row) {
        Add(size, bias + first, y + static_cast<size_t>(row) * outputs_ + first);
      }
    });
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    const int inputs = Inputs(), rows = bottom[0]->count() / inputs;
    const float* dy = top[0]->cpu_diff();
    if (layer_->param_propagate_down(0)) {
      const float* x = bottom[0]->cpu_data();
      float* gradient = layer_->blobs()[0]->mutable_cpu_diff();
      ForParts(outputs_, [&](int first, int size) {
        Multiply('T', 'N', size, inputs, rows, dy + first, outputs_, x, inputs, 1,
            gradient + static_cast<size_t>(first) * inputs, inputs);
      });
    }
    if (bias_ && layer_->param_propagate_down(1)) {
      float* gradient = layer_->blobs()[1]->mutable_cpu_diff();
      for (int row = 0; row < rows; ++row) { Add(outputs_, dy + static_cast<size_t>(row) * outputs_, gradient); }
    }
    if (propagate_down[0]) {
      const float* weight = layer_->blobs()[0]->cpu_data();
      float* dx = bottom[0]->mutable_cpu_diff();
      ForParts(inputs, [&](int first, int size) {
        Multiply('N', 'N', rows, size, outputs_, dy, outputs_, weight + first, inputs, 0, dx + first, inputs);
      });
    }
    return true;
  }

 private:
  int Inputs() const { return layer_->blobs()[0]->count() / outputs_; }

  /// task(first, size) for parts of 0..count-1 whose bounds do not depend on the number of threads.
  template <typename Task>
  void ForParts(int count, const Task& task) {
    const int kMostParts = 16, kLeast = 16;
    const int step = std::max(kLeast, ((count + kMostParts - 1) / kMostParts + kLeast - 1) / kLeast * kLeast);
    Parallel((count + step - 1) / step, [&](int i) { task(i * step, std::min(step, count - i * step)); });
  }

  Layer<float>* layer_;
  int outputs_;
  bool bias_;
};

}  // namespace

ImplementationPtr NewInnerProduct(Layer<float>* layer) {
  const InnerProductParameter& param = layer->layer_param().inner_product_param();
  return ImplementationPtr(param.transpose() ? NULL : new InnerProductImplementation(layer, param));
}

}  // namespace fast
}  // namespace caffe
