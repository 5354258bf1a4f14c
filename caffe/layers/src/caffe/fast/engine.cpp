#include "caffe/fast/engine.hpp"

#include <cstdlib>
#include <string>
#include <vector>

#include "caffe/fast/layers.hpp"

namespace caffe {
namespace fast {

bool FastLayersChosen() {
  const char* value = getenv("NBCAD_CAFFE_LAYERS");
  const std::string choice = value ? value : "fast";
  CHECK(choice == "fast" || choice == "stock") << "NBCAD_CAFFE_LAYERS is '" << choice << "', not fast or stock";
  return choice == "fast";
}

template <>
boost::shared_ptr<Implementation<double> > Create(Layer<double>*, const std::vector<Blob<double>*>&,
    const std::vector<Blob<double>*>&) {
  return boost::shared_ptr<Implementation<double> >();
}

template <>
ImplementationPtr Create(Layer<float>* layer, const Blobs& bottom, const Blobs& top) {
  const std::string type = layer->type();
  const LayerParameter& param = layer->layer_param();
  if (!FastLayersChosen()) { return ImplementationPtr(); }
  if (type == "Convolution") { return NewConvolution(layer, bottom); }
  if (type == "Pooling") { return NewPooling(param, bottom, top); }
  if (type == "InnerProduct") { return NewInnerProduct(layer); }
  if (type == "Sigmoid") { return NewSigmoid(); }
  if (type == "ReLU") { return NewReLU(param); }
  if (type == "Dropout") { return NewDropout(param); }
  if (type == "Softmax") { return NewSoftmax(param); }
  return ImplementationPtr();
}

}  // namespace fast
}  // namespace caffe
