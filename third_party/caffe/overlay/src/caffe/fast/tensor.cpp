#include "caffe/fast/tensor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <dnnl.hpp>

#include "caffe/blob.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/syncedmem.hpp"

namespace caffe {
namespace fast {

int BlockSize() {
  static const int size = static_cast<int>(dnnl::get_effective_cpu_isa()) >=
      static_cast<int>(dnnl::cpu_isa::avx512_core) ? 16 : 8;
  return size;
}

Buffer::~Buffer() { free(data_); }

float* Buffer::Get(size_t size) {
  if (size > size_) {
    free(data_);
    const size_t kLine = 64;
    data_ = static_cast<float*>(aligned_alloc(kLine, (size * sizeof(float) + kLine - 1) / kLine * kLine));
    CHECK(data_) << "no memory for " << size << " floats";
    size_ = size;
  }
  return data_;
}

Shape ShapeOf(const Blob<float>& blob) {
  const Shape shape = {blob.shape(0), blob.shape(1), blob.shape(2), blob.shape(3)};
  return shape;
}

Tensor::Tensor(const Shape& shape)
    : shape_(shape), blocks_((shape.c + BlockSize() - 1) / BlockSize()),
      image_size_(static_cast<size_t>(blocks_) * BlockSize() * shape.h * shape.w),
      data_(buffer_.Get(image_size_ * shape.n)) {}

namespace {

template <int B>
void PackBlock(int channels, size_t places, const float* plain, float* block) {
  for (size_t i = 0; i < places; ++i) {
    for (int c = 0; c < B; ++c) { block[i * B + c] = c < channels ? plain[c * places + i] : 0.f; }
  }
}

template <int B>
void UnpackBlock(int channels, size_t places, const float* block, float* plain) {
  // In runs short enough for their lines to stay in the first cache.
  const size_t kRun = 64;
  for (size_t start = 0; start < places; start += kRun) {
    const size_t end = std::min(places, start + kRun);
    for (int c = 0; c < channels; ++c) {
      for (size_t i = start; i < end; ++i) { plain[c * places + i] = block[i * B + c]; }
    }
  }
}

}  // namespace

void Tensor::Pack(const float* plain) {
  const size_t places = static_cast<size_t>(shape_.h) * shape_.w;
  const int size = BlockSize();
  Parallel(shape_.n * blocks_, [&](int task) {
    const int n = task / blocks_, first = task % blocks_ * size;
    const float* from = plain + (static_cast<size_t>(n) * shape_.c + first) * places;
    float* to = image(n) + first * places;
    const int channels = std::min(size, shape_.c - first);
    size == 16 ? PackBlock<16>(channels, places, from, to) : PackBlock<8>(channels, places, from, to);
  });
}

void Tensor::Unpack(float* plain) const {
  const size_t places = static_cast<size_t>(shape_.h) * shape_.w;
  const int size = BlockSize();
  Parallel(shape_.n * blocks_, [&](int task) {
    const int n = task / blocks_, first = task % blocks_ * size;
    const float* from = image(n) + first * places;
    float* to = plain + (static_cast<size_t>(n) * shape_.c + first) * places;
    const int channels = std::min(size, shape_.c - first);
    size == 16 ? UnpackBlock<16>(channels, places, from, to) : UnpackBlock<8>(channels, places, from, to);
  });
}

void Tensor::ClearFilling() {
  const int size = BlockSize(), used = shape_.c % size;
  if (used == 0) { return; }
  const size_t places = static_cast<size_t>(shape_.h) * shape_.w;
  Parallel(shape_.n, [&](int n) {
    float* last = image(n) + (blocks_ - 1) * size * places;
    for (size_t i = 0; i < places; ++i) { std::fill(last + i * size + used, last + (i + 1) * size, 0.f); }
  });
}

namespace {

SyncedMemory* Memory(const Blob<float>& blob, Part part) {
  return part == DATA ? blob.data().get() : blob.diff().get();
}

TensorPtr Scratch(const Shape& shape, TensorPtr* scratch) {
  if (!*scratch || !((*scratch)->shape() == shape)) { scratch->reset(new Tensor(shape)); }
  return *scratch;
}

}  // namespace

bool HasTensor(const Blob<float>& blob, Part part) {
  const TensorPtr& tensor = Memory(blob, part)->tensor();
  return tensor && blob.num_axes() == 4 && tensor->shape() == ShapeOf(blob);
}

bool MayHoldTensor(const Blob<float>& blob, Part part) {
  return blob.num_axes() == 4 && Memory(blob, part)->may_hold_tensor();
}

TensorPtr Read(const Blob<float>& blob, Part part, TensorPtr* scratch) {
  if (HasTensor(blob, part)) { return Memory(blob, part)->tensor(); }
  const TensorPtr tensor = Scratch(ShapeOf(blob), scratch);
  tensor->Pack(part == DATA ? blob.cpu_data() : blob.cpu_diff());
  return tensor;
}

TensorPtr Write(Blob<float>* blob, Part part, TensorPtr* scratch) {
  if (!MayHoldTensor(*blob, part)) { return Scratch(ShapeOf(*blob), scratch); }
  SyncedMemory* memory = Memory(*blob, part);
  if (!HasTensor(*blob, part)) { memory->set_tensor(TensorPtr(new Tensor(ShapeOf(*blob)))); }
  return memory->tensor();
}

void Written(Blob<float>* blob, Part part, const Tensor& tensor) {
  if (HasTensor(*blob, part)) { return; }
  tensor.Unpack(part == DATA ? blob->mutable_cpu_data() : blob->mutable_cpu_diff());
}

}  // namespace fast

void SyncedMemory::set_tensor(const boost::shared_ptr<fast::Tensor>& tensor) {
  CHECK(may_hold_tensor());
  tensor_ = tensor;
}

void SyncedMemory::settle() {
  if (!tensor_) { return; }
  CaffeMallocHost(&cpu_ptr_, size_, &cpu_malloc_use_cuda_);
  own_cpu_data_ = true;
  head_ = HEAD_AT_CPU;
  const fast::Shape& shape = tensor_->shape();
  const size_t used = sizeof(float) * shape.n * shape.c * shape.h * shape.w;
  CHECK_LE(used, size_);
  tensor_->Unpack(static_cast<float*>(cpu_ptr_));
  memset(static_cast<char*>(cpu_ptr_) + used, 0, size_ - used);
  tensor_.reset();
}

}  // namespace caffe
