-- +goose Up

-- The index for pages of the queue still holds all rows, but only statements with
-- its condition can use it: others used it to find single rows, by reading all of
-- it, after a vacuum that had found the queue empty. Running programs of version 4
-- go on; their pages of pending deliveries are slower.
DROP INDEX {queue_list};
CREATE INDEX {prefix}queue_list ON {queue} (wkey, created_at, ekey) WHERE created_at >= 0;

INSERT INTO {schema_version} (version) VALUES (5);
