#ifndef CAFFE_FAST_DESCENT_HPP_
#define CAFFE_FAST_DESCENT_HPP_

#include <cstddef>
#include <string>
#include <vector>

#include <boost/shared_ptr.hpp>

#include "caffe/net.hpp"

namespace caffe {
namespace fast {

/// The stochastic gradient descent of one iteration, all of it in one pass over the parameters: gradients averaged,
/// weight decay, momentum, and the weights' change. False: nothing was done, and the stock solver has to.
template <typename Dtype>
bool Descend(Net<Dtype>* net, const SolverParameter& param, const std::string& type, Dtype rate,
    const std::vector<boost::shared_ptr<Blob<Dtype> > >& history);

/// A parameter's gradient set to zero, before an iteration adds to it.
template <typename Dtype>
void Clear(size_t n, Dtype* diff);

}  // namespace fast
}  // namespace caffe

#endif  // CAFFE_FAST_DESCENT_HPP_
