#include "caffe/fast/signals.hpp"

#include <algorithm>
#include <cstdlib>

#include <unistd.h>

namespace caffe {
namespace fast {

namespace {

/// A stack for the signal handlers that run on a thread.
class HandlerStack : boost::noncopyable {
 public:
  HandlerStack() : stack_() {
    const size_t kLeast = 1 << 16;  // the frame alone may take 11 kB: it holds all registers
    stack_.ss_size = std::max<size_t>(kLeast, sysconf(_SC_SIGSTKSZ));
    stack_.ss_sp = malloc(stack_.ss_size);
  }
  ~HandlerStack() {
    stack_t now;
    if (sigaltstack(NULL, &now) == 0 && now.ss_sp == stack_.ss_sp) {
      now.ss_flags = SS_DISABLE;
      sigaltstack(&now, NULL);
    }
    free(stack_.ss_sp);
  }
  /// Gives the stack to the calling thread, unless the thread has one.
  void Install() const {
    stack_t now;
    if (stack_.ss_sp && sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE)) { sigaltstack(&stack_, NULL); }
  }

 private:
  stack_t stack_;
};

/// Returns whether the signal has no handler, or one that may run on a HandlerStack.
bool IsHarmless(int signal) {
  struct sigaction action;
  if (sigaction(signal, NULL, &action) != 0) { return true; }  // it cannot have a handler
  const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
  return !handled || (action.sa_flags & SA_ONSTACK);
}

/// Returns whether the signal reports an error of the thread itself, after which the heap is of no use.
bool IsFault(int signal) {
  return signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGSEGV ||
      signal == SIGSYS || signal == SIGTRAP;
}

}  // namespace

SignalGuard::SignalGuard() {
  static thread_local const HandlerStack stack;
  stack.Install();
  sigset_t harmful;
  sigemptyset(&harmful);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (!IsFault(signal) && !IsHarmless(signal)) { sigaddset(&harmful, signal); }
  }
  pthread_sigmask(SIG_BLOCK, &harmful, &before_);
}

SignalGuard::~SignalGuard() { pthread_sigmask(SIG_SETMASK, &before_, NULL); }

void BlockSignals() {
  sigset_t signals;
  sigfillset(&signals);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (IsFault(signal)) { sigdelset(&signals, signal); }
  }
  pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

}  // namespace fast
}  // namespace caffe
