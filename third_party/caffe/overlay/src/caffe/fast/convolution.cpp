#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>
#include <vector>

#include <dnnl.hpp>
#include <omp.h>

#include "caffe/fast/kernels.hpp"
#include "caffe/fast/layers.hpp"
#include "caffe/fast/parallel.hpp"
#include "caffe/fast/tensor.hpp"

namespace caffe {
namespace fast {

namespace {

typedef dnnl::memory::desc Desc;

const int kPlanesOfPlainInput = 3;  // as many channels oneDNN takes in Caffe's own layout
const int kMostPlans = 32;          // shapes that a layer remembers

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

struct Geometry {
  int outputs, inputs, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  bool bias;
};

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

/// oneDNN's primitives for one shape.
struct Plan {
  dnnl::convolution_forward::primitive_desc forward_desc;
  dnnl::convolution_backward_data::primitive_desc data_desc;
  dnnl::convolution_backward_weights::primitive_desc weights_desc;
  dnnl::convolution_forward forward;
  dnnl::convolution_backward_data data;
  dnnl::convolution_backward_weights weights;
};

/// Each runs in one thread, with some of the images.
Plan NewPlan(const Geometry& g, const Shape& bottom, const Shape& top, bool plain_input, bool backward) {
  using dnnl::algorithm;
  using dnnl::prop_kind;
  typedef dnnl::memory::format_tag Tag;
  const auto type = dnnl::memory::data_type::f32;
  const Tag blocked = BlockSize() == 16 ? Tag::nChw16c : Tag::nChw8c;
  const Desc source({bottom.n, bottom.c, bottom.h, bottom.w}, type, plain_input ? Tag::nchw : blocked);
  const Desc weight({top.c, g.inputs, g.kernel_h, g.kernel_w}, type, Tag::any);
  const Desc target({top.n, top.c, top.h, top.w}, type, blocked);
  const Desc bias = g.bias ? Desc({top.c}, type, Tag::a) : Desc();
  const dnnl::memory::dims stride = {g.stride_h, g.stride_w}, dilation = {g.dilation_h - 1, g.dilation_w - 1};
  const dnnl::memory::dims pad = {g.pad_h, g.pad_w};
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const int threads_before = omp_get_max_threads();
  omp_set_num_threads(1);
  Plan plan;
  const auto direct = algorithm::convolution_direct;
  plan.forward_desc = dnnl::convolution_forward::primitive_desc(
      {backward ? prop_kind::forward_training : prop_kind::forward_inference, direct, source, weight, bias, target,
       stride, dilation, pad, pad}, attributes, Engine());
  plan.forward = dnnl::convolution_forward(plan.forward_desc);
  if (backward) {
    plan.weights_desc = dnnl::convolution_backward_weights::primitive_desc(
        {direct, source, weight, bias, target, stride, dilation, pad, pad}, attributes, Engine(),
        plan.forward_desc);
    plan.weights = dnnl::convolution_backward_weights(plan.weights_desc);
    if (!plain_input) {
      plan.data_desc = dnnl::convolution_backward_data::primitive_desc(
          {direct, source, weight, target, stride, dilation, pad, pad}, attributes, Engine(), plan.forward_desc);
      plan.data = dnnl::convolution_backward_data(plan.data_desc);
    }
  }
  omp_set_num_threads(threads_before);
  return plan;
}

class ConvolutionImplementation : public Implementation<float> {
 public:
  explicit ConvolutionImplementation(Layer<float>* layer) : layer_(layer), geometry_(GeometryOf(layer)) {}

  virtual bool Forward(const Blobs& bottom, const Blobs& top) {
    for (size_t i = 0; i < bottom.size(); ++i) { ForwardOne(*bottom[i], top[i]); }
    return true;
  }

  virtual bool Backward(const Blobs& top, const std::vector<bool>& propagate_down, const Blobs& bottom) {
    for (size_t i = 0; i < bottom.size(); ++i) { BackwardOne(*top[i], propagate_down[i], bottom[i]); }
    return true;
  }

 private:
  /// The input as oneDNN takes it.
  struct Input {
    const float* data;
    size_t image_size;
    TensorPtr tensor;
  };

  bool plain_input() const { return geometry_.inputs <= kPlanesOfPlainInput; }

