#ifndef CAFFE_FAST_MEMORY_HPP_
#define CAFFE_FAST_MEMORY_HPP_

#include <cstddef>

namespace caffe {
namespace fast {

/// Memory for free(), aligned to a cache line; from 2 MB on in the system's large pages, where it gives them on
/// request: in layers that memory bounds, fewer misses of translations. NULL: there is none.
void* Allocate(size_t bytes);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_MEMORY_HPP_
