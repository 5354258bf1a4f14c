#include "caffe/fast/tensor.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <dnnl.hpp>

#include "caffe/blob.hpp"
#include "caffe/fast/memory.hpp"
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
    data_ = static_cast<float*>(Allocate(size * sizeof(float)));
    CHECK(data_) << "there is not enough memory for " << size << " floats";
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
  CHECK_EQ((block == kImages ? shape.n : shape.c) % lanes(), 0);
}

namespace {

// Number of positions that are copied at a time: few enough for their cache lines to stay in the first-level cache.
const size_t kRun = 64;

/// Interleaves `lanes` planes of `positions` floats, which lie `pitch` floats apart, into a group.
void Interleave(int lanes, size_t positions, const float* planes, size_t pitch, float* group) {
  for (size_t start = 0; start < positions; start += kRun) {
    const size_t end = std::min(positions, start + kRun);
    for (int k = 0; k < lanes; ++k) {
      for (size_t i = start; i < end; ++i) { group[i * lanes + k] = planes[k * pitch + i]; }
    }
  }
}

/// Separates a group into its planes: the reverse of Interleave.
void Separate(int lanes, size_t positions, const float* group, float* planes, size_t pitch) {
  for (size_t start = 0; start < positions; start += kRun) {
    const size_t end = std::min(positions, start + kRun);
    for (int k = 0; k < lanes; ++k) {
      for (size_t i = start; i < end; ++i) { planes[k * pitch + i] = group[i * lanes + k]; }
    }
  }
}

}  // namespace

size_t Tensor::FirstPlane(int group) const {
  if (block_ != kImages) { return group * group_size(); }
  const size_t positions = static_cast<size_t>(shape_.h) * shape_.w;
  return group / shape_.c * lanes() * image_size_ + group % shape_.c * positions;
}

size_t Tensor::PlanePitch() const {
  return block_ == kImages ? image_size_ : static_cast<size_t>(shape_.h) * shape_.w;
}

void Tensor::Pack(const float* plain) {
  const size_t positions = static_cast<size_t>(shape_.h) * shape_.w;
  Parallel(groups(), [&](int i) { Interleave(lanes(), positions, plain + FirstPlane(i), PlanePitch(), group(i)); });
}

void Tensor::Unpack(float* plain) const {
  const size_t positions = static_cast<size_t>(shape_.h) * shape_.w;
  Parallel(groups(), [&](int i) { Separate(lanes(), positions, group(i), plain + FirstPlane(i), PlanePitch()); });
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

TensorPtr TensorOf(const Blob<float>& blob, Part part) { return Memory(blob, part)->tensor(); }

int BlockOf(const Blob<float>& blob, Part part) {
  if (HasTensor(blob, part)) { return TensorOf(blob, part)->block(); }
  return blob.shape(1) % BlockSize() == 0 ? BlockSize() : blob.shape(1);
}

TensorPtr Read(const Blob<float>& blob, Part part, int block, TensorPtr* scratch) {
  if (HasTensor(blob, part) && TensorOf(blob, part)->block() == block) { return TensorOf(blob, part); }
  const TensorPtr tensor = Scratch(ShapeOf(blob), block, scratch);
  tensor->Pack(part == DATA ? blob.cpu_data() : blob.cpu_diff());
  return tensor;
}

TensorPtr BeginWrite(Blob<float>* blob, Part part, int block, TensorPtr* scratch) {
  if (!MayHoldTensor(*blob, part)) { return Scratch(ShapeOf(*blob), block, scratch); }
  if (!HasTensor(*blob, part) || TensorOf(*blob, part)->block() != block) {
    Memory(*blob, part)->set_tensor(TensorPtr(new Tensor(ShapeOf(*blob), block)));
  }
  return TensorOf(*blob, part);
}

void EndWrite(Blob<float>* blob, Part part, const Tensor& tensor) {
  if (HasTensor(*blob, part)) { return; }
  tensor.Unpack(part == DATA ? blob->mutable_cpu_data() : blob->mutable_cpu_diff());
}

}  // namespace fast

void SyncedMemory::set_tensor(const boost::shared_ptr<fast::Tensor>& tensor) {
  CHECK(may_hold_tensor());
  tensor_ = tensor;
}

void SyncedMemory::to_plain() {
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
