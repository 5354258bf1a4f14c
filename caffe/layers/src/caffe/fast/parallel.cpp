#include "caffe/fast/parallel.hpp"

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include <omp.h>
#include <pthread.h>
#include <sched.h>

#include "caffe/fast/chain.hpp"
#include "caffe/fast/signals.hpp"

namespace caffe {
namespace fast {

namespace {

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

/// Helper threads for the calling thread. The caller takes tasks as the helpers do and waits only for tasks that a
/// helper has begun, so a helper that a busy machine does not run for a while delays nothing.
class Pool {
 public:
  Pool() : state_(0), done_(0), busy_(false), sleeping_(0), threads_(1), started_(1) {}

  void Run(int count, int threads, void (*call)(const void*, int), const void* task) {
    if (threads <= 1 || count <= 1 || count > kMostTasks || busy_.exchange(true)) {
      for (int i = 0; i < count; ++i) { call(task, i); }
      return;
    }
    call_ = call;
    task_ = task;
    done_ = 0;
    threads_ = threads;
    state_ = static_cast<uint64_t>(count) << kBits;
    Wake(threads);
    Work();
    for (int turns = 0; done_ < count; ++turns) {
      Pause();
      if (turns > kTurns) { sched_yield(); }
    }
    busy_ = false;
  }

 private:
  static const int kBits = 24;
  static const int kMostTasks = 1 << 20;
  static const int kTurns = 2000;

  /// Takes and runs tasks while there are any. The state holds the number of tasks in its upper bits and the next task
  /// in the lower kBits. Both are read at once, so that a late thread takes a task of the current loop or none.
  void Work() {
    for (;;) {
      const uint64_t state = state_.fetch_add(1);
      const int next = static_cast<int>(state & ((1 << kBits) - 1));
      if (next >= static_cast<int>(state >> kBits)) { return; }
      call_(task_, next);
      ++done_;
    }
  }

  bool HasWork() const {
    const uint64_t state = state_;
    return static_cast<int>(state & ((1 << kBits) - 1)) < static_cast<int>(state >> kBits);
  }

  void Wake(int threads) {
    for (; started_ < threads; ++started_) { std::thread(&Pool::Help, this, started_).detach(); }
    if (sleeping_ > 0) {
      std::lock_guard<std::mutex> lock(mutex_);
      wake_.notify_all();
    }
  }

  void Help(int number) {
    BlockSignals();
    omp_set_num_threads(1);
    for (;;) {
      for (int turns = 0; turns < kTurns; ++turns) {
        if (number < threads_ && HasWork()) {
          Work();
          turns = 0;
        }
        Pause();
      }
      std::unique_lock<std::mutex> lock(mutex_);
      ++sleeping_;
      wake_.wait(lock, [&] { return number < threads_ && HasWork(); });
      --sleeping_;
    }
  }

  std::atomic<uint64_t> state_;
  std::atomic<int> done_;
  std::atomic<bool> busy_;
  std::atomic<int> sleeping_, threads_;
  int started_;
  void (*call_)(const void*, int);
  const void* task_;
  std::mutex mutex_;
  std::condition_variable wake_;
};

// Never destroyed, because its threads never end. A forked process has none of them and makes its own pool.
Pool* pool = NULL;
std::mutex pool_mutex;

void LockPool() { pool_mutex.lock(); }
void UnlockPool() { pool_mutex.unlock(); }
void ForgetPool() {
  pool = NULL;
  pool_mutex.unlock();
}

Pool& ThePool() {
  std::lock_guard<std::mutex> lock(pool_mutex);
  static const int registered = pthread_atfork(LockPool, UnlockPool, ForgetPool);
  if (!pool) { pool = new Pool(); }
  static_cast<void>(registered);
  return *pool;
}

}  // namespace

int Threads() { return omp_get_max_threads(); }

OneThread::OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }

OneThread::~OneThread() { omp_set_num_threads(before_); }

void ParallelCalls(int count, void (*call)(const void*, int), const void* task) {
  RunDeferred();
  const int threads = Threads();
  const OneThread alone;
  ThePool().Run(count, threads, call, task);
}

}  // namespace fast
}  // namespace caffe
