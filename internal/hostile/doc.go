// Package hostile runs the dispatcher against those who mean it harm, from
// outside: nothing here reaches into the library, and its clients are the ones
// that a host gets by default.
//
//   - The catalogue of hostile receivers (rows_*_test.go), a hundred at once beside
//     ten honest ones, against one dispatcher;
//   - customers whose names and redirects lead to addresses inside, on real
//     sockets in network namespaces of the test's own;
//   - a soak: the same receivers and a faulty store for as long as one likes.
//
// Receivers run in processes of their own, started from the test's binary, so
// that what is measured of the dispatcher's process is the dispatcher's.
package hostile
