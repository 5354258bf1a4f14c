#ifndef CAFFE_FAST_DISPATCH_HPP_
#define CAFFE_FAST_DISPATCH_HPP_

// The build runs on any processor of the architecture and still uses the vector units of this one: each body is always
// inlined and compiled three times, and the processor is asked once which of them it can run.
#define FAST_INLINE static inline __attribute__((always_inline))

#if defined(__x86_64__)
#define FAST_DISPATCH(name, parameters, arguments)                                                     \
  __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512"))) \
  static void name##_avx512 parameters { name##_body arguments; }                                      \
  __attribute__((target("avx2,fma"))) static void name##_avx2 parameters { name##_body arguments; }    \
  static void name##_any parameters { name##_body arguments; }                                         \
  void name parameters {                                                                               \
    switch (Level()) {                                                                                 \
      case 2: return name##_avx512 arguments;                                                          \
      case 1: return name##_avx2 arguments;                                                            \
      default: return name##_any arguments;                                                            \
    }                                                                                                  \
  }
#else
#define FAST_DISPATCH(name, parameters, arguments) \
  void name parameters { name##_body arguments; }
#endif

static inline int Level() {
#if defined(__x86_64__)
  static const int level = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl") ? 2 : __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return level;
#else
  return 0;
#endif
}

#endif  // CAFFE_FAST_DISPATCH_HPP_
