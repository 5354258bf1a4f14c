#ifndef CAFFE_FAST_LAYERS_HPP_
#define CAFFE_FAST_LAYERS_HPP_

#include <vector>

#include "caffe/fast/engine.hpp"
#include "caffe/layer.hpp"

namespace caffe {
namespace fast {

typedef boost::shared_ptr<Implementation<float> > ImplementationPtr;
typedef std::vector<Blob<float>*> Blobs;

// One function for each layer type. It returns null for parameters that only the stock layer supports.
ImplementationPtr NewConvolution(Layer<float>* layer, const Blobs& bottom);
ImplementationPtr NewPooling(const LayerParameter& param, const Blobs& bottom, const Blobs& top);
ImplementationPtr NewInnerProduct(Layer<float>* layer);
ImplementationPtr NewSigmoid();
ImplementationPtr NewReLU(const LayerParameter& param);
ImplementationPtr NewDropout(const LayerParameter& param);
ImplementationPtr NewSoftmax(const LayerParameter& param);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_LAYERS_HPP_
