#ifndef CAFFE_FAST_SIGNALS_HPP_
#define CAFFE_FAST_SIGNALS_HPP_

#include <signal.h>

#include <boost/noncopyable.hpp>

namespace caffe {
namespace fast {

/// While one lives, the calling thread may multiply matrices by oneDNN. Before 3.11.2 (its issue 4845) oneDNN does so
/// with the stack pointer in the heap, where the system would write the frame of a signal's handler. Handlers that may
/// have a stack of their own (SA_ONSTACK, as all of Python's) get one; signals with others wait, or go to other threads.
class Signals : boost::noncopyable {
 public:
  Signals();
  ~Signals();

 private:
  sigset_t before_;
};

/// The same for the whole life of a thread whose signals others can take.
void BlockSignals();

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_SIGNALS_HPP_
