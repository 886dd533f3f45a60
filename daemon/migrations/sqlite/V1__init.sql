-- Times are milliseconds since 1970, ids are 22 bytes (6 of the moment, 16 random), an account is `DIRECTORY:STABLE-ID`.
-- `sealed` columns hold ChaCha20-Poly1305 under the data key, bound to their table and row.

CREATE TABLE meta (
    name TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE directories (
    name TEXT NOT NULL PRIMARY KEY,
    key INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;

-- `undecided`: an operator set a first password, and nothing shows yet that its person ever did.
CREATE TABLE accounts (
    account TEXT NOT NULL PRIMARY KEY,
    activated INTEGER,
    frozen_until INTEGER,
    undecided INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Accounts that are older than rekeyd, and what they were taken for. Beside `accounts`, so that an adoption can be undone
-- without touching what rekeyd has seen itself. `sealed` holds who and why.
CREATE TABLE adoptions (
    id BLOB NOT NULL PRIMARY KEY,
    directory INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    filter TEXT,
    undecided_as TEXT CHECK (undecided_as IN ('activated', 'never-activated')),
    at INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'undoing', 'undone')),
    activated INTEGER NOT NULL DEFAULT 0,
    never_activated INTEGER NOT NULL DEFAULT 0,
    ended INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE adopted (
    account TEXT NOT NULL PRIMARY KEY,
    adoption BLOB NOT NULL REFERENCES adoptions (id),
    activated INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX adopted_by ON adopted (adoption);

-- Addresses that were proved to reach an account's person, by keyed hash.
CREATE TABLE contacts (
    account TEXT NOT NULL,
    address BLOB NOT NULL,
    proved INTEGER NOT NULL,
    how TEXT NOT NULL,
    PRIMARY KEY (account, address)
) STRICT, WITHOUT ROWID;

-- `due` is also the end of the lease while `leased` is 1. `sealed` (login, actor, languages) goes when the row ends.
CREATE TABLE requests (
    id BLOB NOT NULL PRIMARY KEY,
    purpose TEXT NOT NULL,
    origin TEXT NOT NULL,
    sealed BLOB,
    at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    due INTEGER NOT NULL,
    leased INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'waiting'
        CHECK (state IN ('waiting', 'made', 'merged', 'refused', 'expired')),
    reason TEXT,
    ticket BLOB,
    ended INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_fresh ON requests (due) WHERE state = 'waiting' AND origin = 'person' AND attempts = 0;
CREATE INDEX requests_deferred ON requests (due) WHERE state = 'waiting' AND origin = 'person' AND attempts > 0;
CREATE INDEX requests_helped ON requests (due) WHERE state = 'waiting' AND origin <> 'person';
CREATE INDEX requests_ended ON requests (ended) WHERE ended IS NOT NULL;

-- `ends` is the moment from which nobody can claim it: the deadline of its message until that is delivered, then
-- `expires`; for a spent or void ticket, when that happened. `doomed` is a void that waits for the claim's holder.
-- `lag`: how far the clock was behind the highest moment ever seen when `ends` was set.
CREATE TABLE tickets (
    id BLOB NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    purpose TEXT NOT NULL,
    origin TEXT NOT NULL,
    account TEXT NOT NULL,
    sealed BLOB NOT NULL,
    contact BLOB NOT NULL,
    stamp TEXT NOT NULL,
    stamp_second INTEGER,
    key BLOB NOT NULL,
    profile TEXT,
    issued INTEGER NOT NULL,
    life INTEGER NOT NULL,
    expires INTEGER,
    ends INTEGER NOT NULL,
    lag INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'claimed', 'unsure', 'spent', 'void')),
    doomed INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0,
    nonce BLOB,
    claimed_at INTEGER,
    server TEXT,
    era INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tickets_account ON tickets (account);
CREATE INDEX tickets_held ON tickets (claimed_at) WHERE claimed_at IS NOT NULL;
CREATE INDEX tickets_ends ON tickets (ends);

-- `sealed` holds login, name, languages and recipient. `due` is also the end of the lease while it is being sent.
-- `unsure` counts the tries whose answer was lost; `channel` is the one that alone may repeat such a message.
CREATE TABLE outbox (
    id BLOB NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    sealed BLOB NOT NULL,
    ticket BLOB REFERENCES tickets (id) ON DELETE SET NULL,
    not_me BLOB REFERENCES tickets (id) ON DELETE SET NULL,
    at INTEGER NOT NULL,
    deadline INTEGER NOT NULL,
    created INTEGER NOT NULL,
    due INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    unsure INTEGER NOT NULL DEFAULT 0,
    channel TEXT,
    state TEXT NOT NULL DEFAULT 'queued'
        CHECK (state IN ('queued', 'sending', 'sent', 'failed', 'cancelled', 'expired')),
    reason TEXT,
    ended INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_fresh ON outbox (due) WHERE due IS NOT NULL AND attempts = 0;
CREATE INDEX outbox_deferred ON outbox (due) WHERE due IS NOT NULL AND attempts > 0;
CREATE INDEX outbox_created ON outbox (created);
CREATE INDEX outbox_ended ON outbox (ended) WHERE ended IS NOT NULL;
CREATE INDEX outbox_account ON outbox (account);
CREATE INDEX outbox_ticket ON outbox (ticket);
CREATE INDEX outbox_not_me ON outbox (not_me);

-- Passwords that operators are replacing right now: begun before the directory is written, gone when the outcome is known.
-- `sealed` holds who and why.
CREATE TABLE replacements (
    id BLOB NOT NULL PRIMARY KEY,
    account TEXT NOT NULL,
    sealed BLOB NOT NULL,
    stamp TEXT NOT NULL,
    stamp_second INTEGER,
    server TEXT NOT NULL,
    first INTEGER NOT NULL,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counters by keyed hash of scope and whom; `tat` is when the counter is empty again.
CREATE TABLE paces (
    key BLOB NOT NULL PRIMARY KEY,
    tat INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What the doctor found in each directory the last few times, so that the next time can say what is new.
CREATE TABLE doctor_runs (
    directory INTEGER NOT NULL,
    at INTEGER NOT NULL,
    findings TEXT NOT NULL,
    PRIMARY KEY (directory, at)
) STRICT, WITHOUT ROWID;

-- The audit trail. `payload`, `salt` and `account` go when a person is erased; the chain hangs on `commitment`.
CREATE TABLE events (
    seq INTEGER NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    account TEXT,
    payload TEXT,
    salt BLOB,
    commitment BLOB NOT NULL,
    prev BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX events_account ON events (account) WHERE account IS NOT NULL;

-- `schema`: this file's number. `min_reader`: the least number that a program must know to use the database.
INSERT INTO meta (name, value) VALUES ('schema', 1), ('min_reader', 1);
