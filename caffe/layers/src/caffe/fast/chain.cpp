#include "caffe/fast/chain.hpp"

#include <vector>

#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

/// What a thread has left: each of the tasks for each image.
struct Left {
  int chains, images;
  std::vector<std::function<void(int)> > tasks;
};

Left& OfThread() {
  static thread_local Left left = {};
  return left;
}

bool Leaves(int images) { return OfThread().chains > 0 && images >= 2 * Threads(); }

}  // namespace

Chain::Chain() { ++OfThread().chains; }

Chain::~Chain() {
  Finish();
  --OfThread().chains;
}

void ForImages(int images, const std::function<void(int)>& task) {
  if (!Leaves(images)) {
    Parallel(images, task);
    return;
  }
  Left& left = OfThread();
  if (left.images != images) { Finish(); }
  left.images = images;
  left.tasks.push_back(task);
}

bool LeaveGroups(const Tensor& tensor, const std::function<void(int)>& task) {
  const int images = tensor.shape().n;
  if (tensor.block() == kImages || !Leaves(images)) { return false; }
  const int groups = tensor.groups() / images;
  ForImages(images, [=](int image) {
    for (int i = image * groups; i < (image + 1) * groups; ++i) { task(i); }
  });
  return true;
}

void Finish() {
  std::vector<std::function<void(int)> > tasks;
  tasks.swap(OfThread().tasks);
  if (tasks.empty()) { return; }
  Parallel(OfThread().images, [&](int i) {
    for (size_t k = 0; k < tasks.size(); ++k) { tasks[k](i); }
  });
}

}  // namespace fast
}  // namespace caffe
