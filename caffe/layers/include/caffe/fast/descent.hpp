#ifndef CAFFE_FAST_DESCENT_HPP_
#define CAFFE_FAST_DESCENT_HPP_

#include <cstddef>
#include <string>
#include <vector>

#include <boost/shared_ptr.hpp>

#include "caffe/net.hpp"

namespace caffe {
namespace fast {

/// Does one iteration of stochastic gradient descent in a single pass over the parameters: averages the gradients,
/// applies weight decay and momentum, and changes the weights. Returns false, having done nothing, if the stock solver
/// must do it.
template <typename Dtype>
bool Descend(Net<Dtype>* net, const SolverParameter& param, const std::string& type, Dtype rate,
    const std::vector<boost::shared_ptr<Blob<Dtype> > >& history);

/// Sets a parameter's gradient to zero, before an iteration adds to it.
template <typename Dtype>
void Clear(size_t n, Dtype* diff);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_DESCENT_HPP_
