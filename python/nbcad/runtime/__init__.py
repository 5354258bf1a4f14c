"""The machine beneath the steps: files, progress, processes, memory and paths. Knows neither DICOM nor Caffe."""
