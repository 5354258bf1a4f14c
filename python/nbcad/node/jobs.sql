-- The queue of the node: one study a job. All times are seconds since 1970 (UTC).

PRAGMA user_version = 2;

CREATE TABLE study (
    job             INTEGER PRIMARY KEY AUTOINCREMENT,  -- the study's name in logs, never given twice
    study_uid       TEXT NOT NULL UNIQUE,
    folder          TEXT NOT NULL UNIQUE,               -- below the node's folder; made of a hash of the UID
    sender          TEXT NOT NULL,                      -- calling AE title of the newest object
    state           TEXT NOT NULL
                    CHECK (state IN ('receiving', 'waiting', 'analysing', 'sending', 'done', 'set aside')),
    since           REAL NOT NULL,                      -- when it came into this state
    reason          TEXT NOT NULL DEFAULT '',           -- why set aside, not sent yet, or analysed anew: `to_text`
    first_received  REAL NOT NULL,
    last_received   REAL NOT NULL,                      -- of what counted for the time of quiet
    analyses        INTEGER NOT NULL DEFAULT 0,         -- begun so far; the newest one's number
    broken_off      INTEGER NOT NULL DEFAULT 0,         -- of the present objects by the end of the node itself
    analysed        REAL,                               -- when the newest complete one ended; what follows is its
    stage           TEXT,                               -- label of config/labels/stage.txt; NULL: none suggested
    lesions         INTEGER,
    report          TEXT,                               -- folder of report.html, below the study's
    send_attempts   INTEGER NOT NULL DEFAULT 0,         -- in vain, of the present results
    send_after      REAL NOT NULL DEFAULT 0             -- not before
);
CREATE INDEX study_state ON study (state, last_received);
CREATE INDEX study_received ON study (last_received);

CREATE TABLE object (                                   -- received
    job             INTEGER NOT NULL REFERENCES study ON DELETE CASCADE,
    sop_uid         TEXT NOT NULL,
    sha256          BLOB NOT NULL,                      -- of the data set as it came
    bytes           INTEGER NOT NULL,
    received        REAL NOT NULL,
    PRIMARY KEY (job, sop_uid)
) WITHOUT ROWID;

CREATE TABLE result (                                   -- to be sent; of each study's newest complete analysis
    job             INTEGER NOT NULL REFERENCES study ON DELETE CASCADE,
    path            TEXT NOT NULL,                      -- below the study's folder
    sent            REAL,                               -- when the archive said that it has it; NULL: not yet
    PRIMARY KEY (job, path)
) WITHOUT ROWID;
