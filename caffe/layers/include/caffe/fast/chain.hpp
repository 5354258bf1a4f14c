#ifndef CAFFE_FAST_CHAIN_HPP_
#define CAFFE_FAST_CHAIN_HPP_

#include <functional>

#include <boost/noncopyable.hpp>

#include "caffe/fast/signals.hpp"

namespace caffe {
namespace fast {

class Tensor;

/// While one lives, layers in a row that compute image by image leave their work until the last of them has been
/// called: then one image after the other passes through all, and stays in the caches on its way. What a thread has
/// left is done before it reads values in Caffe's layout, before any other layer of it computes, and at the end. Until
/// then its signals do no harm.
class Chain : boost::noncopyable {
 public:
  Chain();
  ~Chain();

 private:
  const Signals signals_;
};

/// Calls task(i) for each image, now or, within a Chain and with enough images for all threads, after what was left
/// before with the same image. It may write tensors only, or what its own layer's tasks alone read, and what it reads
/// must stay as it is until then.
void ForImages(int images, const std::function<void(int)>& task);

/// Leaves task(i) for each group of a tensor, as ForImages would, those of an image together; false: it cannot be left,
/// and nothing was done.
bool LeaveGroups(const Tensor& tensor, const std::function<void(int)>& task);

/// Does what the calling thread has left.
void Finish();

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_CHAIN_HPP_
