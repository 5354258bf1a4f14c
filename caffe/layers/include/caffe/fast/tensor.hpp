#ifndef CAFFE_FAST_TENSOR_HPP_
#define CAFFE_FAST_TENSOR_HPP_

#include <cstddef>

#include <boost/noncopyable.hpp>
#include <boost/shared_ptr.hpp>

namespace caffe {

template <typename Dtype> class Blob;
class SyncedMemory;

namespace fast {

/// Returns the number of channels in a block, if the layer's channels are a multiple of it: as many as fill one vector
/// register, 16 with AVX-512 and otherwise 8.
int BlockSize();

/// An array of floats, aligned to a cache line.
class Buffer : boost::noncopyable {
 public:
  Buffer() : data_(NULL), size_(0) {}
  ~Buffer();
  /// Returns room for `size` floats. The values are lost if the array has to grow.
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

/// The value of `block` for which BlockSize() images, and not channels, are interleaved.
const int kImages = 0;

/// A batch of images in an interleaved layout. Blocks of B channels are interleaved, (n, c / B, h, w, B), B being
/// BlockSize() or all channels; or, if the block is kImages, B = BlockSize() images, (n / B, c, h, w, B).
class Tensor : boost::noncopyable {
 public:
  Tensor(const Shape& shape, int block);
  const Shape& shape() const { return shape_; }
  int block() const { return block_; }
  /// Returns the number of interleaved values at each position.
  int lanes() const { return block_ == kImages ? BlockSize() : block_; }
  /// Returns the number of groups: each holds the interleaved planes (h, w, lanes), one group behind the other.
  int groups() const { return shape_.n * shape_.c / lanes(); }
  size_t group_size() const { return static_cast<size_t>(shape_.h) * shape_.w * lanes(); }
  float* group(int i) { return data_ + group_size() * i; }
  const float* group(int i) const { return data_ + group_size() * i; }
  size_t size() const { return image_size_ * shape_.n; }
  /// Returns the values of image n. Not for the block kImages.
  float* image(int n) { return data_ + image_size_ * n; }
  const float* image(int n) const { return data_ + image_size_ * n; }
  /// Copies values from Caffe's own layout (n, c, h, w).
  void Pack(const float* plain);
  /// Copies values to Caffe's own layout.
  void Unpack(float* plain) const;

 private:
  /// Returns the offset of a group's first plane in Caffe's layout.
  size_t FirstPlane(int group) const;
  /// Returns the distance between two planes of a group in Caffe's layout.
  size_t PlanePitch() const;

  Shape shape_;
  int block_;
  size_t image_size_;
  Buffer buffer_;
  float* data_;
};

typedef boost::shared_ptr<Tensor> TensorPtr;

enum Part { DATA, DIFF };

/// Returns whether a tensor of the blob's present shape holds the blob's part.
bool HasTensor(const Blob<float>& blob, Part part);

/// Returns whether a tensor may hold the blob's part. It may while nobody has a pointer to the part in Caffe's layout.
bool MayHoldTensor(const Blob<float>& blob, Part part);

/// Returns the tensor that holds the blob's part.
TensorPtr TensorOf(const Blob<float>& blob, Part part);

/// Returns the block of the tensor that holds the blob's part, or else the block that suits the blob's channels.
int BlockOf(const Blob<float>& blob, Part part);

/// Returns a tensor of this block with the values of the blob's part: the one that holds them, or else `scratch`, into
/// which they are copied.
TensorPtr Read(const Blob<float>& blob, Part part, int block, TensorPtr* scratch);

/// Returns a tensor of this block to be filled with new values of the blob's part: the one that holds them from now on,
/// or else `scratch`. Call EndWrite once the tensor has been filled or its filling has been deferred.
TensorPtr BeginWrite(Blob<float>* blob, Part part, int block, TensorPtr* scratch);
/// Copies a tensor from BeginWrite into the blob's part, unless it holds the part.
void EndWrite(Blob<float>* blob, Part part, const Tensor& tensor);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_TENSOR_HPP_
