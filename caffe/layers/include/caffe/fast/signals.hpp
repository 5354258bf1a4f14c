#ifndef CAFFE_FAST_SIGNALS_HPP_
#define CAFFE_FAST_SIGNALS_HPP_

#include <signal.h>

#include <boost/noncopyable.hpp>

namespace caffe {
namespace fast {

/// A scope in which the calling thread may multiply matrices with oneDNN. Before version 3.11.2 (its issue 4845),
/// oneDNN does so with the stack pointer in the heap, where the system would write the frame of a signal handler.
/// Handlers that allow a stack of their own (SA_ONSTACK, as all of Python's do) get one. Signals with other handlers
/// wait, or go to other threads.
class SignalGuard : boost::noncopyable {
 public:
  SignalGuard();
  ~SignalGuard();

 private:
  sigset_t before_;
};

/// Blocks signals on the calling thread for the rest of its life. Other threads must be able to take them.
void BlockSignals();

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_SIGNALS_HPP_
