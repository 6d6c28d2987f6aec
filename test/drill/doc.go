// Package drill breaks a cell while clients work on it, and counts what they
// lost. A world is nodes, database servers and an S3 server, each a process of
// its own in namespaces of the test's own (pid, network, mounts): they end with
// the test however it ends, meet nobody else's ports, and a cable between a
// node and the database can be pulled out. A load of clients writes down in a
// journal what it was promised; after each fault the journal is compared with
// what the cell has.
//
// It is not about speed, nor about what a protocol says: other tests are.
//
// What is counted, after each fault (compare.go says exactly when):
//
//   - lost: acknowledged and not there, or there with other octets;
//   - doubled: more copies than attempts that could have made one. A client that
//     had no answer and sends again may double; that is counted apart;
//   - flags that are neither the last acknowledged nor one tried later;
//   - messages that came back after an acknowledged expunge or QUIT;
//   - UIDs used twice, modseqs that shrank;
//   - nodes that do not come to show the same.
//
// "make drill" strikes with everything and prints a table; "make test" with what
// is quick. BAHNPOST_DRILL names faults to run, by parts of their names with
// commas between; BAHNPOST_DRILL_KEEP keeps the world's directory if the test failed. Namespaces need root; without, the tests skip, saying so.
//
// The worker of each client is one goroutine that owns its connection; Journal
// and gauge are safe for concurrent use, a World belongs to its test.
package drill
