#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>

#include "across_images.hpp"
#include "caffe/fast/chain.hpp"
#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

typedef dnnl::memory::desc Desc;

const int kMostPlainChannels = 3;   // input channels that oneDNN takes in Caffe's own layout
const size_t kMostPrimitives = 32;  // primitives that a layer keeps for each direction, one for each shape
const int kFewImages = 8;           // a batch smaller than this has each image computed by several threads
const int kSharesOfImage = 4;       // number of these threads

const dnnl::engine& Engine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& Stream() {
  static thread_local dnnl::stream stream(Engine());
  return stream;
}

dnnl::memory Wrap(const Desc& desc, const float* data) {
  return dnnl::memory(desc, Engine(), const_cast<float*>(data));
}

/// Returns the calling thread's working memory.
float* Scratchpad(size_t bytes) {
  static thread_local Buffer buffer;
  return buffer.Get(bytes / sizeof(float) + 1);
}

/// Reads a parameter that consists of two named numbers, or of two, one or no numbers.
template <typename Repeated>
void ReadPair(const Repeated& both, bool named, int named_h, int named_w, int otherwise, int* h, int* w) {
  *h = named ? named_h : both.size() ? both.Get(0) : otherwise;
  *w = named ? named_w : both.size() > 1 ? both.Get(1) : *h;
}

Geometry GeometryOf(Layer<float>* layer) {
  const ConvolutionParameter& p = layer->layer_param().convolution_param();
  const Blob<float>& weight = *layer->blobs()[0];
  Geometry g;
  g.outputs = weight.shape(0);
  g.inputs = weight.shape(1);
  g.kernel_h = weight.shape(2);
  g.kernel_w = weight.shape(3);
  g.bias = p.bias_term();
  ReadPair(p.stride(), p.has_stride_h() || p.has_stride_w(), p.stride_h(), p.stride_w(), 1, &g.stride_h, &g.stride_w);
  ReadPair(p.pad(), p.has_pad_h() || p.has_pad_w(), p.pad_h(), p.pad_w(), 0, &g.pad_h, &g.pad_w);
  ReadPair(p.dilation(), false, 0, 0, 1, &g.dilation_h, &g.dilation_w);
  return g;
}

/// The images that a primitive reads and writes: their shapes, and the blocks that are interleaved (0: Caffe's layout).
struct Problem {
  Shape in, out;
  int in_block, out_block;
  bool operator<(const Problem& o) const { return Key() < o.Key(); }
  std::tuple<int, int, int, int, int, int, int, int, int> Key() const {
    return std::make_tuple(in.n, in.c, in.h, in.w, out.c, out.h, out.w, in_block, out_block);
  }
};

/// A problem in oneDNN's terms: its four tensors, and how the kernel moves over the images.
struct Description {
  Desc source, weight, bias, target;
  dnnl::memory::dims stride, dilation, pad;
};

Desc ImageDesc(const Shape& shape, int block, bool vectors) {
  typedef dnnl::memory::format_tag Tag;
  const Tag tag = block == 0 ? Tag::nchw : !vectors ? Tag::nhwc : block == 16 ? Tag::nChw16c : Tag::nChw8c;
  return Desc({shape.n, shape.c, shape.h, shape.w}, dnnl::memory::data_type::f32, tag);
}

Description Describe(const Geometry& g, const Problem& p) {
  const auto type = dnnl::memory::data_type::f32;
  // A single block of channels is stored just like all channels interleaved, but oneDNN is slow where tags are mixed.
  const bool vectors = p.out_block == BlockSize() && (p.in_block == 0 || p.in_block == BlockSize());
  const Description description = {
    ImageDesc(p.in, p.in_block, vectors),
    Desc({p.out.c, p.in.c, g.kernel_h, g.kernel_w}, type, dnnl::memory::format_tag::any),
    g.bias ? Desc({p.out.c}, type, dnnl::memory::format_tag::a) : Desc(),
    ImageDesc(p.out, p.out_block, vectors),
    {g.stride_h, g.stride_w},
    {g.dilation_h - 1, g.dilation_w - 1},
    {g.pad_h, g.pad_w},
  };
  return description;
}

const auto kDirect = dnnl::algorithm::convolution_direct;