  Input ReadInput(const Blob<float>& bottom) {
    Input input;
    if (plain_input()) {
      input.data = bottom.cpu_data();
      input.image_size = bottom.count(1);
    } else {
      input.tensor = Read(bottom, DATA, &bottom_);
      input.data = input.tensor->image(0);
      input.image_size = input.tensor->image_size();
    }
    return input;
  }

  const Plan& PlanFor(Shape bottom, Shape top, int images, bool backward) {
    bottom.n = top.n = images;
    const auto key = std::make_tuple(images, top.c, bottom.h, bottom.w, backward);
    auto found = plans_.find(key);
    if (found == plans_.end()) {
      found = plans_.insert({key, NewPlan(geometry_, bottom, top, plain_input(), backward)}).first;
    }
    return found->second;
  }

  /// Before plans are asked for: room for them.
  void LimitPlans() {
    if (plans_.size() > kMostPlans) { plans_.clear(); }
  }

  Desc PlainWeight(int outputs) const {
    return Desc({outputs, geometry_.inputs, geometry_.kernel_h, geometry_.kernel_w},
        dnnl::memory::data_type::f32, dnnl::memory::format_tag::oihw);
  }

  static void Reorder(const Desc& from, const float* source, const Desc& to, float* target) {
    dnnl::memory a = Wrap(from, source), b = Wrap(to, target);
    dnnl::reorder(a, b).execute(Stream(), a, b);
  }

  const float* Weight(const Desc& desc, Buffer* buffer) {
    float* weight = buffer->Get(desc.get_size() / sizeof(float));
    Reorder(PlainWeight(geometry_.outputs), layer_->blobs()[0]->cpu_data(), desc, weight);
    return weight;
  }

  void ForwardOne(const Blob<float>& bottom, Blob<float>* top) {
    LimitPlans();
    const Shape in = ShapeOf(bottom), out = ShapeOf(*top);
    const Input x = ReadInput(bottom);
    const TensorPtr y = Write(top, DATA, &top_);
    // A part is an image; of few images, some blocks of its output channels.
    const int kFew = 8, kMostParts = 4;
    const int blocks = in.n < kFew ? (y->blocks() + kMostParts - 1) / kMostParts : y->blocks();
    const int parts = (y->blocks() + blocks - 1) / blocks, channels = blocks * BlockSize();
    Shape part = out, last = out;
    part.c = std::min(out.c, channels);
    last.c = out.c - (parts - 1) * channels;
    const bool train = layer_->layer_param().phase() == TRAIN;
    const Plan& plan = PlanFor(in, part, 1, train);
    const Plan& last_plan = PlanFor(in, last, 1, train);
    const Desc desc = plan.forward_desc.weights_desc(), last_desc = last_plan.forward_desc.weights_desc();
    const size_t size = desc.get_size() / sizeof(float), plain_size = layer_->blobs()[0]->count(1) * channels;
    float* weight = weight_.Get(size * (parts - 1) + last_desc.get_size() / sizeof(float));
    const float* plain = layer_->blobs()[0]->cpu_data();
    for (int k = 0; k < parts; ++k) {
      const bool is_last = k == parts - 1;
      Reorder(PlainWeight(is_last ? last.c : part.c), plain + k * plain_size, is_last ? last_desc : desc,
          weight + k * size);
    }
    const float* bias = geometry_.bias ? layer_->blobs()[1]->cpu_data() : NULL;
    Parallel(in.n * parts, [&](int i) {
      const int image = i / parts, k = i % parts;
      const dnnl::convolution_forward::primitive_desc& d = (k == parts - 1 ? last_plan : plan).forward_desc;
      std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, Wrap(d.src_desc(), x.data + image * x.image_size)},
        {DNNL_ARG_WEIGHTS, Wrap(d.weights_desc(), weight + k * size)},
        {DNNL_ARG_DST, Wrap(d.dst_desc(), y->image(image) + static_cast<size_t>(k) * channels * out.h * out.w)},
        {DNNL_ARG_SCRATCHPAD, Scratch(d.scratchpad_desc())},
      };
      if (bias) { arguments.insert({DNNL_ARG_BIAS, Wrap(d.bias_desc(), bias + k * channels)}); }
      (k == parts - 1 ? last_plan : plan).forward.execute(Stream(), arguments);
    });
    Written(top, DATA, *y);
  }

  static dnnl::memory Scratch(const Desc& desc) { return Wrap(desc, Scratchpad(desc.get_size())); }

