-- +goose Up

-- How deliveries ended that gave up, by reason and time: for alarms. Those that
-- succeed are not in it.
CREATE INDEX {prefix}deliveries_ended ON {deliveries} (reason, finished_at) WHERE state = 3;

INSERT INTO {schema_version} (version) VALUES (2);
