#include "across_images.hpp"

#include <algorithm>
#include <vector>

#include "caffe/fast/parallel.hpp"

namespace caffe {
namespace fast {

namespace {

int Tiles(int channels, int most) { return (channels + most - 1) / most; }

size_t InputSize(const Correlation& c) { return static_cast<size_t>(c.inputs) * c.height * c.width * kLanes; }

size_t OutputPlaneSize(const Correlation& c) { return static_cast<size_t>(c.out_height) * c.out_width * kLanes; }

/// Returns the sum of kLanes values and overwrites them. It adds in pairs, since each addition to a single sum would
/// wait for the one before.
float SumOf(float* lanes) {
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) { lanes[k] += lanes[k + half]; }
  }
  return lanes[0];
}

size_t WeightTileSize(const Correlation& c) {
  return static_cast<size_t>(c.inputs) * c.kernel_h * kKernelWidth * kTileChannels;
}

/// Returns the weights as Correlate takes them, tile by tile. kernel_of(output, input) points to the first weight of a
/// kernel, whose weights lie `step` floats apart.
template <typename KernelOf>
const float* PackWeights(const Correlation& c, Buffer* buffer, int step, const KernelOf& kernel_of) {
  const int tiles = Tiles(c.outputs, kTileChannels), size = c.kernel_h * kKernelWidth;
  float* packed = buffer->Get(tiles * WeightTileSize(c));
  Parallel(tiles, [&](int tile) {
    const int first = tile * kTileChannels, channels = std::min(kTileChannels, c.outputs - first);
    float* to = packed + tile * WeightTileSize(c);
    std::fill(to, to + WeightTileSize(c), 0.f);
    for (int i = 0; i < c.inputs; ++i, to += size * kTileChannels) {
      for (int o = 0; o < channels; ++o) {
        const float* from = kernel_of(first + o, i);
        for (int k = 0; k < size; ++k) { to[k * kTileChannels + o] = from[k * step]; }
      }
    }
  });
  return packed;
}

/// Correlates the whole batch, `groups` times kLanes images. Tiles of the same rows follow each other, since these rows
/// stay in the second-level cache.
void CorrelateAll(const Correlation& c, int groups, const float* x, const float* weights, const float* bias,
    float* y) {
  const int kBands = 4;
  const int tiles = Tiles(c.outputs, kTileChannels);
  Parallel(groups * kBands * tiles, [&](int task) {
    const int group = task / (kBands * tiles), band = task / tiles % kBands, tile = task % tiles;
    const int first = tile * kTileChannels, channels = std::min(kTileChannels, c.outputs - first);
    float own_bias[kTileChannels] = {};
    if (bias) { std::copy(bias + first, bias + first + channels, own_bias); }
    Correlate(c, channels, c.out_height * band / kBands, c.out_height * (band + 1) / kBands, x + group * InputSize(c),
        weights + tile * WeightTileSize(c), own_bias,
        y + (static_cast<size_t>(group) * c.outputs + first) * OutputPlaneSize(c));
  });
}

}  // namespace

bool AcrossImages::Suits(const Shape& bottom, const Shape& top) const {
  const Geometry& g = geometry_;
  const bool whole_vectors = bottom.c % kLanes == 0 || top.c % kLanes == 0;
  const bool plain = g.stride_h == 1 && g.stride_w == 1 && g.dilation_h == 1 && g.dilation_w == 1;
  return BlockSize() == kLanes && bottom.n % kLanes == 0 && !whole_vectors && plain && g.kernel_w == kKernelWidth &&
      g.pad_h < g.kernel_h && g.pad_w < g.kernel_w && std::min(top.w, bottom.w) >= kTilePositions;
}

Correlation AcrossImages::CorrelationOf(const Shape& bottom, const Shape& top) const {
  const Correlation c = {
    bottom.c, bottom.h, bottom.w + 2 * geometry_.pad_w, top.c, top.h, top.w,
    geometry_.kernel_h, geometry_.pad_h, geometry_.pad_w,
  };
  return c;
}

/// Returns the images with `pad` zeros on both sides of each row.
const float* AcrossImages::Padded(const Tensor& images, int pad) {
  if (pad == 0) { return images.group(0); }
  const size_t row = static_cast<size_t>(images.shape().w) * kLanes, side = static_cast<size_t>(pad) * kLanes;
  const int height = images.shape().h;
  float* padded = padded_.Get(images.groups() * height * (row + 2 * side));
  Parallel(images.groups(), [&](int group) {
    const float* from = images.group(group);
    float* to = padded + group * height * (row + 2 * side);
    for (int h = 0; h < height; ++h, from += row, to += row + 2 * side) {
      std::fill(to, to + side, 0.f);
      std::copy(from, from + row, to + side);
      std::fill(to + side + row, to + 2 * side + row, 0.f);
    }
  });
  return padded;
}

