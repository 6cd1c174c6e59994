-- Failed deliveries by reason and time, for alarms.
CREATE INDEX {prefix}deliveries_ended ON {deliveries} (reason, finished) WHERE state = 3;

INSERT INTO {schema_version} (version) VALUES (2);
