// Package gate holds the checks that a change must pass and that no tool
// brings along. It is a module of its own, with no dependency, so that none of
// it is part of the published module:
//
//   - counts adds up the tests of all modules, and fails for a skipped one in CI;
//   - rules checks what packages reach through others, and what go.mod requires;
//   - items keeps that each attack, fault and duty of its list has a test or a reason;
//   - words counts the pronouns that hide a noun in comments and pages.
package gate
