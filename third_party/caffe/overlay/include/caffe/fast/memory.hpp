#ifndef CAFFE_FAST_MEMORY_HPP_
#define CAFFE_FAST_MEMORY_HPP_

#include <cstddef>

namespace caffe {
namespace fast {

/// Memory from a cache line's begin on, for free(); where it fills them in the system's large pages, if it has them on
/// request: in layers that memory bounds, fewer misses of translations. NULL: there is none.
void* Allocate(size_t bytes);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_MEMORY_HPP_
