#include <algorithm>
#include <vector>

#include <dnnl.h>

#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

/// Computes c = a' b' + beta c on the calling thread, with c (m, n), a' (m, k) and b' (k, n) row by row. a' is a, or
/// for 'T' the transpose of a; likewise b'.
void Multiply(char transpose_a, char transpose_b, int m, int n, int k, const float* a, int lda, const float* b, int ldb,
    float beta, float* c, int ldc) {
  CHECK_EQ(dnnl_sgemm(transpose_a, transpose_b, m, n, k, 1.f, a, lda, b, ldb, beta, c, ldc), dnnl_success);
}

/// Computes b (columns, rows), the transpose of a (rows, columns), in squares that stay in the first-level cache.
void Transpose(int rows, int columns, const float* a, int lda, float* b, int ldb) {
  const int kSquare = 16;
  for (int i0 = 0; i0 < rows; i0 += kSquare) {
    for (int j0 = 0; j0 < columns; j0 += kSquare) {
      for (int j = j0; j < std::min(columns, j0 + kSquare); ++j) {
        for (int i = i0; i < std::min(rows, i0 + kSquare); ++i) {
          b[static_cast<size_t>(j) * ldb + i] = a[static_cast<size_t>(i) * lda + j];
        }
      }
    }
  }
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
    // Weights times the transposed input is twice as fast as input times the transposed weights: oneDNN reads the
    // weights in the order in which they are stored.
    float* columns = columns_.Get(static_cast<size_t>(rows) * (inputs + outputs_));
    float* products = columns + static_cast<size_t>(rows) * inputs;
    ForParts(inputs, [&](int first, int size) {
      Transpose(rows, size, x + first, inputs, columns + static_cast<size_t>(first) * rows, rows);
    });
    ForParts(outputs_, [&](int first, int size) {
      float* product = products + static_cast<size_t>(first) * rows;
      Multiply('N', 'N', size, rows, inputs, weight + static_cast<size_t>(first) * inputs, inputs, columns, rows, 0,
          product, rows);
      Transpose(size, rows, product, rows, y + first, outputs_);
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

  /// Calls task(first, size) for parts of 0..count-1. Their bounds do not depend on the number of threads.
  template <typename Task>
  void ForParts(int count, const Task& task) {
    // For the gradients of fc7's 1024 outputs, parts of 32 take oneDNN a quarter less time than parts of 64.
    const int kMostParts = 32, kLeast = 32;
    const int step = std::max(kLeast, ((count + kMostParts - 1) / kMostParts + kLeast - 1) / kLeast * kLeast);
    Parallel((count + step - 1) / step, [&](int i) { task(i * step, std::min(step, count - i * step)); });
  }

  Layer<float>* layer_;
  int outputs_;
  bool bias_;
  Buffer columns_;
};

}  // namespace

ImplementationPtr NewInnerProduct(Layer<float>* layer) {
  const InnerProductParameter& param = layer->layer_param().inner_product_param();
  return ImplementationPtr(param.transpose() ? NULL : new InnerProductImplementation(layer, param));
}

}  // namespace fast
}  // namespace caffe
