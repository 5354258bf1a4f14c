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

Tensor::Tensor(const Shape& shape, int block)
    : shape_(shape), block_(block), image_size_(static_cast<size_t>(shape.c) * shape.h * shape.w),
      data_(buffer_.Get(image_size_ * shape.n)) {
  CHECK_EQ(shape.c % block, 0);
}

namespace {

// In runs of places short enough for their lines to stay in the first cache.
const size_t kRun = 64;

/// A block of `channels` planes, all of `places` floats, interleaved; and back.
void Interleave(int channels, size_t places, const float* planes, float* block) {
  for (size_t start = 0; start < places; start += kRun) {
    const size_t end = std::min(places, start + kRun);
    for (int c = 0; c < channels; ++c) {
      for (size_t i = start; i < end; ++i) { block[i * channels + c] = planes[c * places + i]; }
    }
  }
}

void Separate(int channels, size_t places, const float* block, float* planes) {
  for (size_t start = 0; start < places; start += kRun) {
    const size_t end = std::min(places, start + kRun);
    for (int c = 0; c < channels; ++c) {
      for (size_t i = start; i < end; ++i) { planes[c * places + i] = block[i * channels + c]; }
    }
  }
}

}  // namespace

void Tensor::Pack(const float* plain) {
  const size_t places = static_cast<size_t>(shape_.h) * shape_.w, size = places * block_;
  Parallel(shape_.n * blocks(), [&](int i) { Interleave(block_, places, plain + i * size, data_ + i * size); });
}

void Tensor::Unpack(float* plain) const {
  const size_t places = static_cast<size_t>(shape_.h) * shape_.w, size = places * block_;
  Parallel(shape_.n * blocks(), [&](int i) { Separate(block_, places, data_ + i * size, plain + i * size); });
}

namespace {

SyncedMemory* Memory(const Blob<float>& blob, Part part) {
  return part == DATA ? blob.data().get() : blob.diff().get();
}

TensorPtr Scratch(const Shape& shape, int block, TensorPtr* scratch) {
  if (!*scratch || !((*scratch)->shape() == shape) || (*scratch)->block() != block) {
    scratch->reset(new Tensor(shape, block));
  }
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

TensorPtr Held(const Blob<float>& blob, Part part) { return Memory(blob, part)->tensor(); }

int BlockOf(const Blob<float>& blob, Part part) {
  if (HasTensor(blob, part)) { return Held(blob, part)->block(); }
  return blob.shape(1) % BlockSize() == 0 ? BlockSize() : blob.shape(1);
}

TensorPtr Read(const Blob<float>& blob, Part part, int block, TensorPtr* scratch) {
  if (HasTensor(blob, part) && Held(blob, part)->block() == block) { return Held(blob, part); }
  const TensorPtr tensor = Scratch(ShapeOf(blob), block, scratch);
  tensor->Pack(part == DATA ? blob.cpu_data() : blob.cpu_diff());
  return tensor;
}

TensorPtr Write(Blob<float>* blob, Part part, int block, TensorPtr* scratch) {
  if (!MayHoldTensor(*blob, part)) { return Scratch(ShapeOf(*blob), block, scratch); }
  if (!HasTensor(*blob, part) || Held(*blob, part)->block() != block) {
    Memory(*blob, part)->set_tensor(TensorPtr(new Tensor(ShapeOf(*blob), block)));
  }
  return Held(*blob, part);
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
