"""Fixtures for the tests of Caffe's layers."""

import ctypes

import pytest


@pytest.fixture
def two_threads():
    """Compute on two threads, for which the batches here are large enough that layers defer work, on any machine."""
    openmp = ctypes.CDLL("libgomp.so.1")
    before = openmp.omp_get_max_threads()
    openmp.omp_set_num_threads(2)
    yield
    openmp.omp_set_num_threads(before)
