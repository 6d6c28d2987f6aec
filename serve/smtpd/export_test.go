package smtpd

// TestTLS lets the tests of the whole way use the same certificate.
var TestTLS = testTLS
