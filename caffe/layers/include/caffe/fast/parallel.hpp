#ifndef CAFFE_FAST_PARALLEL_HPP_
#define CAFFE_FAST_PARALLEL_HPP_

#include <algorithm>
#include <cstddef>

#include <boost/noncopyable.hpp>

namespace caffe {
namespace fast {

/// Threads to be used: OMP_NUM_THREADS.
int Threads();

/// While it lives, the calling thread's own calls of oneDNN start no threads: those of OpenMP would keep the cores from
/// ours, and a forked process waits for them for ever.
class OneThread : boost::noncopyable {
 public:
  OneThread();
  ~OneThread();

 private:
  int before_;
};

void ParallelCalls(int count, void (*call)(const void*, int), const void* task);

/// Calls task(i) for i in 0..count-1 on all threads. What each computes must not depend on the thread: then results
/// are the same bytes for any number of threads. Calls from within a task, or from several threads at once, stay on
/// the calling thread. What a Chain has left is done before.
template <typename Task>
void Parallel(int count, const Task& task) {
  ParallelCalls(count, [](const void* t, int i) { (*static_cast<const Task*>(t))(i); }, &task);
}

/// Calls task(first, last) for ranges that cover 0..count-1, none smaller than `least` but the last.
template <typename Task>
void ParallelRanges(size_t count, size_t least, const Task& task) {
  const size_t kMostRanges = 64;
  const size_t step = std::max(least, (count + kMostRanges - 1) / kMostRanges);
  Parallel(static_cast<int>((count + step - 1) / step), [&](int i) {
    task(i * step, std::min(count, (i + 1) * step));
  });
}

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_PARALLEL_HPP_
