"""The trained models on one series: region, heat, lesions, stage and measurements."""
