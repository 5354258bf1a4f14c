#ifndef CAFFE_FAST_CHAIN_HPP_
#define CAFFE_FAST_CHAIN_HPP_

#include <functional>

#include <boost/noncopyable.hpp>

#include "caffe/fast/signals.hpp"

namespace caffe {
namespace fast {

class Tensor;

/// The scope of one pass over a net, in which layers that compute image by image defer their work. The deferred work of
/// several layers in a row then runs together: each image passes through all of them while its values are in the
/// caches. A thread runs its deferred work before it reads values in Caffe's layout, before any other of its layers
/// computes, and when its last Chain ends. The thread's signals are guarded meanwhile (signals.hpp).
class Chain : boost::noncopyable {
 public:
  Chain();
  ~Chain();

 private:
  const SignalGuard signals_;
};

/// Calls task(i) for each image. Within a Chain, and with at least two images for each thread, the calls are deferred:
/// task(i) then follows the tasks that were deferred earlier for the same image. A task may write tensors and values
/// that only its own layer's tasks read. The values it reads must not change before it runs.
void ForImages(int images, const std::function<void(int)>& task);

/// Defers task(i) for every group of the tensor, grouped by image like ForImages. Returns false, having done nothing,
/// if the work cannot be deferred.
bool DeferGroups(const Tensor& tensor, const std::function<void(int)>& task);

/// Runs the work that the calling thread has deferred.
void RunDeferred();

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_CHAIN_HPP_
