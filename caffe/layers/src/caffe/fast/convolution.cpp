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

const int kPlanesOfPlainInput = 3;  // up to as many channels oneDNN takes in Caffe's own layout
const size_t kMostPrimitives = 32;  // shapes that a layer remembers, of each direction
const int kFew = 8;                 // images of which each is computed by several threads
const int kPartsOfImage = 4;        // by as many

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

/// One thread's working memory.
float* Scratchpad(size_t bytes) {
  static thread_local Buffer buffer;
  return buffer.Get(bytes / sizeof(float) + 1);
}

/// A parameter of one, two or no numbers, or of two by name.
template <typename Repeated>
void Pair(const Repeated& both, bool named, int named_h, int named_w, int otherwise, int* h, int* w) {
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
  Pair(p.stride(), p.has_stride_h() || p.has_stride_w(), p.stride_h(), p.stride_w(), 1, &g.stride_h, &g.stride_w);
  Pair(p.pad(), p.has_pad_h() || p.has_pad_w(), p.pad_h(), p.pad_w(), 0, &g.pad_h, &g.pad_w);
  Pair(p.dilation(), false, 0, 0, 1, &g.dilation_h, &g.dilation_w);
  return g;
}

/// What a primitive computes with: images of these shapes, interleaved in these blocks (0: Caffe's own layout).
struct Problem {
  Shape in, out;
  int in_block, out_block;
  bool operator<(const Problem& o) const { return Key() < o.Key(); }
  std::tuple<int, int, int, int, int, int, int, int, int> Key() const {
    return std::make_tuple(in.n, in.c, in.h, in.w, out.c, out.h, out.w, in_block, out_block);
  }
};

/// oneDNN's descriptions of a problem's four tensors and of the moves of the kernel.
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
  // One block of channels is the same bytes as all of them interleaved, but oneDNN mixes the two only slowly.
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

/// A primitive of one thread: several run beside each other.
template <typename Kind>
struct Plan {
  typename Kind::Primitive::primitive_desc desc;
  typename Kind::Primitive primitive;
  bool slow;  // oneDNN has only its reference implementation: the stock layer is faster

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
  /// Before plans are asked for: room for them.
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

/// One call of a forward primitive.
struct Part {
  const Plan<ForwardKind>* plan;
  size_t from, to;         // floats into the images
  size_t weight, channel;  // floats into the reordered weights; first output channel
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
    // The parameters first, as to sum them up finishes what was left: the other gradients are left for the next layer.
    for (size_t i = 0; i < bottom.size(); ++i) {
      if (parameters) { BackwardParameters(*top[i], *bottom[i]); }
      if (propagate_down[i]) { BackwardData(*top[i], bottom[i]); }
    }
    return true;
  }

 private:
  /// Whole vectors of channels on both sides are taken in blocks of them, all else with all channels interleaved:
  /// channels that fill a block up would cost as much as others.
  Problem DataProblemOf(const Blob<float>& bottom, const Blob<float>& top) const {
    Problem problem = {ShapeOf(bottom), ShapeOf(top), 0, 0};
    problem.in.n = problem.out.n = 1;
    const bool whole = problem.in.c % BlockSize() == 0 && problem.out.c % BlockSize() == 0;
    problem.in_block = whole ? BlockSize() : problem.in.c;
    problem.out_block = whole ? BlockSize() : problem.out.c;
    return problem;
  }

  Problem ProblemOf(const Blob<float>& bottom, const Blob<float>& top, int images) const {
    Problem problem = DataProblemOf(bottom, top);
    problem.in.n = problem.out.n = images;
    if (problem.in.c <= kPlanesOfPlainInput && problem.out.c % BlockSize() == 0) {
      problem.in_block = 0;
      problem.out_block = BlockSize();
    }
    return problem;
  }

  /// The input in a layout; `tensor` keeps it.
  const float* ReadInput(const Blob<float>& bottom, int block, TensorPtr* tensor) {
    if (block == 0 || bottom.channels() == 1) { return bottom.cpu_data(); }
    *tensor = Read(bottom, DATA, block, &bottom_);
    return (*tensor)->image(0);
  }

  Desc PlainWeight(int outputs) const {
    return Desc({outputs, geometry_.inputs, geometry_.kernel_h, geometry_.kernel_w},
        dnnl::memory::data_type::f32, dnnl::memory::format_tag::oihw);
  }

  /// Reordered weights of some output channels.
  void ReorderWeight(int first, int outputs, const Desc& desc, float* to) const {
    const Blob<float>& weight = *layer_->blobs()[0];
    Reorder(PlainWeight(outputs), weight.cpu_data() + static_cast<size_t>(first) * weight.count(1), desc, to);
  }

