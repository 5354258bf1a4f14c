#include "caffe/fast/memory.hpp"

#include <algorithm>
#include <cstdlib>

#include <sys/mman.h>

namespace caffe {
namespace fast {

void* Allocate(size_t bytes) {
  const size_t kLine = 64, kLargePage = 2 << 20;
  const size_t step = bytes < kLargePage ? kLine : kLargePage;
  const size_t rounded = (std::max<size_t>(bytes, 1) + step - 1) / step * step;
  void* memory = aligned_alloc(step, rounded);
  if (memory && step == kLargePage) { madvise(memory, rounded, MADV_HUGEPAGE); }
  return memory;
}

}  // namespace fast
}  // namespace caffe
