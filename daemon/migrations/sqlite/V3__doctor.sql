-- What the doctor found in each directory the last few times, so that the next time can say what is new.
CREATE TABLE doctor_runs (
    directory INTEGER NOT NULL,
    at INTEGER NOT NULL,
    findings TEXT NOT NULL,
    PRIMARY KEY (directory, at)
) STRICT, WITHOUT ROWID;

UPDATE meta SET value = 3 WHERE name = 'schema';