  /// An image of few in parts: some of its blocks of channels.
  std::vector<Part> PartsByChannels(const Problem& whole) {
    const int blocks = whole.out.c / whole.out_block, step = (blocks + kPartsOfImage - 1) / kPartsOfImage;
    std::vector<Part> parts;
    size_t weight = 0;
    for (int first = 0; first < blocks; first += step) {
      Problem problem = whole;
      problem.out.c = std::min(step, blocks - first) * whole.out_block;
      const Plan<ForwardKind>& plan = forward_.Get(geometry_, problem);
      const size_t channel = static_cast<size_t>(first) * whole.out_block;
      const Part part = {&plan, 0, channel * whole.out.h * whole.out.w, weight, channel};
      parts.push_back(part);
      weight += plan.desc.weights_desc().get_size() / sizeof(float);
    }
    return parts;
  }

  /// Some of its rows, which must not need rows that are not there.
  std::vector<Part> PartsByRows(const Problem& whole) {
    const int step = (whole.out.h + kPartsOfImage - 1) / kPartsOfImage;
    std::vector<Part> parts;
    for (int first = 0; first < whole.out.h; first += step) {
      Problem problem = whole;
      problem.out.h = std::min(step, whole.out.h - first);
      problem.in.h = (problem.out.h - 1) * geometry_.stride_h + (geometry_.kernel_h - 1) * geometry_.dilation_h + 1;
      const Part part = {
        &forward_.Get(geometry_, problem), static_cast<size_t>(first) * geometry_.stride_h * whole.in.w * whole.in.c,
        static_cast<size_t>(first) * whole.out.w * whole.out.c, 0, 0,
      };
      parts.push_back(part);
    }
    return parts;
  }

  std::vector<Part> Parts(const Problem& whole, int images) {
    std::vector<Part> parts;
    if (images < kFew && whole.out_block < whole.out.c) {
      parts = PartsByChannels(whole);
    } else if (images < kFew && whole.in_block == whole.in.c && geometry_.pad_h == 0) {
      parts = PartsByRows(whole);
    }
    const auto slow = [](const Part& part) { return part.plan->slow; };
    if (parts.empty() || std::any_of(parts.begin(), parts.end(), slow)) {
      const Part all = {&forward_.Get(geometry_, whole), 0, 0, 0, 0};
      parts.assign(1, all);
    }
    return parts;
  }

  float* PartWeights(const std::vector<Part>& parts) {
    const Part& end = parts.back();
    float* weight = weight_.Get(end.weight + end.plan->desc.weights_desc().get_size() / sizeof(float));
    for (size_t k = 0; k < parts.size() && (k == 0 || parts[k].weight > 0); ++k) {
      const Desc desc = parts[k].plan->desc.weights_desc();
      ReorderWeight(static_cast<int>(parts[k].channel), static_cast<int>(desc.dims()[0]), desc,
          weight + parts[k].weight);
    }
    return weight;
  }

  void ForwardOne(const Blob<float>& bottom, Blob<float>* top) {
    const Problem problem = ProblemOf(bottom, *top, 1);
    const int images = bottom.num();
    TensorPtr keep;
    const float* x = ReadInput(bottom, problem.in_block, &keep);
    const TensorPtr y = Write(top, DATA, problem.out_block, &top_);
    const std::vector<Part> parts = Parts(problem, images);
    const float* weight = PartWeights(parts);
    const float* bias = geometry_.bias ? layer_->blobs()[1]->cpu_data() : NULL;
    const size_t image_size = bottom.count(1);
    const auto compute = [=](int image, const Part& part) {
      const dnnl::convolution_forward::primitive_desc& d = part.plan->desc;
      std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, Wrap(d.src_desc(), x + image * image_size + part.from)},
        {DNNL_ARG_WEIGHTS, Wrap(d.weights_desc(), weight + part.weight)},
        {DNNL_ARG_DST, Wrap(d.dst_desc(), y->image(image) + part.to)},
        {DNNL_ARG_SCRATCHPAD, Scratch(d.scratchpad_desc())},
      };
      if (bias) { arguments.insert({DNNL_ARG_BIAS, Wrap(d.bias_desc(), bias + part.channel)}); }
      part.plan->primitive.execute(Stream(), arguments);
    };
    const int count = static_cast<int>(parts.size());
    if (count == 1) {
      const Part whole = parts[0];
      ForImages(images, [keep, compute, whole](int i) { compute(i, whole); });  // x lies in what is kept
    } else {
      Parallel(images * count, [&](int i) { compute(i / count, parts[i % count]); });
    }
    Written(top, DATA, *y);
  }

  void BackwardData(const Blob<float>& top, Blob<float>* bottom) {
    const Problem problem = DataProblemOf(*bottom, top);
    const Plan<DataKind>& plan = data_.Get(geometry_, problem);
    const TensorPtr dy = Read(top, DIFF, problem.out_block, &top_);
    const TensorPtr dx = Write(bottom, DIFF, problem.in_block, &bottom_diff_);
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
    Written(bottom, DIFF, *dx);
  }

  void BackwardParameters(const Blob<float>& top, const Blob<float>& bottom) {
    // Sums of parts of the batch, then their sum: the parts do not depend on the number of threads.
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
