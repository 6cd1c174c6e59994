-- +goose Up

-- The index by which pages are listed holds all rows still, but only statements
-- that state its condition may use it: others took it for finding single rows,
-- by reading all of it, after a vacuum that had found the queue empty. Programs
-- of version 4 that run already go on; their pages of what is pending are slower.
DROP INDEX {queue_list};
CREATE INDEX {prefix}queue_list ON {queue} (wkey, created_at, ekey) WHERE created_at >= 0;

INSERT INTO {schema_version} (version) VALUES (5);
