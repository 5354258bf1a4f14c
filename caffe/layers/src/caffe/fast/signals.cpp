#include "caffe/fast/signals.hpp"

#include <algorithm>
#include <cstdlib>

#include <unistd.h>

namespace caffe {
namespace fast {

namespace {

/// A stack for the handlers that run on the thread that has it.
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
  /// Unless somebody else gave the thread one.
  void Give() const {
    stack_t now;
    if (stack_.ss_sp && sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE)) { sigaltstack(&stack_, NULL); }
  }

 private:
  stack_t stack_;
};

bool RunsOnStackOfItsOwn(int signal) {
  struct sigaction action;
  if (sigaction(signal, NULL, &action) != 0) { return true; }  // no signal that could have a handler
  const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN;
  return !handled || (action.sa_flags & SA_ONSTACK);
}

/// Signals that a thread sends itself by an error: after it, no heap is of use.
bool IsFault(int signal) {
  return signal == SIGABRT || signal == SIGBUS || signal == SIGFPE || signal == SIGILL || signal == SIGSEGV ||
      signal == SIGSYS || signal == SIGTRAP;
}

}  // namespace

Signals::Signals() {
  static thread_local const HandlerStack stack;
  stack.Give();
  sigset_t others;
  sigemptyset(&others);
  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    if (!IsFault(signal) && !RunsOnStackOfItsOwn(signal)) { sigaddset(&others, signal); }
  }
  pthread_sigmask(SIG_BLOCK, &others, &before_);
}

Signals::~Signals() { pthread_sigmask(SIG_SETMASK, &before_, NULL); }

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
