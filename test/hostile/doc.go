// Package hostile holds the tests of bad days: sizes and counts at their limits,
// clients that are slow, endless, silent or mean, disks that are full, broken
// or gone, and processes that die in the middle. They run the built binary as a
// process of its own and look at it from outside: answers, /proc, the check.
//
// Each takes under half a minute; BAHNPOST_LONG=1 makes them go to the limits.
// BAHNPOST_BINARY tests a binary that is built already.
package hostile
