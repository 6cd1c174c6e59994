// Package browser uses the portal's pages in a real browser, as a customer
// would: see the tests. The scripts that drive it are scenarios_*.mjs.
package browser
