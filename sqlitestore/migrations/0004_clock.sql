-- By how much the machine's clock has been set forward since the tables were
-- made: the times of the queue (due, next_due, expiry) go on without the jump.
ALTER TABLE {counters} ADD COLUMN shift INTEGER NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version) VALUES (4);
