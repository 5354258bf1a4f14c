#include "caffe/fast/descent.hpp"

#include <algorithm>
#include <string>
#include <vector>

#include "caffe/fast/engine.hpp"
#include "caffe/fast/kernels.hpp"
#include "caffe/fast/parallel.hpp"

namespace caffe {
namespace fast {

namespace {

const size_t kLeast = 4096;  // number of floats from which another thread is worth its call

}  // namespace

template <typename Dtype>
void Clear(size_t n, Dtype* diff) {
  ParallelRanges(n, kLeast, [&](size_t first, size_t end) { std::fill(diff + first, diff + end, Dtype(0)); });
}

template void Clear(size_t n, float* diff);
template void Clear(size_t n, double* diff);

template <>
bool Descend(Net<double>*, const SolverParameter&, const std::string&, double,
    const std::vector<boost::shared_ptr<Blob<double> > >&) {
  return false;
}

template <>
bool Descend(Net<float>* net, const SolverParameter& param, const std::string& type, float rate,
    const std::vector<boost::shared_ptr<Blob<float> > >& history) {
  const bool decays = param.weight_decay() != 0;
  if (!FastLayersChosen() || Caffe::mode() != Caffe::CPU || type != "SGD" ||
      (decays && param.regularization_type() != "L2")) {
    return false;
  }
  const std::vector<Blob<float>*>& parameters = net->learnable_params();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Descent step = {
      1.f / param.iter_size(), param.weight_decay() * net->params_weight_decay()[i], rate * net->params_lr()[i],
      param.momentum(),
    };
    float* data = parameters[i]->mutable_cpu_data();
    float* diff = parameters[i]->mutable_cpu_diff();
    float* old = history[i]->mutable_cpu_data();
    ParallelRanges(parameters[i]->count(), kLeast, [&](size_t first, size_t end) {
      Descend(end - first, step, data + first, diff + first, old + first);
    });
  }
  return true;
}

}  // namespace fast
}  // namespace caffe
