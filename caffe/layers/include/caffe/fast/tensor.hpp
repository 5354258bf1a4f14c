#ifndef CAFFE_FAST_TENSOR_HPP_
#define CAFFE_FAST_TENSOR_HPP_

#include <cstddef>

#include <boost/noncopyable.hpp>
#include <boost/shared_ptr.hpp>

namespace caffe {

template <typename Dtype> class Blob;
class SyncedMemory;

namespace fast {

/// Channels that stand side by side where that divides them, those of one vector register: 16 with AVX-512, else 8.
int BlockSize();

/// Cache-line aligned floats.
class Buffer : boost::noncopyable {
 public:
  Buffer() : data_(NULL), size_(0) {}
  ~Buffer();
  /// Room for `size` floats; what was in them is lost where it grows.
  float* Get(size_t size);
  float* get() const { return data_; }

 private:
  float* data_;
  size_t size_;
};

struct Shape {
  int n, c, h, w;
  bool operator==(const Shape& o) const { return n == o.n && c == o.c && h == o.h && w == o.w; }
};

Shape ShapeOf(const Blob<float>& blob);

/// In place of a block of channels: BlockSize() images are interleaved.
const int kImages = 0;

/// Images whose channels are interleaved in blocks: (n, c / B, h, w, B), B being BlockSize() or all the channels; or,
/// for the block kImages, images that are interleaved themselves: (n / B, c, h, w, B), B being BlockSize().
class Tensor : boost::noncopyable {
 public:
  Tensor(const Shape& shape, int block);
  const Shape& shape() const { return shape_; }
  int block() const { return block_; }
  /// Values that stand side by side.
  int lanes() const { return block_ == kImages ? BlockSize() : block_; }
  /// Groups of as many planes: each (h, w, lanes), one behind the other.
  int groups() const { return shape_.n * shape_.c / lanes(); }
  size_t group_size() const { return static_cast<size_t>(shape_.h) * shape_.w * lanes(); }
  float* group(int i) { return data_ + group_size() * i; }
  const float* group(int i) const { return data_ + group_size() * i; }
  size_t size() const { return image_size_ * shape_.n; }
  /// Of blocks of channels.
  float* image(int n) { return data_ + image_size_ * n; }
  const float* image(int n) const { return data_ + image_size_ * n; }
  /// From and to Caffe's own layout (n, c, h, w).
  void Pack(const float* plain);
  void Unpack(float* plain) const;

 private:
  /// The first of a group's planes in Caffe's layout.
  size_t FirstPlane(int group) const;
  /// From one of them to the next.
  size_t PlanePitch() const;

  Shape shape_;
  int block_;
  size_t image_size_;
  Buffer buffer_;
  float* data_;
};

typedef boost::shared_ptr<Tensor> TensorPtr;

enum Part { DATA, DIFF };

/// True where the blob's part is held as a tensor of its present shape.
bool HasTensor(const Blob<float>& blob, Part part);

/// True where nobody has a pointer to the blob's part in Caffe's layout, so that it may be held as a tensor.
bool MayHoldTensor(const Blob<float>& blob, Part part);

/// The blob's part's tensor, which it has.
TensorPtr Held(const Blob<float>& blob, Part part);

/// The block of a tensor that the blob's part holds, or else that which suits its channels.
int BlockOf(const Blob<float>& blob, Part part);

/// A blob's part as a tensor of a block: the one that it holds, or else `scratch`, filled from what it holds.
TensorPtr Read(const Blob<float>& blob, Part part, int block, TensorPtr* scratch);

/// A tensor to be filled for a blob's part: one that the blob holds, or else `scratch`. Then call Written.
TensorPtr Write(Blob<float>* blob, Part part, int block, TensorPtr* scratch);
void Written(Blob<float>* blob, Part part, const Tensor& tensor);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_TENSOR_HPP_
