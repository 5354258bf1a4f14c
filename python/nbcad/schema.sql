-- Sample database, version 1. See data/README.md.
CREATE TABLE meta (
    key TEXT PRIMARY KEY,        -- schema_version, nbcad_version, seed, created
    value TEXT NOT NULL
);
CREATE TABLE file (
    path TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('used', 'refused', 'ignored')),
    reason TEXT NOT NULL
);
CREATE TABLE patient (
    patient TEXT PRIMARY KEY,    -- HMAC-SHA256 of PatientID under the key beside the database
    stage TEXT NOT NULL,         -- a label of data/labels/stage.txt
    split TEXT NOT NULL CHECK (split IN ('train', 'val', 'test'))
);
CREATE TABLE series (
    series INTEGER PRIMARY KEY,
    patient TEXT NOT NULL REFERENCES patient,
    study_uid TEXT NOT NULL,
    series_uid TEXT NOT NULL,
    weighting TEXT NOT NULL,
    age_months INTEGER,          -- NULL: not known
    phantom INTEGER NOT NULL     -- 1: (0028,0300) Quality Control Image says that this is no patient
);
CREATE TABLE slice (
    slice INTEGER PRIMARY KEY,
    series INTEGER NOT NULL REFERENCES series,
    sop_uid TEXT NOT NULL,
    frame INTEGER NOT NULL,
    path TEXT NOT NULL,
    member TEXT,                 -- of a zip at path, else NULL
    organ TEXT,                  -- a label of data/labels/organ.txt, NULL: not known or outside the three
    pixel_sha256 TEXT NOT NULL,  -- of the decoded pixels
    UNIQUE (sop_uid, frame)
);
CREATE TABLE lesion_box (        -- zero-based pixels of the stored image, end exclusive
    slice INTEGER NOT NULL REFERENCES slice,
    stage TEXT NOT NULL,
    row0 REAL NOT NULL, col0 REAL NOT NULL, row1 REAL NOT NULL, col1 REAL NOT NULL
);
CREATE TABLE sample (            -- one entry of an LMDB
    task TEXT NOT NULL CHECK (task IN ('organ', 'stage')),
    split TEXT NOT NULL,
    key INTEGER NOT NULL,        -- the LMDB's key, 0..n-1 in seeded random order
    slice INTEGER NOT NULL REFERENCES slice,
    label INTEGER NOT NULL,      -- line of the task's label file
    mm_per_pixel REAL,           -- of the stager's window, NULL for the organ net's whole slice
    row REAL, col REAL,          -- the window's centre in the stored image
    mirrored INTEGER NOT NULL,   -- 1: left and right are exchanged
    turn_deg REAL, zoom REAL,    -- of a jittered copy of a whole slice, NULL elsewhere
    down REAL, right REAL,       -- shares of the side
    PRIMARY KEY (task, split, key)
);
CREATE INDEX sample_slice ON sample (slice);
