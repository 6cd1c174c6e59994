-- By how much the machine's clock has been set forward since the tables were
-- created: the times of the queue (due, next_due, expiry) do not jump with it.
ALTER TABLE {counters} ADD COLUMN shift INTEGER NOT NULL DEFAULT 0;

INSERT INTO {schema_version} (version) VALUES (4);
