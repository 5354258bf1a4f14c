#include "caffe/fast/chain.hpp"

#include <vector>

#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

/// The work that a thread has deferred: each of the tasks is to run for each image.
struct Deferred {
  int chains, images;
  std::vector<std::function<void(int)> > tasks;
};

Deferred& DeferredByThread() {
  static thread_local Deferred deferred = {};
  return deferred;
}

bool Defers(int images) { return DeferredByThread().chains > 0 && images >= 2 * Threads(); }

}  // namespace

Chain::Chain() { ++DeferredByThread().chains; }

Chain::~Chain() {
  RunDeferred();
  --DeferredByThread().chains;
}

void ForImages(int images, const std::function<void(int)>& task) {
  if (!Defers(images)) {
    Parallel(images, task);
    return;
  }
  Deferred& deferred = DeferredByThread();
  if (deferred.images != images) { RunDeferred(); }
  deferred.images = images;
  deferred.tasks.push_back(task);
}

bool DeferGroups(const Tensor& tensor, const std::function<void(int)>& task) {
  const int images = tensor.shape().n;
  if (tensor.block() == kImages || !Defers(images)) { return false; }
  const int groups = tensor.groups() / images;
  ForImages(images, [=](int image) {
    for (int i = image * groups; i < (image + 1) * groups; ++i) { task(i); }
  });
  return true;
}

void RunDeferred() {
  std::vector<std::function<void(int)> > tasks;
  tasks.swap(DeferredByThread().tasks);
  if (tasks.empty()) { return; }
  Parallel(DeferredByThread().images, [&](int i) {
    for (size_t k = 0; k < tasks.size(); ++k) { tasks[k](i); }
  });
}

}  // namespace fast
}  // namespace caffe