void AcrossImages::Forward(const Blob<float>& bottom, Blob<float>* top) {
  const Correlation c = CorrelationOf(ShapeOf(bottom), ShapeOf(*top));
  const TensorPtr x = Read(bottom, DATA, kImages, &bottom_), y = BeginWrite(top, DATA, kImages, &top_);
  const float* plain = layer_->blobs()[0]->cpu_data();
  const float* weights = PackWeights(c, &weight_, 1, [&](int o, int i) {
    return plain + (o * c.inputs + i) * c.kernel_h * kKernelWidth;
  });
  const float* bias = geometry_.bias ? layer_->blobs()[1]->cpu_data() : NULL;
  CorrelateAll(c, bottom.num() / kLanes, Padded(*x, geometry_.pad_w), weights, bias, y->group(0));
  EndWrite(top, DATA, *y);
}

/// Correlates the gradients with the rotated kernels (by 180 degrees), where inputs and outputs change places.
void AcrossImages::BackwardData(const Blob<float>& top, Blob<float>* bottom) {
  const Geometry& g = geometry_;
  const int pad_w = g.kernel_w - 1 - g.pad_w;
  const Correlation c = {
    top.channels(), top.height(), top.width() + 2 * pad_w, bottom->channels(), bottom->height(), bottom->width(),
    g.kernel_h, g.kernel_h - 1 - g.pad_h, pad_w,
  };
  const TensorPtr dy = Read(top, DIFF, kImages, &top_), dx = BeginWrite(bottom, DIFF, kImages, &bottom_diff_);
  const float* last = layer_->blobs()[0]->cpu_data() + g.kernel_h * g.kernel_w - 1;
  const float* weights = PackWeights(c, &weight_, -1, [&](int o, int i) {
    return last + (i * c.outputs + o) * g.kernel_h * g.kernel_w;
  });
  CorrelateAll(c, top.num() / kLanes, Padded(*dy, pad_w), weights, NULL, dx->group(0));
  EndWrite(bottom, DIFF, *dx);
}

void AcrossImages::BackwardParameters(const Blob<float>& top, const Blob<float>& bottom) {
  const Correlation c = CorrelationOf(ShapeOf(bottom), ShapeOf(top));
  const TensorPtr x = Read(bottom, DATA, kImages, &bottom_), dy = Read(top, DIFF, kImages, &top_);
  if (geometry_.bias && layer_->param_propagate_down(1)) { BackwardBias(*dy); }
  if (!layer_->param_propagate_down(0)) { return; }
  const float* images = Padded(*x, geometry_.pad_w);
  const size_t input_plane = static_cast<size_t>(c.height) * c.width * kLanes;
  const int groups = bottom.num() / kLanes, tile_sums = c.kernel_h * kGradientChannels * kKernelWidth;
  float* gradient = layer_->blobs()[0]->mutable_cpu_diff();
  Parallel(Tiles(c.outputs, kGradientChannels) * c.inputs, [&](int task) {
    const int i = task % c.inputs, first = task / c.inputs * kGradientChannels;
    const int channels = std::min(kGradientChannels, c.outputs - first);
    std::vector<float> sums(tile_sums * kLanes);
    for (int group = 0; group < groups; ++group) {
      CorrelateGradient(c, channels, images + group * InputSize(c) + i * input_plane,
          dy->group(group * c.outputs + first), sums.data());
    }
    for (int k = 0; k < tile_sums; ++k) {
      const int row = k / kKernelWidth, kw = k % kKernelWidth;
      const int kh = row / kGradientChannels, o = row % kGradientChannels;
      if (o >= channels) { continue; }
      float* kernel = gradient + ((first + o) * c.inputs + i) * c.kernel_h * kKernelWidth;
      kernel[kh * kKernelWidth + kw] += SumOf(sums.data() + k * kLanes);
    }
  });
}

void AcrossImages::BackwardBias(const Tensor& dy) {
  const Shape& shape = dy.shape();
  float* gradient = layer_->blobs()[1]->mutable_cpu_diff();
  Parallel(shape.c, [&](int o) {
    float sums[kLanes] = {};
    for (int group = o; group < dy.groups(); group += shape.c) {
      AddVectors(dy.group_size() / kLanes, dy.group(group), sums);
    }
    gradient[o] += SumOf(sums);
  });
}

}  // namespace fast
}  // namespace caffe
