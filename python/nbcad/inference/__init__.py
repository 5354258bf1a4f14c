"""The trained models on one series: region, heat, lesions, stage and measurements."""

SEAL = "model.json"  # beside the files of a trained model, with their hashes
