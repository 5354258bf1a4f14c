-- Sample database, version 2; docs/samples.md describes it. Every row names the run that added it. No run changes the
-- rows of another, except a patient's stage once a lesion is known, and the outcome of a file that was not used.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,        -- schema_version and the options of the build: seed, shares, folds, ...
    value TEXT NOT NULL
);
CREATE TABLE run (               -- one call of `nbcad make-database` that added something
    run INTEGER PRIMARY KEY,
    time TEXT NOT NULL,          -- ISO 8601, UTC
    nbcad_version TEXT NOT NULL
);
CREATE TABLE file (              -- every file that was read, and its outcome
    path TEXT PRIMARY KEY,       -- absolute; ZIP!MEMBER within a zip
    status TEXT NOT NULL CHECK (status IN ('used', 'refused', 'ignored')),
    reason TEXT NOT NULL,
    bytes INTEGER NOT NULL,      -- size of the file, or of the zip that holds it; 0 for a pipe or a link to a folder
    mtime_ns INTEGER NOT NULL,
    run INTEGER NOT NULL REFERENCES run
);
CREATE TABLE patient (
    patient TEXT PRIMARY KEY,    -- HMAC-SHA256 of PatientID under the key beside the database
    stage TEXT NOT NULL,         -- a label of config/labels/stage.txt
    run INTEGER NOT NULL REFERENCES run
);
CREATE TABLE study (
    study INTEGER PRIMARY KEY,
    patient TEXT NOT NULL REFERENCES patient,
    study_uid TEXT NOT NULL,
    age_months INTEGER,          -- NULL: not known to the month
    run INTEGER NOT NULL REFERENCES run,
    UNIQUE (patient, study_uid)
);
CREATE TABLE series (
    series INTEGER PRIMARY KEY,
    study INTEGER NOT NULL REFERENCES study,
    series_uid TEXT NOT NULL,
    weighting TEXT NOT NULL,
    phantom INTEGER NOT NULL,    -- 1: (0028,0300) Quality Control Image says that the images show a phantom
    run INTEGER NOT NULL REFERENCES run
);
CREATE TABLE slice (
    slice INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series,
    sop_uid TEXT NOT NULL,
    frame INTEGER NOT NULL,
    path TEXT NOT NULL,          -- absolute
    member TEXT,                 -- of the zip at path; NULL: path is the image itself
    pixel_sha256 TEXT NOT NULL,  -- of the decoded pixels
    run INTEGER NOT NULL REFERENCES run,
    UNIQUE (sop_uid, frame)
);
CREATE INDEX slice_pixels ON slice (pixel_sha256);
CREATE INDEX slice_series ON slice (series);
CREATE TABLE label_file (        -- the sources of labels
    label_file INTEGER PRIMARY KEY,
    path TEXT NOT NULL,          -- absolute
    source TEXT NOT NULL CHECK (source IN ('csv', 'seg', 'rtstruct', 'mask')),
    sha256 TEXT NOT NULL,        -- of the file
    stages_path TEXT,            -- the table that gave its lesions their stage; NULL: the file itself did
    stages_sha256 TEXT,
    run INTEGER NOT NULL REFERENCES run
);
CREATE TABLE annotation (        -- the labels that one label file gives one slice
    annotation INTEGER PRIMARY KEY,
    slice INTEGER NOT NULL REFERENCES slice,
    label_file INTEGER NOT NULL REFERENCES label_file,
    organ TEXT,                  -- a label of config/labels/organ.txt; NULL: not known, or none of the three regions
    lesions_known INTEGER NOT NULL, -- 0: lesions were not looked for
    run INTEGER NOT NULL REFERENCES run,
    UNIQUE (slice, label_file)
);
CREATE TABLE box (               -- zero-based pixels of the stored image, end exclusive
    annotation INTEGER NOT NULL REFERENCES annotation,
    stage TEXT NOT NULL,
    row0 REAL NOT NULL, col0 REAL NOT NULL, row1 REAL NOT NULL, col1 REAL NOT NULL
);
CREATE INDEX box_annotation ON box (annotation);
CREATE VIEW lesion_box AS SELECT slice, stage, row0, col0, row1, col1 FROM box JOIN annotation USING (annotation);
CREATE VIEW slice_label AS       -- the labels that all label files together give each slice
    SELECT slice, series,
        (SELECT max(organ) FROM annotation WHERE annotation.slice = slice.slice) AS organ,
        (SELECT coalesce(max(lesions_known), 0) FROM annotation WHERE annotation.slice = slice.slice) AS lesions_known
    FROM slice;
CREATE TABLE split (             -- the side of a patient or, in a split by image, of a slice; never changed
    patient TEXT UNIQUE REFERENCES patient,
    slice INTEGER UNIQUE REFERENCES slice,
    side TEXT NOT NULL CHECK (side IN ('train', 'val', 'test')),
    fold INTEGER,                -- NULL: the split has no folds
    run INTEGER NOT NULL REFERENCES run,
    CHECK ((patient IS NULL) <> (slice IS NULL))
);
CREATE VIEW slice_side AS        -- the side of each slice: its own or else its patient's
    SELECT slice.slice, series.series, study.patient, coalesce(of_slice.side, of_patient.side) AS side
    FROM slice JOIN series USING (series) JOIN study USING (study)
    LEFT JOIN split AS of_slice ON of_slice.slice = slice.slice
    LEFT JOIN split AS of_patient ON of_patient.patient = study.patient;
CREATE TABLE sample (            -- one entry of an LMDB
    task TEXT NOT NULL CHECK (task IN ('organ', 'stage')),
    split TEXT NOT NULL,         -- the side
    key INTEGER NOT NULL,        -- in the LMDB, 0..n-1; in seeded random order within a run
    slice INTEGER NOT NULL REFERENCES slice,
    label INTEGER NOT NULL,      -- line of the task's label file
    mm_per_pixel REAL,           -- of the stager's window; NULL: the whole slice, for the organ net
    row REAL, col REAL,          -- centre of the window in the stored image
    mirrored INTEGER NOT NULL,   -- 1: left and right are exchanged
    turn_deg REAL, zoom REAL,    -- of a jittered copy of a whole slice; NULL elsewhere
    down REAL, right REAL,       -- shares of the side
    run INTEGER NOT NULL REFERENCES run,
    PRIMARY KEY (task, split, key)
);
CREATE INDEX sample_slice ON sample (slice);