  void BackwardOne(const Blob<float>& top, bool propagate_down, Blob<float>* bottom) {
    LimitPlans();
    const bool parameters = layer_->param_propagate_down(0) ||
        (geometry_.bias && layer_->param_propagate_down(1));
    const Shape in = ShapeOf(*bottom), out = ShapeOf(top);
    const TensorPtr dy = Read(top, DIFF, &top_);
    if (propagate_down) { BackwardData(in, out, *dy, bottom); }
    if (parameters) { BackwardParameters(in, out, *dy, *bottom); }
  }

  void BackwardData(const Shape& in, const Shape& out, const Tensor& dy, Blob<float>* bottom) {
    const Plan& plan = PlanFor(in, out, 1, true);
    const TensorPtr dx = Write(bottom, DIFF, &bottom_diff_);
    const float* weight = Weight(plan.data_desc.weights_desc(), &weight_);
    Parallel(in.n, [&](int i) {
      plan.data.execute(Stream(), {
        {DNNL_ARG_DIFF_SRC, Wrap(plan.data_desc.diff_src_desc(), dx->image(i))},
        {DNNL_ARG_WEIGHTS, Wrap(plan.data_desc.weights_desc(), weight)},
        {DNNL_ARG_DIFF_DST, Wrap(plan.data_desc.diff_dst_desc(), dy.image(i))},
        {DNNL_ARG_SCRATCHPAD, Scratch(plan.data_desc.scratchpad_desc())},
      });
    });
    Written(bottom, DIFF, *dx);
  }

  void BackwardParameters(const Shape& in, const Shape& out, const Tensor& dy, const Blob<float>& bottom) {
    // Sums of parts of the batch, then their sum: the parts do not depend on the number of threads.
    const int kMostParts = 16;
    const int images = (in.n + kMostParts - 1) / kMostParts, parts = (in.n + images - 1) / images;
    const int rest = in.n - (parts - 1) * images;
    const Input x = ReadInput(bottom);
    const Plan& plan = PlanFor(in, out, images, true);
    const Plan& last = PlanFor(in, out, rest, true);
    const Desc desc = plan.weights_desc.diff_weights_desc();
    CHECK(desc == last.weights_desc.diff_weights_desc());
    const size_t size = desc.get_size() / sizeof(float);
    float* sums = sums_.Get(parts * (size + geometry_.outputs));
    float* bias_sums = sums + parts * size;
    Parallel(parts, [&](int i) {
      const Plan& own = i == parts - 1 ? last : plan;
      std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, Wrap(own.weights_desc.src_desc(), x.data + i * images * x.image_size)},
        {DNNL_ARG_DIFF_DST, Wrap(own.weights_desc.diff_dst_desc(), dy.image(i * images))},
        {DNNL_ARG_DIFF_WEIGHTS, Wrap(desc, sums + i * size)},
        {DNNL_ARG_SCRATCHPAD, Scratch(own.weights_desc.scratchpad_desc())},
      };
      if (geometry_.bias) {
        arguments.insert({DNNL_ARG_DIFF_BIAS,
            Wrap(own.weights_desc.diff_bias_desc(), bias_sums + i * geometry_.outputs)});
      }
      own.weights.execute(Stream(), arguments);
    });
    if (layer_->param_propagate_down(0)) { AddWeights(desc, parts, size, sums); }
    if (geometry_.bias && layer_->param_propagate_down(1)) {
      float* gradient = layer_->blobs()[1]->mutable_cpu_diff();
      for (int i = 0; i < parts; ++i) { Add(geometry_.outputs, bias_sums + i * geometry_.outputs, gradient); }
    }
  }

  void AddWeights(const Desc& desc, int parts, size_t size, float* sums) {
    const size_t kLeast = 1024;
    ParallelRanges(size, kLeast, [&](size_t first, size_t end) {
      for (int i = 1; i < parts; ++i) { Add(end - first, sums + i * size + first, sums + first); }
    });
    Blob<float>* weight = layer_->blobs()[0].get();
    float* plain = weight_.Get(std::max<size_t>(size, weight->count()));
    Reorder(desc, sums, PlainWeight(geometry_.outputs), plain);
    Add(weight->count(), plain, weight->mutable_cpu_diff());
  }

  Layer<float>* layer_;
  Geometry geometry_;
  std::map<std::tuple<int, int, int, int, bool>, Plan> plans_;
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
