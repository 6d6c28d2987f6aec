package db

// Translate is for the test of the dialect.
var Translate = translate
