// Package dashboards holds docs/observability to what is really measured: its
// dashboard and its alerts ask for nothing that a backend does not report, Prometheus
// takes the rules as they stand, and each alert fires for what it is about and for
// nothing that is as it should be. The tests are a module of their own for the sake of
// Prometheus's parser and engine.
package dashboards
