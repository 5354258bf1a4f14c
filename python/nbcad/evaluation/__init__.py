"""The measures (paper 3.2): what the trained models are worth on patients held out.

`records.gather` runs the models over the patients once and keeps plain records; `figures.of_records` counts them, each
figure with its interval (`bootstrap`); `table`, `page` and `plots` show them.
"""
