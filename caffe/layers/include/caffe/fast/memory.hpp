#ifndef CAFFE_FAST_MEMORY_HPP_
#define CAFFE_FAST_MEMORY_HPP_

#include <cstddef>

namespace caffe {
namespace fast {

/// Allocates memory, aligned to a cache line, that free() releases. For 2 MB and more it asks the system for large
/// pages: address translations then miss less often (TLB), which speeds up layers bound by memory. Returns NULL if
/// there is no memory left.
void* Allocate(size_t bytes);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_MEMORY_HPP_
