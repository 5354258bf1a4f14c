#ifndef CAFFE_FAST_PARALLEL_HPP_
#define CAFFE_FAST_PARALLEL_HPP_

#include <algorithm>
#include <cstddef>

#include <boost/noncopyable.hpp>

namespace caffe {
namespace fast {

/// Returns the number of threads to use: OMP_NUM_THREADS, or else one for each core.
int Threads();

/// A scope in which the calling thread's own calls of oneDNN start no threads. OpenMP's threads would compete with
/// ours for the cores, and a forked process would wait for them forever.
class OneThread : boost::noncopyable {
 public:
  OneThread();
  ~OneThread();

 private:
  int before_;
};

void ParallelCalls(int count, void (*call)(const void*, int), const void* task);

/// Runs the deferred work (chain.hpp), then calls task(i) for i in 0..count-1 on all threads. The result of task(i)
/// must not depend on the thread that runs it: the results are then the same bytes for any number of threads. Parallel
/// called within a task, or by several threads at once, stays on the calling thread.
template <typename Task>
void Parallel(int count, const Task& task) {
  ParallelCalls(count, [](const void* t, int i) { (*static_cast<const Task*>(t))(i); }, &task);
}

/// Calls task(first, end) for ranges that together cover 0..count-1. All but the last hold at least `least` numbers.
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