dnnl::primitive_attr Attributes() {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

struct ForwardKind {
  typedef dnnl::convolution_forward Primitive;
  static Primitive::primitive_desc New(const Description& d) {
    return Primitive::primitive_desc({dnnl::prop_kind::forward_training, kDirect, d.source, d.weight, d.bias, d.target,
        d.stride, d.dilation, d.pad, d.pad}, Attributes(), Engine());
  }
};

struct DataKind {
  typedef dnnl::convolution_backward_data Primitive;
  static Primitive::primitive_desc New(const Description& d) {
    return Primitive::primitive_desc({kDirect, d.source, d.weight, d.target, d.stride, d.dilation, d.pad, d.pad},
        Attributes(), Engine(), ForwardKind::New(d));
  }
};

struct WeightsKind {
  typedef dnnl::convolution_backward_weights Primitive;
  static Primitive::primitive_desc New(const Description& d) {
    return Primitive::primitive_desc(
        {kDirect, d.source, d.weight, d.bias, d.target, d.stride, d.dilation, d.pad, d.pad}, Attributes(), Engine(),
        ForwardKind::New(d));
  }
};

/// A primitive that computes on one thread, so that several can run at the same time.
template <typename Kind>
struct Plan {
  typename Kind::Primitive::primitive_desc desc;
  typename Kind::Primitive primitive;
  bool slow;  // oneDNN has only its reference implementation, and the stock layer is faster

  explicit Plan(const Description& description) {
    const OneThread alone;
    desc = Kind::New(description);
    primitive = typename Kind::Primitive(desc);
    slow = std::string(desc.impl_info_str()).find("ref") != std::string::npos;
  }
};

template <typename Kind>
class Plans {
 public:
  const Plan<Kind>& Get(const Geometry& geometry, const Problem& problem) {
    auto found = plans_.find(problem);
    if (found == plans_.end()) {
      found = plans_.insert({problem, Plan<Kind>(Describe(geometry, problem))}).first;
    }
    return found->second;
  }
  /// Makes room for new plans. References to earlier plans may become invalid.
  void Limit() {
    if (plans_.size() > kMostPrimitives) { plans_.clear(); }
  }

 private:
  std::map<Problem, Plan<Kind> > plans_;
};

dnnl::memory Scratch(const Desc& desc) { return Wrap(desc, Scratchpad(desc.get_size())); }

void Reorder(const Desc& from, const float* source, const Desc& to, float* target) {
  const OneThread alone;
  dnnl::memory a = Wrap(from, source), b = Wrap(to, target);
  dnnl::reorder(a, b).execute(Stream(), a, b);
}

/// One call of a forward primitive, which computes a share of an image.
struct Share {
  const Plan<ForwardKind>* plan;
  size_t from, to;  // offsets in the images, in floats
  size_t weight;    // offset in the reordered weights, in floats
  size_t channel;   // first output channel
};

class ConvolutionImplementation : public Implementation<float> {
 public:
  explicit ConvolutionImplementation(Layer<float>* layer) :
      layer_(layer), geometry_(GeometryOf(layer)), across_images_(layer, geometry_) {}

  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    if (across_images_.Suits(ShapeOf(*bottom[0]), ShapeOf(*top[0]))) {
      for (size_t i = 0; i < bottom.size(); ++i) { across_images_.Forward(*bottom[i], top[i]); }
      return true;
    }
    forward_.Limit();
    if (forward_.Get(geometry_, ProblemOf(*bottom[0], *top[0], 1)).slow) { return false; }
    for (size_t i = 0; i < bottom.size(); ++i) { ForwardOne(*bottom[i], top[i]); }
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    const bool parameters = layer_->param_propagate_down(0) ||
        (geometry_.bias && layer_->param_propagate_down(1));
    if (across_images_.Suits(ShapeOf(*bottom[0]), ShapeOf(*top[0]))) {
      for (size_t i = 0; i < bottom.size(); ++i) {
        if (propagate_down[i]) { across_images_.BackwardData(*top[i], bottom[i]); }
        if (parameters) { across_images_.BackwardParameters(*top[i], *bottom[i]); }
      }
      return true;
    }
    data_.Limit();
    weights_.Limit();
    const bool down = std::find(propagate_down.begin(), propagate_down.end(), true) != propagate_down.end();
    if ((parameters && weights_.Get(geometry_, ProblemOf(*bottom[0], *top[0], 1)).slow) ||
        (down && data_.Get(geometry_, DataProblemOf(*bottom[0], *top[0])).slow)) {
      return false;
    }
    // Parameters first: adding up their gradients runs the deferred work, and the input's gradients can then be
    // deferred.
    for (size_t i = 0; i < bottom.size(); ++i) {
      if (parameters) { BackwardParameters(*top[i], *bottom[i]); }
      if (propagate_down[i]) { BackwardData(*top[i], bottom[i]); }
    }
    return true;
  }

 private:
  /// Describes one image. Channels are interleaved in blocks if they are whole vectors in both input and output, and
  /// otherwise all together: channels added to fill a block would cost as much as real ones.
  Problem DataProblemOf(const Blob<float>& bottom, const Blob<float>& top) const {
    Problem problem = {ShapeOf(bottom), ShapeOf(top), 0, 0};
    problem.in.n = problem.out.n = 1;
    const bool whole_vectors = problem.in.c % BlockSize() == 0 && problem.out.c % BlockSize() == 0;
    problem.in_block = whole_vectors ? BlockSize() : problem.in.c;
    problem.out_block = whole_vectors ? BlockSize() : problem.out.c;
    return problem;
  }

  Problem ProblemOf(const Blob<float>& bottom, const Blob<float>& top, int images) const {
    Problem problem = DataProblemOf(bottom, top);
    problem.in.n = problem.out.n = images;
    if (problem.in.c <= kMostPlainChannels && problem.out.c % BlockSize() == 0) {
      problem.in_block = 0;
      problem.out_block = BlockSize();
    }
    return problem;
  }

  /// Returns the input in the layout of a block. It is valid as long as `tensor`.
  const float* ReadInput(const Blob<float>& bottom, int block, TensorPtr* tensor) {
    if (block == 0 || bottom.channels() == 1) { return bottom.cpu_data(); }
    *tensor = Read(bottom, DATA, block, &bottom_);
    return (*tensor)->image(0);
  }

  Desc PlainWeight(int outputs) const {
    return Desc({outputs, geometry_.inputs, geometry_.kernel_h, geometry_.kernel_w},
        dnnl::memory::data_type::f32, dnnl::memory::format_tag::oihw);
  }

  /// Copies the weights of some output channels to oneDNN's layout.
  void ReorderWeight(int first, int outputs, const Desc& desc, float* to) const {
    const Blob<float>& weight = *layer_->blobs()[0];
    Reorder(PlainWeight(outputs), weight.cpu_data() + static_cast<size_t>(first) * weight.count(1), desc, to);
  }

  /// Divides an image by blocks of output channels.
  std::vector<Share> SharesByChannels(const Problem& whole) {
    const int blocks = whole.out.c / whole.out_block, step = (blocks + kSharesOfImage - 1) / kSharesOfImage;
    std::vector<Share> shares;
    size_t weight = 0;
    for (int first = 0; first < blocks; first += step) {
      Problem problem = whole;
      problem.out.c = std::min(step, blocks - first) * whole.out_block;
      const Plan<ForwardKind>& plan = forward_.Get(geometry_, problem);
      const size_t channel = static_cast<size_t>(first) * whole.out_block;
      const Share share = {&plan, 0, channel * whole.out.h * whole.out.w, weight, channel};
      shares.push_back(share);
      weight += plan.desc.weights_desc().get_size() / sizeof(float);
    }
    return shares;
  }

  /// Divides an image by rows. There must be no padding above and below.
  std::vector<Share> SharesByRows(const Problem& whole) {
    const int step = (whole.out.h + kSharesOfImage - 1) / kSharesOfImage;
    std::vector<Share> shares;
    for (int first = 0; first < whole.out.h; first += step) {
      Problem problem = whole;
      problem.out.h = std::min(step, whole.out.h - first);
      problem.in.h = (problem.out.h - 1) * geometry_.stride_h + (geometry_.kernel_h - 1) * geometry_.dilation_h + 1;
      const Share share = {
        &forward_.Get(geometry_, problem), static_cast<size_t>(first) * geometry_.stride_h * whole.in.w * whole.in.c,
        static_cast<size_t>(first) * whole.out.w * whole.out.c, 0, 0,
      };
      shares.push_back(share);
    }
    return shares;
  }

  std::vector<Share> Shares(const Problem& whole, int images) {
    std::vector<Share> shares;
    if (images < kFewImages && whole.out_block < whole.out.c) {
      shares = SharesByChannels(whole);
    } else if (images < kFewImages && whole.in_block == whole.in.c && geometry_.pad_h == 0) {
      shares = SharesByRows(whole);
    }
    const auto slow = [](const Share& share) { return share.plan->slow; };
    if (shares.empty() || std::any_of(shares.begin(), shares.end(), slow)) {
      const Share all = {&forward_.Get(geometry_, whole), 0, 0, 0, 0};
      shares.assign(1, all);
    }
    return shares;
  }

  /// Returns the reordered weights of all shares. Shares by rows have the same weights.
  float* ShareWeights(const std::vector<Share>& shares) {
    const Share& end = shares.back();
    float* weight = weight_.Get(end.weight + end.plan->desc.weights_desc().get_size() / sizeof(float));
    for (size_t k = 0; k < shares.size() && (k == 0 || shares[k].weight > 0); ++k) {
      const Desc desc = shares[k].plan->desc.weights_desc();
      ReorderWeight(static_cast<int>(shares[k].channel), static_cast<int>(desc.dims()[0]), desc,
          weight + shares[k].weight);
    }
    return weight;
  }

  void ForwardOne(const Blob<float>& bottom, Blob<float>* top) {
    const Problem problem = ProblemOf(bottom, *top, 1);
    const int images = bottom.num();
    TensorPtr keep;
    const float* x = ReadInput(bottom, problem.in_block, &keep);
    const TensorPtr y = BeginWrite(top, DATA, problem.out_block, &top_);
    const std::vector<Share> shares = Shares(problem, images);
    const float* weight = ShareWeights(shares);
    const float* bias = geometry_.bias ? layer_->blobs()[1]->cpu_data() : NULL;
    const size_t image_size = bottom.count(1);
    const auto compute = [=](int image, const Share& share) {
      const dnnl::convolution_forward::primitive_desc& d = share.plan->desc;
      std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, Wrap(d.src_desc(), x + image * image_size + share.from)},
        {DNNL_ARG_WEIGHTS, Wrap(d.weights_desc(), weight + share.weight)},
        {DNNL_ARG_DST, Wrap(d.dst_desc(), y->image(image) + share.to)},
        {DNNL_ARG_SCRATCHPAD, Scratch(d.scratchpad_desc())},
      };
      if (bias) { arguments.insert({DNNL_ARG_BIAS, Wrap(d.bias_desc(), bias + share.channel)}); }
      share.plan->primitive.execute(Stream(), arguments);
    };
    const int count = static_cast<int>(shares.size());
    if (count == 1) {
      const Share whole = shares[0];
      ForImages(images, [keep, compute, whole](int i) { compute(i, whole); });  // keep: x points into it
    } else {
      Parallel(images * count, [&](int i) { compute(i / count, shares[i % count]); });
    }
    EndWrite(top, DATA, *y);
  }

  void BackwardData(const Blob<float>& top, Blob<float>* bottom) {
    const Problem problem = DataProblemOf(*bottom, top);
    const Plan<DataKind>& plan = data_.Get(geometry_, problem);
    const TensorPtr dy = Read(top, DIFF, problem.out_block, &top_);
    const TensorPtr dx = BeginWrite(bottom, DIFF, problem.in_block, &bottom_diff_);
    const Desc desc = plan.desc.weights_desc();
    float* weight = weight_.Get(desc.get_size() / sizeof(float));
    ReorderWeight(0, geometry_.outputs, desc, weight);
    ForImages(bottom->num(), [=, &plan](int i) {
      plan.primitive.execute(Stream(), {
        {DNNL_ARG_DIFF_SRC, Wrap(plan.desc.diff_src_desc(), dx->image(i))},
        {DNNL_ARG_WEIGHTS, Wrap(desc, weight)},
        {DNNL_ARG_DIFF_DST, Wrap(plan.desc.diff_dst_desc(), dy->image(i))},
        {DNNL_ARG_SCRATCHPAD, Scratch(plan.desc.scratchpad_desc())},
      });
    });
    EndWrite(bottom, DIFF, *dx);
  }

  void BackwardParameters(const Blob<float>& top, const Blob<float>& bottom) {
    // Each part of the batch is summed, then the sums are: parts that do not depend on the number of threads.
    const int kMostParts = 16;
    const int images = (bottom.num() + kMostParts - 1) / kMostParts, parts = (bottom.num() + images - 1) / images;
    const Problem problem = ProblemOf(bottom, top, images);
    const Plan<WeightsKind>& plan = weights_.Get(geometry_, problem);
    const Plan<WeightsKind>& last =
        weights_.Get(geometry_, ProblemOf(bottom, top, bottom.num() - (parts - 1) * images));
    const Desc desc = plan.desc.diff_weights_desc();
    CHECK(desc == last.desc.diff_weights_desc());
    TensorPtr keep;
    const float* x = ReadInput(bottom, problem.in_block, &keep);
    const TensorPtr dy = Read(top, DIFF, problem.out_block, &top_);
    const size_t size = desc.get_size() / sizeof(float);
    float* sums = sums_.Get(parts * (size + geometry_.outputs));
    float* bias_sums = sums + parts * size;
    Parallel(parts, [&](int i) {
      const Plan<WeightsKind>& own = i == parts - 1 ? last : plan;
      std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, Wrap(own.desc.src_desc(), x + static_cast<size_t>(i) * images * bottom.count(1))},
        {DNNL_ARG_DIFF_DST, Wrap(own.desc.diff_dst_desc(), dy->image(i * images))},
        {DNNL_ARG_DIFF_WEIGHTS, Wrap(desc, sums + i * size)},
        {DNNL_ARG_SCRATCHPAD, Scratch(own.desc.scratchpad_desc())},
      };
      if (geometry_.bias) {
        arguments.insert({DNNL_ARG_DIFF_BIAS,
            Wrap(own.desc.diff_bias_desc(), bias_sums + static_cast<size_t>(i) * geometry_.outputs)});
      }
      own.primitive.execute(Stream(), arguments);
    });
    if (layer_->param_propagate_down(0)) { AddWeights(desc, parts, size, sums); }
    if (geometry_.bias && layer_->param_propagate_down(1)) {
      float* gradient = layer_->blobs()[1]->mutable_cpu_diff();
      for (int i = 0; i < parts; ++i) {
        Add(geometry_.outputs, bias_sums + static_cast<size_t>(i) * geometry_.outputs, gradient);
      }
    }
  }

  void AddWeights(const Desc& desc, int parts, size_t size, float* sums) {
    const size_t kLeast = 1024;
    ParallelRanges(size, kLeast, [&](size_t first, size_t end) {
      for (int i = 1; i < parts; ++i) { Add(end - first, sums + i * size + first, sums + first); }
    });
    Blob<float>* weight = layer_->blobs()[0].get();
    float* plain = weight_.Get(weight->count());
    Reorder(desc, sums, PlainWeight(geometry_.outputs), plain);
    Add(weight->count(), plain, weight->mutable_cpu_diff());
  }

  Layer<float>* layer_;
  Geometry geometry_;
  AcrossImages across_images_;
  Plans<ForwardKind> forward_;
  Plans<DataKind> data_;
  Plans<WeightsKind> weights_;
  TensorPtr bottom_, bottom_diff_, top_;
  Buffer weight_, sums_;
};

}  // namespace

ImplementationPtr NewConvolution(Layer<float>* layer, const Blobs& bottom) {
  const ConvolutionParameter& p = layer->layer_param().convolution_param();
  const bool known = p.group() == 1 && !p.force_nd_im2col() && bottom[0]->num_axes() == 4 &&
      bottom[0]->CanonicalAxisIndex(p.axis()) == 1;
  return ImplementationPtr(known ? new ConvolutionImplementation(layer) : NULL);
}

}  // namespace fast
}  // namespace caffe
