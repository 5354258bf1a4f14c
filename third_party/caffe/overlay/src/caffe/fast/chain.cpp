#include "caffe/fast/chain.hpp"

#include <vector>

#include "caffe/fast/parallel.hpp"

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

}  // namespace

Chain::Chain() { ++OfThread().chains; }

Chain::~Chain() {
  Finish();
  --OfThread().chains;
}

bool Leaves(int images) { return OfThread().chains > 0 && images >= 2 * Threads(); }

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
